"""RTSP cameras by GStreamer's gst-rtsp-server, a server that nobody here wrote. Runs on the
system's Python, with nothing but PyGObject.

    python3 -I tests/servers/gst_rtsp.py [--auth basic|digest] cam=clip.mp4 ...

A clip's coded pictures (H.264, H.265) are read once, then fed to the server for ever with times that go on;
nothing is encoded. All clients of a mount share one feed, so that a later one joins in mid-stream. Prints
`ready PORT`. Untyped where it meets GStreamer, whose bindings are made at run time.
"""

from __future__ import annotations

import argparse
from itertools import count
from typing import Any, NamedTuple

import gi  # type: ignore[import-not-found, import-untyped, unused-ignore]

for _library in ("Gst", "GstApp", "GstRtsp", "GstRtspServer"):
    gi.require_version(_library, "1.0")

from gi.repository import (  # type: ignore[import-not-found, import-untyped, unused-ignore]  # noqa: E402
    GLib,
    Gst,
    GstApp,  # noqa: F401 - gives appsink and appsrc their methods
    GstRtsp,
    GstRtspServer,
)

ROLE = "viewer"

READ = """
    filesrc name=file ! qtdemux name=demux demux.video_0 ! {codec}parse config-interval=-1
    ! video/x-{codec},stream-format=byte-stream,alignment=au ! appsink name=pictures sync=false
"""
SERVE = "( appsrc name=feed format=time ! rtp{codec}pay name=pay0 pt=96 config-interval=0 )"
"""The parameter sets are in the pictures already: a payloader told to send them repeats them before every
slice of a key picture, and receivers take each slice for a picture of its own."""


class Picture(NamedTuple):
    """One coded picture in Annex B form, parameter sets before a key picture; times in nanoseconds."""

    data: bytes
    shown: int
    decoded: int
    duration: int
    key: bool


class Clip(NamedTuple):
    codec: str
    caps: Any
    pictures: list[Picture]

    @property
    def duration(self) -> int:
        """Nanoseconds from the first picture of one round to the first of the next."""
        return sum(picture.duration for picture in self.pictures)


def read_clip(path: str) -> Clip:
    for codec in ("h264", "h265"):
        caps, pictures = _read_pictures(path, codec)
        if pictures:
            return Clip(codec, caps, pictures)
    raise SystemExit(f"no H.264 and no H.265 pictures in {path}")


def _read_pictures(path: str, codec: str) -> tuple[Any, list[Picture]]:
    pipeline = Gst.parse_launch(READ.format(codec=codec))
    pipeline.get_by_name("file").set_property("location", path)
    sink = pipeline.get_by_name("pictures")
    caps, pictures = None, []
    pipeline.set_state(Gst.State.PLAYING)
    while sample := sink.try_pull_sample(5 * Gst.SECOND):
        buffer, caps = sample.get_buffer(), sample.get_caps()
        data = buffer.extract_dup(0, buffer.get_size())
        key = not buffer.has_flags(Gst.BufferFlags.DELTA_UNIT)
        pictures.append(Picture(data, buffer.pts, buffer.dts, buffer.duration, key))
    pipeline.set_state(Gst.State.NULL)
    return caps, pictures


class Feed:
    """Hands a clip's pictures to one `appsrc`, one each time it asks, round and round."""

    def __init__(self, clip: Clip, source: Any) -> None:
        self._pictures = ((loop * clip.duration, picture) for loop in count() for picture in clip.pictures)
        source.set_property("caps", clip.caps)
        source.connect("need-data", self._push)

    def _push(self, source: Any, _size: int) -> None:
        start, picture = next(self._pictures)
        buffer = Gst.Buffer.new_wrapped(picture.data)
        buffer.pts, buffer.dts = start + picture.shown, start + picture.decoded
        buffer.duration = picture.duration
        if not picture.key:
            buffer.set_flags(Gst.BufferFlags.DELTA_UNIT)
        source.emit("push-buffer", buffer)


def camera(clip: Clip) -> Any:
    """A mount's factory: it builds one feed, shared by all clients, anew when all had gone."""
    factory = GstRtspServer.RTSPMediaFactory()
    factory.set_launch(SERVE.format(codec=clip.codec))
    factory.set_shared(True)
    feeds: list[Feed] = []

    def configure(_factory: Any, media: Any) -> None:
        feeds[:] = [Feed(clip, media.get_element().get_by_name("feed"))]

    factory.connect("media-configure", configure)
    return factory


def demand_password(server: Any, factories: list[Any], options: argparse.Namespace) -> None:
    token = GstRtspServer.RTSPToken()
    token.set_string("media.factory.role", ROLE)
    auth = GstRtspServer.RTSPAuth()
    if options.auth == "basic":
        auth.add_basic(GstRtspServer.RTSPAuth.make_basic(options.user, options.password), token)
    else:
        auth.set_supported_methods(GstRtsp.RTSPAuthMethod.DIGEST)
        auth.add_digest(options.user, options.password, token)
    server.set_auth(auth)
    permissions = GstRtspServer.RTSPPermissions()
    permissions.add_permission_for_role(ROLE, "media.factory.access", True)
    permissions.add_permission_for_role(ROLE, "media.factory.construct", True)
    for factory in factories:
        factory.set_permissions(permissions)


def main() -> None:
    parser = argparse.ArgumentParser(description="Shows mp4 clips as RTSP cameras on loopback, by GStreamer.")
    parser.add_argument("mounts", nargs="+", metavar="NAME=CLIP")
    parser.add_argument("--port", default="0", help="by default a free one, told in the line 'ready PORT'")
    parser.add_argument("--auth", choices=("basic", "digest"))
    parser.add_argument("--user", default="viewer")
    parser.add_argument("--password", default="secret")
    options = parser.parse_args()
    Gst.init(None)
    server = GstRtspServer.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service(options.port)
    pairs = [mount.partition("=") for mount in options.mounts]
    factories = {name: camera(read_clip(path)) for name, _, path in pairs}
    for name, factory in factories.items():
        server.get_mount_points().add_factory(f"/{name}", factory)
    if options.auth:
        demand_password(server, list(factories.values()), options)
    if not server.attach(None):
        raise SystemExit(f"port {options.port} is taken")
    print(f"ready {server.get_bound_port()}", flush=True)
    GLib.MainLoop().run()


if __name__ == "__main__":
    main()
