"""The smaller second stream that most cameras have: where it usually is, told by the address of the first."""

import re
from urllib.parse import urlsplit

import msgspec

from streamer.errors import redact_address

# Maker, what the main stream's address looks like, what becomes of that part for the smaller stream.
_USUAL: tuple[tuple[str, str, str], ...] = (
    ("Hikvision", r"(/streaming/channels/\d*)01(?=$|[/?])", r"\g<1>02"),
    ("older Hikvision, Ezviz", r"(/ch\d+)/main/av_stream", r"\1/sub/av_stream"),
    ("Dahua, Amcrest", r"(/cam/realmonitor\?.*subtype)=0", r"\1=1"),
    ("Reolink", r"/(?:h26[45])?Preview_(\d+)_main", r"/h264Preview_\1_sub"),
    ("TP-Link Tapo, Vigi", r"/stream1$", "/stream2"),
    ("UniFi, of a camera of its own", r"/s0$", "/s1"),
    ("Uniview, of a recorder", r"(/unicast/c\d+)/s0/live", r"\1/s1/live"),
    ("Uniview, Sony", r"/media/video1$", "/media/video2"),
    ("Foscam", r"/videoMain$", "/videoSub"),
    ("Bosch", r"([?&]inst)=1(?=$|&)", r"\1=2"),
    ("Panasonic i-PRO", r"(/MediaInput/.*stream)_1$", r"\1_2"),
    ("Vivotek", r"/live1s1\.sdp$", "/live1s2.sdp"),
    ("older Vivotek", r"/live\.sdp$", "/live2.sdp"),
    ("D-Link", r"/live1\.sdp$", "/live2.sdp"),
    ("Milesight", r"/main$", "/sub"),
    ("Xiongmai", r"(channel=\d+[&_]stream)=0\.sdp", r"\1=1.sdp"),
    ("Yoosee", r"/onvif1$", "/onvif2"),
)
_AXIS = re.compile(r"/axis-media/media\.amp", re.IGNORECASE)
_UNIFI_PORTS = {7441, 7447}


class Usual(msgspec.Struct, frozen=True):
    """Whose cameras have such addresses, and the smaller stream's, free of secrets; or a `note` on how to get one."""

    maker: str
    address: str = ""
    note: str = ""


def usual_sub_stream(url: str) -> Usual | None:
    """What is usual for the main stream `url`; None for an address that tells nothing."""
    if _AXIS.search(url):
        return Usual("Axis", _axis(url), "any resolution that the camera knows can be asked for")
    if _port(url) in _UNIFI_PORTS:
        return Usual("UniFi Protect", note="switch on a lower quality in Protect: it gets an address of its own")
    for maker, main, sub in _USUAL:
        smaller, found = re.subn(main, sub, url, count=1, flags=re.IGNORECASE)
        if found:
            return Usual(maker, redact_address(smaller))
    return None


def _axis(url: str) -> str:
    place, _, query = redact_address(url).partition("?")
    others = [part for part in query.split("&") if part and not part.startswith("resolution=")]
    return f"{place}?{'&'.join([*others, 'resolution=1280x720'])}"


def _port(url: str) -> int | None:
    try:
        return urlsplit(redact_address(url)).port
    except ValueError:  # no number, or brackets that do not match
        return None
