"""Every setting, as structs that strict TOML is read into. Unknown keys are refused with their path.

Times are seconds, sizes pixels, thresholds 0-1. `configs/default.toml` shows every key of `Settings`, and
`pipelines/realtime.toml` every key of `Pipeline`.
"""

import re
from pathlib import Path
from typing import Annotated, Literal, TypeVar
from urllib.parse import quote

import msgspec
import platformdirs

Fraction = Annotated[float, msgspec.Meta(ge=0, le=1)]
Seconds = Annotated[float, msgspec.Meta(ge=0)]
SomeSeconds = Annotated[float, msgspec.Meta(gt=0)]
Port = Annotated[int, msgspec.Meta(ge=0, le=65535)]
Role = Literal["view", "control"]
T = TypeVar("T")
VIDEO_SUFFIXES = (".mp4", ".mov", ".mkv")
_SHORTEST_TOKEN = 8  # characters
# Also the name of a log file, which may have 255 bytes: up to four a character.
Name = Annotated[str, msgspec.Meta(pattern=r"^\w[\w. -]{0,59}\Z")]


class _Strict(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    pass


class DetectSettings(_Strict, frozen=True):
    """`size` is the side of a square as large as the detector's input. Faces are found from `threshold` on; boxes that
    overlap by more than `nms_iou` are one face. Where nothing is found, `fallback`, another detector, has a look.
    For CenterFace: `scales` are the readings, as multiples of the picture's size (negative: mirrored), and
    `calibration` turns their mean score's log odds into those of being a face (offset, slope).
    """

    model: str = "yunet"
    size: Annotated[int, msgspec.Meta(ge=64, le=4096)] = 640
    threshold: Fraction = 0.3
    nms_iou: Fraction = 0.45
    max_faces: Annotated[int, msgspec.Meta(ge=1)] = 200
    fallback: str = ""
    scales: Annotated[tuple[float, ...], msgspec.Meta(min_length=1)] = (1.0,)
    calibration: tuple[float, float] = (0.0, 1.0)


class LandmarkSettings(_Strict, frozen=True):
    """The mesh refines the detector's five points where its own face score (a logit) reaches `min_score`."""

    model: str = "face-mesh"
    min_score: float = -5.0


class AttributeSettings(_Strict, frozen=True):
    """Models for age, gender and emotion; with an empty name that is not judged. Their outputs are averaged over views
    of each face: `zooms` of its aligned chip, and with `mirror` the mirror images of all. In a stream a face is
    looked at anew after `interval` seconds, sooner while it is new, seen badly or coming closer; a camera's on a
    machine that is too busy less often, but at least every `interval_max` seconds.
    """

    age: str = "dlib-age"
    gender: str = "dlib-gender"
    emotion: str = "emotion-net"
    age_zooms: Annotated[tuple[float, ...], msgspec.Meta(min_length=1)] = (1.0,)
    gender_zooms: Annotated[tuple[float, ...], msgspec.Meta(min_length=1)] = (1.05,)
    mirror: bool = False
    interval: Seconds = 0.0
    interval_max: Seconds = 1.0


class TrackSettings(_Strict, frozen=True):
    """A face starts a track if it scores `threshold`; one that scores less than `sure` is shown only after it was seen
    for `confirm` seconds. Fainter ones, from `faint` on, only keep a track alive. A track keeps its number for `lost`
    seconds without being seen. `manoeuvre` is how hard faces change their speed: the power spectral density of their
    acceleration in face heights squared per second cubed. `gate` is how many standard deviations a face may be off its
    prediction. `cut` is the change of the picture, 0-1, from which a new scene is assumed: all tracks end.
    """

    threshold: Fraction = 0.7
    sure: Fraction = 0.8
    faint: Fraction = 0.6
    confirm: Seconds = 0.1
    lost: Seconds = 1.0
    manoeuvre: SomeSeconds = 4.0
    gate: SomeSeconds = 4.0
    cut: Fraction = 0.28


class SmoothSettings(_Strict, frozen=True):
    """Time constants in seconds; 0 switches that smoothing off. `box_cutoff` (hertz) and `box_speed` are One Euro's
    minimum cut-off and its growth with speed in face heights per second. Another emotion takes the lead once it is
    ahead by `emotion_margin`, or has been ahead for `emotion_patience`.
    """

    box_cutoff: Seconds = 2.0
    box_speed: Annotated[float, msgspec.Meta(ge=0)] = 4.0
    age: Seconds = 6.0
    gender: Seconds = 6.0
    emotion: Seconds = 0.25
    emotion_margin: Fraction = 0.08
    emotion_patience: Seconds = 0.35


class Pipeline(_Strict, frozen=True):
    """Which models analyse a picture, with which thresholds; tracking and smoothing apply to streams only."""

    description: str = ""
    detect: DetectSettings = DetectSettings()
    landmarks: LandmarkSettings = LandmarkSettings()
    attributes: AttributeSettings = AttributeSettings()
    track: TrackSettings = TrackSettings()
    smooth: SmoothSettings = SmoothSettings()

    def models(self) -> tuple[str, ...]:
        """Names of the model cards that this pipeline needs."""
        a = self.attributes
        return tuple(
            filter(None, (self.detect.model, self.detect.fallback, self.landmarks.model, a.age, a.gender, a.emotion))
        )


Point = tuple[Fraction, Fraction]
Polygon = Annotated[tuple[Point, ...], msgspec.Meta(min_length=3)]
WHOLE_PICTURE: Polygon = ((0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0))


class StreamSettings(_Strict, frozen=True):
    """One source, how it is read, and what of it is analysed.

    `user` and `password` are plain text here and are encoded into the address exactly once; instead of the password the
    name of an environment variable or the path of a file that holds it can be given. `format` is the name of an FFmpeg
    capture format (such as x11grab or lavfi) that the address is meant for. `hardware` names an FFmpeg hardware device
    for decoding; where it cannot be used, the CPU decodes. A file is read as fast as it can be analysed, or at
    its own speed with `realtime`, and over and over with `loop`.

    A source that gives no picture for `stall` seconds counts as stalled; a lost one is tried again after `retry_min`
    seconds, twice as long each time up to `retry_max`. A live picture older than `max_age` seconds is not analysed.

    `rotate` turns the picture clockwise, in degrees. At most `fps` pictures a second are analysed (0: all), and with
    `keyframes_only` key pictures only: of a live source no others are even decoded. Faces are looked for every
    `interval` seconds (0: in each picture) and followed in between; on a machine that is too busy those of a camera
    less often, but at least every `interval_max` seconds; and only where more than a share `motion` of the picture has
    changed (0: always). Where all of them are large YuNet reads pictures at half the size, but every `full_interval`
    seconds one in full, to find small ones (0: all); on a machine that is too busy later, by four times what searches
    are. Only faces whose centre is inside the polygon `region` and outside of all `masks` count; points are x, y as
    shares of width and height of the picture as displayed.
    """

    url: str
    user: str = ""
    password: str = ""
    password_env: str = ""
    password_file: str = ""
    transport: Literal["tcp", "udp"] = "tcp"
    format: str = ""
    hardware: str = ""
    realtime: bool = False
    loop: bool = False
    open_timeout: SomeSeconds = 8.0
    stall: SomeSeconds = 5.0
    retry_min: SomeSeconds = 1.0
    retry_max: SomeSeconds = 30.0
    max_age: SomeSeconds = 0.5
    rotate: Literal[0, 90, 180, 270] = 0
    fps: Annotated[float, msgspec.Meta(ge=0)] = 0.0
    keyframes_only: bool = False
    interval: Seconds = 0.0
    interval_max: Seconds = 0.2
    full_interval: Seconds = 0.2
    motion: Fraction = 0.0
    region: Polygon = WHOLE_PICTURE
    masks: tuple[Polygon, ...] = ()

    def __post_init__(self) -> None:
        if sum(map(bool, (self.password, self.password_env, self.password_file))) > 1:
            raise ValueError("give one of password, password_env and password_file")
        if self.retry_max < self.retry_min:
            raise ValueError("retry_max is less than retry_min")

    def overlooking_nobody(self) -> "StreamSettings":
        """These, for pictures in which faces must be blurred: who comes between two searches, changes too little of the
        picture or is too small for a quick look would be shown.
        """
        return msgspec.structs.replace(self, interval_max=self.interval, full_interval=0.0, motion=0.0)


class TokenSettings(_Strict, frozen=True):
    """Something that only those know who may `view` records and pictures and use /analyze, or `control` the streams,
    too. Instead of the token the name of an environment variable or the path of a file that holds it can be given.
    """

    role: Role = "view"
    token: str = ""
    token_env: str = ""
    token_file: str = ""

    def __post_init__(self) -> None:
        if sum(map(bool, (self.token, self.token_env, self.token_file))) != 1:
            raise ValueError("give one of token, token_env and token_file")
        if self.token and len(self.token) < _SHORTEST_TOKEN:
            raise ValueError(f"a token has at least {_SHORTEST_TOKEN} characters")


class ServerSettings(_Strict, frozen=True):
    """`host` is the address that page, Face API and websocket listen on; port 0 takes a free one. Whoever shows none of
    the `tokens` may do nothing, or see everything where `anonymous` is "view"; without tokens only programs on this
    machine are served. `certificate` and `key` are PEM files: with them both ports speak TLS.

    Web pages of other origins than the program's own and this machine's are refused pictures and records unless
    `origins` names them (such as `https://wall.example`), or is `*`; `cors` are those that may read what /analyze says.
    """

    enabled: bool = True
    host: str = "127.0.0.1"
    http_port: Port = 8080
    ws_port: Port = 8765
    control: bool = True
    anonymous: Literal["", "view"] = ""
    certificate: str = ""
    key: str = ""
    origins: tuple[str, ...] = ()
    cors: tuple[str, ...] = ("*",)
    tokens: dict[Name, TokenSettings] = {}

    def __post_init__(self) -> None:
        if self.key and not self.certificate:
            raise ValueError("key without certificate")


class ImageSettings(_Strict, frozen=True):
    """What /analyze takes: bodies of up to `max_bytes`, which may take `upload_timeout` seconds to come, with pictures
    of up to `max_pixels`; of each the surest `max_faces` are described. `concurrency` pictures are analysed at a time;
    when `queue` more requests are there, others are told to come back.
    """

    max_bytes: Annotated[int, msgspec.Meta(ge=1024)] = 32 << 20
    max_pixels: Annotated[int, msgspec.Meta(ge=1)] = 64_000_000
    max_faces: Annotated[int, msgspec.Meta(ge=1)] = 1000
    concurrency: Annotated[int, msgspec.Meta(ge=1)] = 2
    queue: Annotated[int, msgspec.Meta(ge=0)] = 16
    upload_timeout: SomeSeconds = 30.0


class PrivacySettings(_Strict, frozen=True):
    """What is judged, shown and told of people, in streams and stills alike.

    Models for `emotions`, `age` and `gender` that are off are neither loaded nor run. Without `pictures` none is shown
    or written anywhere; with `blur` all faces in those that are shown are unrecognisable, whatever is asked for. With
    `coordinates_only` nothing is told of a face but where it is: it switches the other values and pictures off, too.
    """

    emotions: bool = True
    age: bool = True
    gender: bool = True
    pictures: bool = True
    blur: bool = False
    coordinates_only: bool = False

    def __post_init__(self) -> None:
        if self.coordinates_only:
            for implied in ("emotions", "age", "gender", "pictures"):
                msgspec.structs.force_setattr(self, implied, False)

    def applied(self, pipeline: Pipeline) -> Pipeline:
        """`pipeline` without the models that are not wanted."""
        wanted = {"age": self.age, "gender": self.gender, "emotion": self.emotions}
        off = {name: "" for name, on in wanted.items() if not on}
        return msgspec.structs.replace(pipeline, attributes=msgspec.structs.replace(pipeline.attributes, **off))


class LogSettings(_Strict, frozen=True):
    """`path` is a folder that gets a folder of segments for each stream, or a single `.jsonl` file; empty: no log.

    A new segment begins after `segment_mb` megabytes, and at all multiples of `segment_seconds` (UTC). Complete ones
    are compressed, and deleted when they are older than `keep_days`, or the oldest when all together are larger than
    `keep_gb` (0: never). While less than `min_free_mb` of the disk is free nothing is recorded, and that is recorded
    later. What was written is forced onto the disk every `fsync_interval` seconds, after every write, or never.
    """

    path: str = ""
    segment_mb: Annotated[float, msgspec.Meta(gt=0)] = 64.0
    segment_seconds: SomeSeconds = 3600.0
    compress: bool = True
    keep_days: Annotated[float, msgspec.Meta(ge=0)] = 0.0
    keep_gb: Annotated[float, msgspec.Meta(ge=0)] = 0.0
    min_free_mb: Annotated[float, msgspec.Meta(ge=0)] = 200.0
    fsync: Literal["never", "interval", "always"] = "interval"
    fsync_interval: SomeSeconds = 1.0

    def file(self) -> Path:
        return Path(self.path).expanduser()


class VideoSettings(_Strict, frozen=True):
    """`path` is a folder that gets a folder of videos for each stream, or of a single stream one `.mp4`, `.mov` or
    `.mkv` file; empty: no video. In a folder a camera's next video begins at all multiples of `segment_seconds` (UTC).

    Videos in it are deleted when they are older than `keep_days`, or the oldest when all together are larger than
    `keep_gb` (0: never).

    With `blur` whatever was taken for a face is made unrecognisable before anything is written. While less than
    `min_free_mb` of the disk is free nothing is written; the log may go on for longer.
    """

    path: str = ""
    blur: bool = False
    segment_seconds: SomeSeconds = 3600.0
    keep_days: Annotated[float, msgspec.Meta(ge=0)] = 0.0
    keep_gb: Annotated[float, msgspec.Meta(ge=0)] = 0.0
    min_free_mb: Annotated[float, msgspec.Meta(ge=0)] = 500.0

    def file(self) -> Path:
        return Path(self.path).expanduser()

    @property
    def single(self) -> bool:
        """Whether `path` means one file."""
        return self.file().suffix.lower() in VIDEO_SUFFIXES and not self.file().is_dir()


class ModelSettings(_Strict, frozen=True):
    """`cache` holds weights and compiled models; empty: the user's cache folder. `cards` is one more folder of
    model cards, looked at before the built-in ones.
    """

    cache: str = ""
    cards: str = ""

    def folder(self) -> Path:
        return Path(self.cache).expanduser() if self.cache else platformdirs.user_cache_path("facestreamer")


class Settings(_Strict, frozen=True):
    """A deployment. `threads` 0 takes all CPU threads that the process may use; with `raw` the faces of streams carry
    the values of their own frame beside the smoothed ones. Streams are analysed by so many `workers`, processes of
    their own, 0: all in one; or by as many as suit the machine.
    """

    pipeline: str = "realtime"
    image_pipeline: str = "accurate"
    device: str = "CPU"
    threads: Annotated[int, msgspec.Meta(ge=0)] = 0
    workers: Annotated[int, msgspec.Meta(ge=0, le=256)] | Literal["auto"] = 0
    raw: bool = False
    streams: dict[Name, StreamSettings] = {}
    server: ServerSettings = ServerSettings()
    images: ImageSettings = ImageSettings()
    privacy: PrivacySettings = PrivacySettings()
    log: LogSettings = LogSettings()
    video: VideoSettings = VideoSettings()
    models: ModelSettings = ModelSettings()

    def __post_init__(self) -> None:
        if not re.fullmatch(r"CPU|NPU|AUTO|GPU(\.\d+)?", self.device):
            raise ValueError(f"device is CPU, GPU, GPU.1, NPU or AUTO, not {self.device!r}")


def address(stream: StreamSettings) -> str:
    """The stream's URL with its user and password in it, percent-encoded. Never print it: see `errors.redact`."""
    if not stream.user:
        return stream.url
    scheme, slashes, rest = stream.url.partition("://")
    if not slashes:
        return stream.url
    secret = quote(stream.user, safe="") + (f":{quote(stream.password, safe='')}" if stream.password else "")
    return f"{scheme}://{secret}@{rest}"


def stream_name(url: str, taken: set[str]) -> str:
    """A short name for a source given by URL alone, different from those `taken` and free of secrets."""
    if "://" in url:  # the host, which begins behind the last @: passwords may hold anything
        base = re.split(r"[:/?#\]]", url.partition("://")[2].rpartition("@")[2].lstrip("["))[0] or "stream"
    else:
        base = Path(url).stem or "stream"
    base = "".join(c if c.isalnum() or c in "._-" else "-" for c in base).strip("._- ")[:48] or "stream"
    name, n = base, 1
    while name in taken:
        n += 1
        name = f"{base}-{n}"
    return name
