"""What a person should know and do about a source, from its figures, and the settings it needs."""

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

from streamer.config import StreamSettings, stream_name
from streamer.errors import redact_address
from streamer.media.address import Address
from streamer.media.report import Advice, Report, SubStream
from streamer.media.substream import usual_sub_stream

_ENOUGH = (1280, 720)  # of a picture: more seldom shows more faces
_DEAR = 0.15  # of a core, to decode one stream
_KEY_INTERVAL = 4.0  # seconds
_CLOCK_OFF = 2.0  # seconds
_UNSTEADY = 0.1  # seconds by which a camera's words about its clock may differ
_JITTER = 0.25  # seconds
_FEW = 5.0  # pictures a second: faces move too far between two of them


def warnings(report: Report) -> tuple[Advice, ...]:
    """What to look at, the worst first."""
    if not report.live:
        return (*_of_file(report), *_of_picture(report))
    return (
        *_of_flow(report),
        *_of_loss(report),
        *_of_key_frames(report),
        *_of_clock(report),
        *_of_rate(report),
        *_of_picture(report),
        *_of_cost(report),
    )


def _of_flow(report: Report) -> Iterator[Advice]:
    timing = report.timing
    if report.ending == "closed":
        yield Advice(
            "closed",
            f"the connection was closed after {report.seconds:.1f} s",
            "does the camera allow another client? is something else fetching its pictures?",
        )
    if timing.stalls or report.ending == "stalled":
        yield Advice(
            "stalled",
            f"pictures stopped coming, for {(timing.longest_pause_ms or 0) / 1000:.1f} s at the longest",
            "check the cable or WLAN and the camera's load; other clients of it count too",
        )
    elif timing.jitter_ms is not None and timing.jitter_ms > _JITTER * 1000:
        yield Advice(
            "jitter",
            f"pictures come in bursts, up to {(timing.worst_ms or 0) / 1000:.2f} s off their time",
            "WLAN or a busy network: a cable helps, or a lower bit rate",
        )


def _of_loss(report: Report) -> Iterator[Advice]:
    loss, over = report.loss, report.transport
    if loss.damaged:
        what = f"{loss.missed_packets} packets were lost and " if loss.missed_packets else ""
        fix = (
            "use tcp, which sends lost packets again" if over == "udp" else "check cable, switch and the camera's load"
        )
        yield Advice(
            "loss",
            f"{what}{loss.corrupt + loss.undecodable} of {loss.packets} pictures are damaged;"
            " damaged ones are skipped up to the next key picture",
            fix,
        )
    elif loss.gaps:
        yield Advice(
            "gaps",
            f"{_count(loss.gaps, 'hole')} in the timestamps: about {loss.lost_pictures} pictures never came",
            "use tcp" if over == "udp" else "the camera leaves them out: is it overloaded? lower its bit rate or size",
        )


def _of_key_frames(report: Report) -> Iterator[Advice]:
    keys = report.key_frames
    seconds = keys.seconds or keys.at_least_seconds or 0.0
    if seconds > _KEY_INTERVAL:
        more = "" if keys.seconds else "more than "
        every = f", every {round(2 * report.rate.best)} pictures," if report.rate.best else ""
        yield Advice(
            "keyInterval",
            f"{more}{seconds:.0f} s between key pictures: so long take reconnecting and recovery from damage",
            f"set the camera's key-frame interval (GOP, I-frame interval) to 2 s{every} and smart codec (H.264+) off",
        )
    if report.video.b_frames or report.video.held_back > 1:
        held, fps = report.video.held_back, report.rate.best
        delay = f" by {held / fps * 1000:.0f} ms" if held and fps else ""
        yield Advice(
            "reordered",
            f"the decoder has to hold pictures back{delay}"
            + (", because the camera sends B-frames" if report.video.b_frames else ""),
            "switch B-frames off in the camera, or choose the profile Baseline",
        )


def _of_clock(report: Report) -> Iterator[Advice]:
    clock, timing = report.clock, report.timing
    off = (clock.offset_ms or 0.0) / 1000
    if clock.unset:
        yield Advice(
            "clockUnset",
            f"the camera's clock was never set: it is {duration(off)} {ahead(off)} this machine's, and not used",
            "give the camera a time server (NTP)",
        )
    elif clock.clock == "camera" and abs(off) > _CLOCK_OFF:
        yield Advice(
            "clockWrong",
            f"the camera's clock is {duration(off)} {ahead(off)} this machine's: capture times will be, too",
            "give the camera and this machine a time server (NTP)",
        )
    if clock.jumps or (clock.unsteady_ms or 0.0) > _UNSTEADY * 1000:
        by = f" by {duration((clock.unsteady_ms or 0.0) / 1000)}" if clock.unsteady_ms else ""
        yield Advice("clockJumped", f"a clock was set meanwhile{by}", "if it goes on, check its time server (NTP)")
    if timing.missing or timing.backward:
        yield Advice(
            "timestamps",
            f"{timing.missing} timestamps are missing, {timing.backward} go back",
            "they are mended; newer camera firmware may send better ones",
        )


def _of_rate(report: Report) -> Iterator[Advice]:
    rate = report.rate
    if rate.variable:
        yield Advice(
            "variableFps",
            f"the rate varies around {rate.best or 0:.1f} fps",
            "set a fixed rate; switch off slow shutter (long exposure in the dark) and smart codec",
        )
    elif rate.declared_fps and rate.best and abs(rate.best / rate.declared_fps - 1) > 0.1:
        yield Advice(
            "fps",
            f"{rate.declared_fps:g} fps are announced, {rate.best:.1f} come",
            "slow shutter in the dark, an overloaded camera or a thin network; what comes is what counts",
        )
    if rate.best and rate.best < _FEW:
        yield Advice(
            "fewPictures",
            f"{rate.best:.1f} fps are few: faces are hard to follow from one to the next",
            "set the camera to 10-15 fps",
        )


