"""What a check found, and how a list of it looks."""

from typing import Literal

import msgspec
from rich.markup import escape
from rich.table import Table

from streamer import __version__
from streamer.errors import redact

State = Literal["fine", "note", "problem"]

_STYLES: dict[State, str] = {"fine": "green", "note": "yellow", "problem": "bold red"}


class Finding(msgspec.Struct, frozen=True, omit_defaults=True):
    """One check: what was `seen`, and the `fix` where it is not fine. A `note` can be lived with."""

    check: str
    state: State
    seen: str
    fix: str = ""


class _Report(msgspec.Struct, frozen=True):
    version: str
    fine: bool
    findings: list[Finding]


def fine(check: str, seen: str) -> Finding:
    return Finding(_clean(check), "fine", _clean(seen))


def note(check: str, seen: str, fix: str) -> Finding:
    return Finding(_clean(check), "note", _clean(seen), _clean(fix))


def problem(check: str, seen: str, fix: str) -> Finding:
    return Finding(_clean(check), "problem", _clean(seen), _clean(fix))


def healthy(findings: list[Finding]) -> bool:
    """Whether nothing was found that keeps the program from working."""
    return all(finding.state != "problem" for finding in findings)


def report(findings: list[Finding]) -> str:
    """All findings as one JSON object."""
    text = msgspec.json.encode(_Report(__version__, healthy(findings), findings))
    return msgspec.json.format(text, indent=2).decode()


def table(findings: list[Finding]) -> Table:
    """What was seen, a row a check."""
    rows = Table("check", "", "seen", box=None, pad_edge=False)
    rows.columns[0].no_wrap = rows.columns[1].no_wrap = True
    rows.columns[2].overflow = "fold"
    for finding in findings:
        rows.add_row(escape(finding.check), f"[{_STYLES[finding.state]}]{finding.state}[/]", escape(finding.seen))
    return rows


def fixes(findings: list[Finding]) -> list[str]:
    """What to do, a line for each thing to do, those for problems first; with rich's markup."""
    to_do: dict[tuple[State, str], list[str]] = {}
    for finding in sorted(findings, key=lambda finding: finding.state != "problem"):
        if finding.fix:
            to_do.setdefault((finding.state, finding.fix), []).append(finding.check)
    return [
        f"[{_STYLES[state]}]{escape(', '.join(checks))}:[/] {escape(fix)}" for (state, fix), checks in to_do.items()
    ]


def _clean(text: str) -> str:
    """Without secrets, nor bytes of file names that are no text."""
    return redact(text.encode("utf-8", "replace").decode())
