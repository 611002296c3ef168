"""Which room may import which: the order of the list, downwards only."""

import ast
from pathlib import Path

import pytest

import streamer

ROOT = Path(streamer.__file__).parent
# Each room imports only from rooms in lines above its own, and from itself.
ROOMS = (
    ("errors", "face", "memory"),
    ("contract", "config"),
    ("analysis", "configfile"),
    ("records",),
    ("log",),
    ("flow", "turns", "access"),
    ("media",),
    ("inference",),
    ("pipeline",),
    ("fleet",),
    ("analyst", "outputs"),
    ("workers",),
    ("web",),
    ("serving",),
    ("app", "replay", "stills", "doctor", "datasheet"),
    ("api", "terminal"),
    ("watch", "bench"),
    ("cli",),
    ("__main__",),
)
LEVEL = {room: level for level, rooms in enumerate(ROOMS) for room in rooms}
# The core holds functions of values; the thin shell holds the rest.
FORBIDDEN_IN_ANALYSIS = {"asyncio", "threading", "time", "datetime", "os", "pathlib", "io", "av", "openvino", "random"}


def modules() -> list[Path]:
    return [path for path in sorted(ROOT.rglob("*.py")) if "_data" not in path.parts and path != ROOT / "__init__.py"]


def imported(path: Path) -> set[str]:
    """Dotted names of all modules that a file imports, wherever in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            names.add(node.module or "")
    return names


def room(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_only_from_rooms_above(path: Path) -> None:
    here = room(path)
    for name in imported(path):
        if name.startswith("streamer."):
            there = name.split(".")[1]
            assert there == here or LEVEL[there] < LEVEL[here], f"{here} must not import from {there}"


@pytest.mark.parametrize("path", sorted((ROOT / "analysis").glob("*.py")), ids=lambda p: p.name)
def test_the_core_is_pure(path: Path) -> None:
    used = {name.split(".")[0] for name in imported(path)}
    assert not used & FORBIDDEN_IN_ANALYSIS


def test_only_the_command_line_reads_the_environment() -> None:
    readers = {room(p) for p in modules() if "os.environ" in p.read_text() or "os.getenv" in p.read_text()}
    # The store hands the environment on to pip.
    assert readers <= {"cli", "inference"}
