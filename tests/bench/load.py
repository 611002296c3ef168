"""Many cameras on one machine: equal shares, no old results, and dead cameras that disturb nobody.

    python -m tests.bench.load --live 10 --dead 6 --seconds 30 [--clip FILE]

Runs `streamer run` on `live` cameras, played in a process of their own, and `dead` ones, every other of which takes
connections but never answers. Prints what became of each: pictures analysed a second, milliseconds from capture to
result, why others were passed over.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections import Counter
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from streamer.bench.scene import film
from streamer.config import Settings
from streamer.inference.models import Workshop
from streamer.media.pictures import read_picture
from tests.servers.rtsp import RtspProcess
from tests.test_run import records

WARM_UP = 6.0  # seconds from the first result: until then the machine is still being shared out
Record = dict[str, Any]


class Stream(NamedTuple):
    """One live camera after the warm-up: milliseconds from capture to each result and the age of its looks, in how many
    results faces were followed instead of looked for, reasons why pictures were skipped.
    """

    ages: list[float]
    looks: list[float]
    followed: int
    skipped: Counter[str]


class Load(NamedTuple):
    """What became of the cameras; `dead` are the codes of the errors told of each dead one."""

    seconds: float
    live: dict[str, Stream]
    dead: dict[str, list[str]]

    @property
    def share(self) -> float:
        """The fewest results of a camera by the most: 1 where all are treated alike."""
        counts = [len(stream.ages) for stream in self.live.values()]
        return min(counts) / max(*counts, 1)


def measure(clip: Path, folder: Path, live: int, dead: int, seconds: float, more: str = "") -> Load:
    """Runs the program for so many `seconds` after its warm-up; `more` are settings of each stream, as TOML."""
    alive, gone = [f"cam{n}" for n in range(live)], [f"dead{n}" for n in range(dead)]
    with RtspProcess(dict.fromkeys([*alive, *gone], clip)) as server:
        urls = {name: server.url(name) for name in (*alive, *gone)} | dict.fromkeys(gone[::2], "rtsp://127.0.0.1:9/x")
        for name in gone:
            server.fault(name, black_hole=True)
        lines = ["[server]", "enabled = false", "[log]", "path = 'logs'"]
        for name, url in urls.items():
            lines += [f"[streams.{name}]", f"url = {json.dumps(url)}", more]
        (folder / "load.toml").write_text("\n".join(lines))
        command = [sys.executable, "-m", "streamer", "run", str(folder / "load.toml"), "--duration"]
        subprocess.run([*command, str(seconds + WARM_UP)], capture_output=True, check=False)
    logs = {name: records(folder / "logs" / name) for name in urls}
    times = [_captured(r) for name in alive for r in _analysed(logs[name])]
    start = min(times) + WARM_UP
    return Load(
        max(times) - start,
        {name: _stream(logs[name], start) for name in alive},
        {name: [r["error"]["code"] for r in logs[name] if "error" in r] for name in gone},
    )


def _analysed(log: list[Record]) -> list[Record]:
    return [r for r in log if r.get("status") == "processed"]


def _captured(record: Record) -> float:
    return datetime.fromisoformat(record["time"]["captured"]).timestamp()


def _stream(log: list[Record], start: float) -> Stream:
    frames = [r for r in log if r["type"] == "frame"]
    assert [r["seq"] for r in frames] == list(range(len(frames)))
    warm = [r for r in frames if _captured(r) >= start]
    analysed = _analysed(warm)
    return Stream(
        [r["time"]["ageMs"] for r in analysed],
        [face.get("heldMs", {}).get("looks", 0.0) for r in analysed for face in r["faces"]],
        sum("detect" not in r["timings"] for r in analysed),
        Counter(r["reason"] for r in warm if "reason" in r),
    )


def table(load: Load) -> str:
    rows = [
        "| camera | results/s | age ms p50 | p99 | looks ms p50 | p95 | followed | passed over |",
        "|---|---|---|---|---|---|---|---|",
    ]
    streams = dict(load.live)
    streams["all"] = Stream(
        [age for stream in load.live.values() for age in stream.ages],
        [age for stream in load.live.values() for age in stream.looks],
        sum(stream.followed for stream in load.live.values()),
        sum((stream.skipped for stream in load.live.values()), Counter()),
    )
    for name, (ages, looks, followed, skipped) in streams.items():
        cells = [name, f"{len(ages) / load.seconds:.1f}", *_percentiles(ages, 50, 99), *_percentiles(looks, 50, 95)]
        cells.append(f"{followed / max(len(ages), 1):.0%}")
        rows.append(f"| {' | '.join(cells)} | {', '.join(f'{why} {n}' for why, n in skipped.most_common())} |")
    told = Counter(" ".join(codes) or "nothing" for codes in load.dead.values())
    dead = "; ".join(f"{count} dead ones told: {codes}" for codes, count in told.items())
    return "\n".join([*rows, "", f"fewest by most results: {load.share:.2f}; {dead}"])


def _percentiles(values: list[float], *which: int) -> list[str]:
    return [f"{np.percentile(values, one):.0f}" if values else "-" for one in which]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--live", type=int, default=10)
    parser.add_argument("--dead", type=int, default=6)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--clip", type=Path, help="mp4 without B-frames; by default the demo's portrait in 720p")
    parser.add_argument("--settings", default="", help="of each stream, as TOML: 'max_age = 0.3'")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        clip = given.clip or portrait(folder)
        print(table(measure(clip, folder, given.live, given.dead, given.seconds, given.settings)))


def portrait(folder: Path) -> Path:
    """The demo's moving camera over the portrait, as a clip."""
    workshop = Workshop(Settings())
    try:
        return film(read_picture(workshop.picture("portrait")), folder / "face.mp4")
    finally:
        workshop.close()


if __name__ == "__main__":
    main()