def _of_picture(report: Report) -> Iterator[Advice]:
    video = report.video
    if video.rotation:
        yield Advice(
            "rotated",
            f"pictures are turned by {video.rotation} degrees clockwise to be shown",
            "this is done here, but costs time; better turn the picture in the camera",
        )
    if video.interlaced:
        yield Advice("interlaced", "pictures are interlaced: what moves has combed edges", "set it to progressive")


def _of_cost(report: Report) -> Iterator[Advice]:
    cost, codec = report.cost, report.video.codec
    if codec in ("hevc", "av1", "vp9"):
        name = {"hevc": "H.265", "av1": "AV1", "vp9": "VP9"}[codec]
        yield Advice(
            "codec",
            f"{name} usually costs more to decode than H.264; here {cost.ms_per_picture:.1f} ms a picture",
            "if that is too much, set this stream of the camera to H.264",
        )
    if (cost.machine_share or 0.0) > 0.5:
        yield Advice(
            "expensive",
            f"decoding alone takes {cost.machine_share or 0:.0%} of this machine, and faces come on top",
            "use a smaller stream of the camera, or fewer pictures a second",
        )


def _of_file(report: Report) -> Iterator[Advice]:
    loss, timing = report.loss, report.timing
    if report.file is not None and report.file.cut_off:
        yield Advice(
            "cutOff",
            f"the file ends before the {report.file.frames or 'many'} pictures that its index announces",
            "was its recording or copy broken off?",
        )
    if loss.undecodable or loss.corrupt:
        yield Advice(
            "damaged",
            f"{loss.corrupt + loss.undecodable} of {loss.packets} pictures are damaged",
            "damaged pictures are skipped; is there a better copy?",
        )
    if timing.missing or timing.backward:
        yield Advice(
            "timestamps",
            f"{timing.missing} timestamps are missing, {timing.backward} go back",
            "they are mended; to have better ones write the file anew",
        )


def sub_stream(where: Address, report: Report) -> SubStream | None:
    """Whether a smaller stream would do, and where it may be."""
    if where.kind not in ("rtsp", "network") or not report.live:
        return None
    long, short = sorted((report.video.width, report.video.height), reverse=True)
    if long > _ENOUGH[0] or short > _ENOUGH[1]:
        reason = f"{report.video.width}x{report.video.height} is more than most scenes need"
    elif (report.cost.core_share or 0.0) > _DEAR:
        reason = f"decoding takes {report.cost.core_share or 0:.0%} of a core"
    else:
        return None
    usual = usual_sub_stream(where.url)
    if usual is None:
        return SubStream(reason)
    return SubStream(reason, usual.maker, usual.address, usual.note)


def snippet(stream: StreamSettings, where: Address, report: Report) -> str:
    """The `[streams.NAME]` table for a configuration: what differs from defaults, and never a password."""
    user, url = _apart(stream, where)
    defaults = StreamSettings("")
    lines = [f"[streams.{_key(stream_name(url, set()))}]", f"url = {_quoted(url)}"]
    if "***" in url:
        lines[-1] += "  # put what stood there in the place of ***"
    if user:
        lines += [f"user = {_quoted(user)}", 'password = ""  # fill in; it is not shown here']
    if where.kind == "rtsp" and stream.transport != defaults.transport:
        if report.loss.damaged or report.loss.gaps:
            lines.append("# transport is left at tcp: over udp packets were lost")
        else:
            lines.append(f"transport = {_quoted(stream.transport)}")
    if report.live and report.opening.open_ms > 500 * defaults.open_timeout:
        lines.append(f"open_timeout = {2 * report.opening.open_ms / 1000:.1f}  # it is slow to open")
    if report.live and report.rate.best and 4 / report.rate.best > defaults.stall:
        lines.append(f"stall = {4 / report.rate.best:.1f}  # pictures come seldom")
    return "\n".join(lines) + "\n"


def _apart(stream: StreamSettings, where: Address) -> tuple[str, str]:
    """User and address without secrets. A user without a password may be a token, and is one."""
    if where.kind == "file":
        return "", str(Path(where.url).resolve())
    scheme, slashes, rest = stream.url.partition("://")
    if not slashes:
        return "", stream.url
    secret, _, place = rest.rpartition("@")
    user, colon, _password = secret.partition(":")
    return stream.user or (unquote(user) if colon else ""), redact_address(f"{scheme}://{place}")


def _key(name: str) -> str:
    bare = name.isascii() and name.replace("-", "").replace("_", "").isalnum()
    return name if bare else _quoted(name)


def _quoted(text: str) -> str:
    """As a TOML basic string; bytes of file names that are no text are replaced."""
    shown = text.encode("utf-8", "replace").decode()
    escaped = shown.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(c if c.isprintable() else f"\\U{ord(c):08x}" for c in escaped) + '"'


def _count(n: int, word: str) -> str:
    return f"{n} {word}{'' if n == 1 else 's'}"


def ahead(seconds: float) -> str:
    """Whether a clock so far ahead of another is."""
    return "ahead of" if seconds > 0 else "behind"


def duration(seconds: float) -> str:
    """In a unit that fits, without its sign."""
    for unit, name in ((365.25 * 86_400, "years"), (86_400, "days"), (3_600, "hours"), (60, "minutes")):
        if abs(seconds) >= 2 * unit:
            return f"{abs(seconds) / unit:.1f} {name}"
    return f"{abs(seconds):.2g} s"
