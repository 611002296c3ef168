"""The report on one source as a person reads it."""

from collections.abc import Iterator

from rich.console import Console
from rich.markup import escape

from streamer.media.advice import ahead, duration
from streamer.media.report import Report

_NAMES = {
    "h264": "H.264",
    "hevc": "H.265",
    "mjpeg": "MJPEG",
    "mpeg4": "MPEG-4",
    "vp8": "VP8",
    "vp9": "VP9",
    "av1": "AV1",
}


def print_datasheet(report: Report, out: Console) -> None:
    """Facts, then what to do about them, then the settings."""
    out.print(f"[bold]{escape(report.source)}[/]", soft_wrap=True)
    for name, words in _facts(report):
        out.print(f"  [cyan]{name:<11}[/]{escape(words)}", soft_wrap=True)
    out.print()
    for advice in report.warnings:
        out.print(f"[yellow]![/] {escape(advice.message)}\n  [dim]->[/] {escape(advice.fix)}", soft_wrap=True)
    for line in _smaller(report):
        out.print(line, soft_wrap=True)
    if not report.warnings and report.sub_stream is None:
        out.print("[green]Nothing to complain about.[/]")
    out.print("\n[dim]# for your configuration:[/]")
    out.print(report.snippet, markup=False, soft_wrap=True, end="")


def _facts(report: Report) -> Iterator[tuple[str, str]]:
    opening, over = report.opening, f" over {report.transport}" if report.transport else ""
    first = f"first picture after {opening.first_picture_ms:.0f} ms"
    yield "opened", f"in {opening.open_ms:.0f} ms, {first} ({report.kind}{over})"
    yield "video", ", ".join(_video(report))
    yield "rate", _rate(report)
    yield "key frames", _key_frames(report)
    if report.file is not None:
        yield "file", _file(report)
    else:
        yield "clock", _clock(report)
    yield "timing", ", ".join(_timing(report))
    yield "loss", ", ".join(_loss(report))
    yield "decoding", _cost(report)
    yield "seen", _seen(report)


def _video(report: Report) -> Iterator[str]:
    video = report.video
    yield _NAMES.get(video.codec, video.codec) + (f" {video.profile}" if video.profile else "")
    yield f"{video.width}x{video.height}" + (f" (turned by {video.rotation} degrees)" if video.rotation else "")
    yield video.pixel_format + (" interlaced" if video.interlaced else "")
    yield f"with sound ({video.audio}, ignored)" if video.audio else "no sound"


def _rate(report: Report) -> str:
    rate = report.rate
    figures = ((rate.arrival_fps, "arrive"), (rate.fps, "by timestamps"), (rate.declared_fps, "announced"))
    fps = ", ".join(f"{value:.4g} {what}" for value, what in figures if value)
    bits = f"; {rate.bit_rate / 1e6:.2f} Mbit/s" if rate.bit_rate else ""
    return (f"fps: {fps}" if fps else "unknown") + (", variable" if rate.variable else "") + bits


def _key_frames(report: Report) -> str:
    keys, video = report.key_frames, report.video
    if keys.pictures == 1:
        every = "every picture"
    elif keys.pictures is not None:
        every = f"every {keys.pictures} pictures" + (f" ({keys.seconds:.1f} s)" if keys.seconds else "")
    else:
        every = f"only one in {keys.at_least_seconds or 0:.1f} s" if keys.seen else "none"
    pictures = "a picture" if video.held_back == 1 else f"{video.held_back} pictures"
    held = f", the decoder holds {pictures} back" if video.held_back and report.live else ""
    return f"{every}, {'with' if video.b_frames else 'no'} B-frames{held}"


def _clock(report: Report) -> str:
    clock = report.clock
    if clock.unset:
        return "the camera's was never set; arrival at this machine counts"
    if clock.clock != "camera":
        return "the camera does not tell its own; arrival at this machine counts"
    off = clock.offset_ms or 0.0
    if -2000 < off <= 0:
        agrees = f"agrees with this machine's (the quickest picture took {-off:.0f} ms)"
    else:
        agrees = f"{duration(off / 1000)} {ahead(off)} this machine's"
    return f"the camera's own (RTCP), {agrees}, steady within {clock.unsteady_ms or 0:.0f} ms"


def _timing(report: Report) -> Iterator[str]:
    timing = report.timing
    if timing.jitter_ms is not None:
        yield f"arrival jitter {timing.jitter_ms:.0f} ms (worst {timing.worst_ms or 0:.0f} ms)"
    if not timing.timestamps:
        yield "no timestamps"
    elif timing.missing or timing.backward:
        yield f"{timing.missing} timestamps missing, {timing.backward} going back"
    else:
        yield "timestamps clean"
    if timing.longest_pause_ms is not None:
        yield f"longest pause {timing.longest_pause_ms:.0f} ms"


def _loss(report: Report) -> Iterator[str]:
    loss = report.loss
    if not loss.damaged and not loss.gaps:
        yield f"none in {loss.pictures} pictures"
        return
    if loss.missed_packets:
        yield f"{loss.missed_packets} RTP packets lost"
    if loss.undecodable:
        yield f"{loss.undecodable} pictures undecodable"
    if loss.corrupt:
        yield f"{loss.corrupt} of {loss.pictures} pictures damaged"
    if loss.gaps:
        yield f"{loss.gaps} holes in time (about {loss.lost_pictures} pictures)"


def _cost(report: Report) -> str:
    cost = report.cost
    each = f"{cost.ms_per_picture:.1f} ms a picture"
    if cost.core_share is None:
        return each
    cores = f"{cost.cores} core{'' if cost.cores == 1 else 's'}"
    return (
        f"{each}: {cost.core_share:.0%} of a core, {cost.machine_share or 0:.0%} of this machine's {cores};"
        f" one core decodes {cost.streams_per_core or 0:.0f} such streams"
    )


def _file(report: Report) -> str:
    file = report.file
    if file is None:
        return ""
    frames = f"{file.frames} pictures" if file.frames else "an unknown number of pictures"
    return f"{frames}, {file.duration:.2f} s" if file.duration else frames


def _seen(report: Report) -> str:
    how = {
        "time": "",
        "interrupted": ", interrupted",
        "closed": ", then it was closed",
        "stalled": ", then nothing more came",
        "endOfFile": ", to its end",
    }[report.ending]
    return f"{report.loss.pictures} pictures in {report.seconds:.1f} s{how}"


def _smaller(report: Report) -> Iterator[str]:
    sub = report.sub_stream
    if sub is None:
        return
    yield f"[yellow]![/] {escape(sub.reason)}: most cameras offer a smaller second stream"
    if sub.address:
        note = f" ({sub.note})" if sub.note else ""
        yield f"  [dim]->[/] by its address perhaps {escape(f'{sub.address} ({sub.maker}){note}')}"
    elif sub.note:
        yield f"  [dim]->[/] {escape(f'{sub.maker}: {sub.note}')}"
    else:
        yield "  [dim]->[/] look for sub-stream, second stream or profile 2 in its manual or settings"
