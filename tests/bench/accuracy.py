"""Measures the accuracy of the program as its users run it, on labelled pictures and clips, and prints a table.

    python -m tests.bench.accuracy [--data FOLDER] [--work FOLDER] [--interval SECONDS] [stills|clips]

`FOLDER` of the data holds `score.py` and `open/`; pictures are prepared once and predictions kept in the work folder.
Needs motmetrics for the clips.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
SETS = ("detection", "landmarks", "age_gender", "emotion")
Report = dict[str, dict[str, Any]]


def run(*command: str | Path) -> str:
    """Standard output of a command that must not fail."""
    return subprocess.run([*map(str, command)], stdout=subprocess.PIPE, text=True, check=True, cwd=ROOT).stdout


def stills(data: Path, work: Path, pipeline: str) -> Report:
    """Every labelled picture through `streamer image`, scored."""
    pictures, found = work / "pictures", work / f"{pipeline}.jsonl"
    if not pictures.exists():
        run(sys.executable, data / "score.py", "prepare", data / "open", pictures)
    folders = [pictures / name for name in SETS]
    found.write_text(run(sys.executable, "-m", "streamer", "image", *folders, "--jsonl", "--pipeline", pipeline))
    report: Report = json.loads(run(sys.executable, data / "score.py", "stills", data / "open", found))
    return report


def clips(data: Path, work: Path, pipeline: str, interval: float) -> Report:
    """Every clip with known identities through `streamer run`, scored; and the faces found where there are none."""
    report: Report = {}
    for truth in sorted((data / "open" / "tracking").glob("*.gt.csv")):
        name = truth.name.removesuffix(".gt.csv")
        log = analysed(truth.with_name(f"{name}.mp4"), work, pipeline, interval)
        report[name] = json.loads(run(sys.executable, data / "score.py", "clip", truth, log))
    for clip in sorted((data / "open" / "videos").glob("noface*.mp4")):
        records = map(json.loads, analysed(clip, work, pipeline, interval).read_text().splitlines())
        report[clip.stem] = {"false_faces": sum(len(record.get("faces", [])) for record in records)}
    return report


def analysed(clip: Path, work: Path, pipeline: str, interval: float) -> Path:
    """The log of a run on `clip`, in which faces are looked for every `interval` seconds."""
    log, deployment = work / f"{clip.stem}.{pipeline}.jsonl", work / "clip.toml"
    log.unlink(missing_ok=True)
    deployment.write_text(f"[streams.clip]\nurl = {json.dumps(str(clip))}\ninterval = {interval}\n")
    given: list[str | Path] = [deployment, "--log", log, "--no-server", "--pipeline", pipeline]
    run(sys.executable, "-m", "streamer", "run", *given)
    return log


def table(report: Report) -> str:
    """The report's figures as a Markdown table."""
    rows = ["| set | figures |", "|---|---|"]
    for name, figures in report.items():
        shown = [
            f"{key} {value:.3f}".rstrip("0").rstrip(".") for key, value in figures.items() if isinstance(value, float)
        ]
        shown += [f"{key} {value}" for key, value in figures.items() if isinstance(value, int)]
        rows.append(f"| {name} | {', '.join(shown)} |")
    return "\n".join(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="?", choices=("stills", "clips"), help="only these")
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "eval")
    parser.add_argument("--work", type=Path, default=ROOT / "build" / "accuracy")
    parser.add_argument("--stills-pipeline", default="accurate")
    parser.add_argument("--clips-pipeline", default="realtime")
    parser.add_argument("--interval", type=float, default=0.0, help="of the clips' streams")
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    if given.what != "clips":
        print(table(stills(given.data, given.work, given.stills_pipeline)), flush=True)
    if given.what != "stills":
        print(table(clips(given.data, given.work, given.clips_pipeline, given.interval)), flush=True)


if __name__ == "__main__":
    main()
