"""Where records lie: `<stream>/<UTC date>/<time>-<session>.jsonl`, with `.zst` behind it once compressed.

Paths in their order are segments in theirs: none begins in the same millisecond as another of its stream, or before it.
"""

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec

from streamer.errors import LogError

REMOVED = "removed.jsonl"  # beside the days of a stream: which segments were deleted
LOCK = ".lock"
COMPRESSED, UNFINISHED = ".zst", ".part"
_NAME = re.compile(r"(\d{6})(\d{3})-(\w+)\.jsonl(\.zst)?")
_DAY = re.compile(r"\d{4}-\d\d-\d\d")


class Segment(msgspec.Struct, frozen=True):
    """A segment's file; `began` and `session` are empty for a plain file of records, which has neither."""

    path: Path
    stream: str = ""
    began: datetime | None = None
    session: str = ""

    @property
    def compressed(self) -> bool:
        return self.path.suffix == COMPRESSED

    def now(self) -> "Segment":
        """It may have been compressed since it was found."""
        packed = self.path.with_name(self.path.name + COMPRESSED)
        if not self.compressed and not self.path.exists() and packed.exists():
            return msgspec.structs.replace(self, path=packed)
        return self


def new_path(root: Path, stream: str, session: str, at: float, last: Segment | None) -> Path:
    """Of the segment that begins at `at` (seconds since 1970), later than `last` even if the clock was set back."""
    began = datetime.fromtimestamp(at, UTC)
    if last is not None and last.began is not None:
        began = max(began, last.began + timedelta(milliseconds=1))
    name = f"{began:%H%M%S}{began.microsecond // 1000:03d}-{session}.jsonl"
    return root / stream / f"{began:%Y-%m-%d}" / name


def streams(root: Path) -> list[str]:
    """Those of which there are segments, in the order of their names."""
    return sorted(path.name for path in root.iterdir() if path.is_dir() and days(path))


def segments(folder: Path) -> list[Segment]:
    """Of one stream, in order. One that is just being compressed is there twice on the disk, but once here."""
    found: dict[str, Segment] = {}
    for day in days(folder):
        for path in sorted(day.iterdir()):
            segment = parsed(path)
            if segment is not None:
                found[str(path).removesuffix(COMPRESSED)] = segment  # the compressed one, complete, comes second
    return list(found.values())


def parsed(path: Path) -> Segment | None:
    """The segment that a file is, by its name."""
    match, day = _NAME.fullmatch(path.name), path.parent.name
    if not match or not _DAY.fullmatch(day):
        return None
    try:
        began = datetime.strptime(f"{day} {match[1]}{match[2]}+0000", "%Y-%m-%d %H%M%S%f%z")
    except ValueError:
        return None
    return Segment(path, path.parent.parent.name, began, match[3])


def find(where: Path, wanted: tuple[str, ...] = ()) -> dict[str, list[Segment]]:
    """The segments of each stream of a log, or of those `wanted`: a log's folder, a stream's, or a single file.

    Plain files of records are under the empty name. Raises LogError if there is no log, or no such stream in it.
    """
    if where.is_file():
        segment = parsed(where) or Segment(where)
        return {segment.stream: [segment]}
    if not where.is_dir():
        raise LogError(f"{where}: no such log", "name the folder or the .jsonl file that --log or [log] path names")
    if days(where):
        return {where.name: segments(where)}
    found = {name: segments(where / name) for name in streams(where)}
    plain = [Segment(path) for path in sorted(where.iterdir()) if path.name.endswith((".jsonl", ".jsonl.zst"))]
    if plain:
        found[""] = plain
    if not found:
        raise LogError(f"{where}: holds no records", "is that the folder that --log or [log] path names?")
    unknown = [name for name in wanted if name not in found and not plain]
    if unknown:
        raise LogError(f"{where}: has no stream {unknown[0]!r}", f"streams: {', '.join(filter(None, found))}")
    return {name: found[name] for name in found if not wanted or name in wanted or not name}


def days(folder: Path) -> list[Path]:
    """The folders of days of one stream, in order."""
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if _DAY.fullmatch(path.name) and path.is_dir())


def remove_empty_day(day: Path, at: float) -> None:
    """Once it is over. `at` is the time, in seconds since 1970. Raises OSError."""
    if day.name < f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d}" and not any(day.iterdir()):
        day.rmdir()
