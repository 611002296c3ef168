"""The command that makes a video of a clip, with what was seen in it."""

import sys
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from streamer.cli.options import FAILED, FINE, Blur, Device, Log, Options, PipelineName, Raw, Verbose
from streamer.config import VIDEO_SUFFIXES, StreamSettings, stream_name
from streamer.errors import ConfigError, redact_address
from streamer.terminal import ClipProgress, Reporter, complain, configure_logging, err, interruptible, out, told

_INTERRUPTED = 130


def annotate(
    context: typer.Context,
    given: Annotated[str, typer.Argument(metavar="CLIP", help="A video file.")],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="A .mp4, .mov or .mkv file. [default: CLIP.annotated.mp4, beside it]"),
    ] = None,
    blur: Blur = False,
    force: Annotated[bool, typer.Option("--force", help="Overwrite the output.")] = False,
    log: Log = None,
    pipeline: PipelineName = None,
    raw: Raw = False,
    device: Device = None,
    verbose: Verbose = False,
) -> None:
    """Make a video of a clip with boxes and labels: every picture, at its own time, with the clip's sound.

    It is analysed as run does it. Exit code 130 if it is interrupted: the video, without sound, ends there then.

    [dim]streamer annotate clip.mp4
    streamer annotate clip.mp4 -o shared.mp4 --blur[/dim]
    """
    from streamer.app import App
    from streamer.media.clip import complete, count_pictures
    from streamer.media.recording import Failure

    configure_logging(verbose)
    clip = _file(given)
    video = output or clip.with_name(f"{clip.stem}.annotated.mp4")
    _check(clip, video, force)
    total = count_pictures(clip)
    source = StreamSettings(str(clip.resolve()))
    settings = msgspec.structs.replace(context.obj, streams={stream_name(source.url, set()): source})
    options = Options(pipeline, log, device=device, raw=raw, no_server=True, video=str(video.absolute()), blur=blur)
    if force:
        video.unlink(missing_ok=True)
    with Reporter() as reporter:
        work = App(options.applied(settings), reporter)
        progress = ClipProgress(reporter, work, total)
        ended = list[bool]()

        async def to_its_end() -> None:
            ended.append(await progress.shown(work.run(None, progress.ready)))

        interruptible(to_its_end())
    (report,) = work.reports.values() or (None,)
    if report is not None and report.error is not None:
        complain(report.error)
    sound = ""
    if ended and ended[0]:
        try:
            sound = f", {complete(video, clip)}"
        except Failure as error:
            err.print(f"{video}: its sound could not be copied: {error}", markup=False, soft_wrap=True)
    for file in work.videos:
        out.print(f"{file.path}: {told(file)}{sound}", markup=False, soft_wrap=True)
    sys.exit((FINE if ended[0] else FAILED) if ended else _INTERRUPTED)


def _file(given: str) -> Path:
    """Raises ConfigError for the address of a camera."""
    path = Path(given)
    if not path.exists() and ("://" in given or given == "demo" or given.isdigit()):
        raise ConfigError(
            f"{redact_address(given)}: only files are annotated",
            "a camera is recorded with: streamer run --source ... --video out.mp4",
        )
    return path


def _check(clip: Path, video: Path, force: bool) -> None:
    """Raises ConfigError for what cannot be meant."""
    if video.suffix.lower() not in VIDEO_SUFFIXES:
        raise ConfigError(f"{video}: videos of this kind cannot be written", f"known: {', '.join(VIDEO_SUFFIXES)}")
    if video.exists() and (video.is_dir() or video.samefile(clip)):
        raise ConfigError(f"{video}: is {'a folder' if video.is_dir() else 'the clip itself'}", "choose another -o")
    if video.exists() and not force:
        raise ConfigError(f"{video}: is there already", "overwrite it with --force, or choose another -o")
