"""The types of the browser helper: what its records are comes from the JSON Schema, and is written by

python -m tests.declarations
"""

from pathlib import Path
from typing import Any

import msgspec

from streamer.contract import ErrorAnswer, ImageAnswer, Record

FILE = Path(__file__).resolve().parents[1] / "streamer" / "web" / "static" / "facestream.d.ts"
MARK = "// ---- records: made from the JSON Schema by tests/declarations.py\n"


def declarations(text: str) -> str:
    """`text` up to the mark, and behind it all records as TypeScript."""
    head, mark, _ = text.partition(MARK)
    assert mark, f"{FILE.name} lacks its mark"
    _, parts = msgspec.json.schema_components([Record, ImageAnswer, ErrorAnswer], ref_template="#/$defs/{name}")
    union = "\nexport type StreamRecord = FrameRecord | StatusRecord | TrackRecord | HelloRecord | MissedRecord;\n"
    return head + mark + union + "".join(_interface(name, part) for name, part in sorted(parts.items()))


def _interface(name: str, part: dict[str, Any]) -> str:
    required = part.get("required", [])
    lines = [f"  {key}{'' if key in required else '?'}: {_type(value)};\n" for key, value in part["properties"].items()]
    return f"{_comment(part)}export interface {name} {{\n{''.join(lines)}}}\n"


def _comment(part: dict[str, Any]) -> str:
    words = " ".join(part.get("description", "").split())
    return f"\n/** {words} */\n" if words else "\n"


def _type(part: dict[str, Any]) -> str:
    if "$ref" in part:
        return str(part["$ref"]).rpartition("/")[2]
    if "enum" in part:
        return " | ".join(f'"{value}"' if isinstance(value, str) else str(value) for value in part["enum"])
    if "const" in part:
        return f'"{part["const"]}"' if isinstance(part["const"], str) else str(part["const"])
    if "anyOf" in part:
        return " | ".join(_type(each) for each in part["anyOf"])
    kind = part.get("type")
    if kind == "array":
        item = _type(part["items"])
        return f"({item})[]" if "|" in item else f"{item}[]"
    if kind == "object":
        return f"Record<string, {_type(part['additionalProperties'])}>"
    return {"string": "string", "integer": "number", "number": "number", "boolean": "boolean"}[str(kind)]


if __name__ == "__main__":
    FILE.write_text(declarations(FILE.read_text()))
