"""Image pyramids: the same pixels, however they are asked for."""

from fractions import Fraction
from pathlib import Path
from typing import Literal

import av
import cv2
import numpy as np
import pytest
from av.video.frame import VideoFrame
from av.video.reformatter import Colorspace
from hypothesis import given, settings
from hypothesis import strategies as st

from streamer.analysis.pyramid import Pyramid, Raster, halved
from streamer.face import Floats, Pixels
from streamer.inference.crops import warp
from streamer.media.raster import raster

side = st.integers(1, 90)


def scene(width: int, height: int, seed: int = 0) -> Pixels:
    """Coloured shapes without noise, which no two ways of averaging chroma treat alike."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (max(height // 16, 2), max(width // 16, 2), 3), np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR).astype(np.uint8)


def decoded(pixels: Pixels, layout: str = "yuv420p", space: int = 1, reach: int = 1) -> VideoFrame:
    frame = VideoFrame.from_ndarray(pixels, format="bgr24")
    made = frame.reformat(format=layout, dst_colorspace=Colorspace(space))
    made.colorspace, made.color_range = space, reach
    return made


def turned(size: int, angle: float, scale: float, x: float, y: float) -> Floats:
    """A map of the picture around x, y onto a square of `size`."""
    cos, sin = np.cos(angle) * scale, np.sin(angle) * scale
    linear = np.array([[cos, -sin], [sin, cos]])
    return np.concatenate([linear, size / 2 - linear @ [[x], [y]]], 1)[None].astype(np.float32)


class Counted:
    """A raster that counts the pixels it is asked for, with those of its windows."""

    def __init__(self, pixels: Pixels, converted: list[int] | None = None) -> None:
        self.height, self.width = pixels.shape[:2]
        self.pixels = pixels
        self._converted = [] if converted is None else converted

    @property
    def converted(self) -> int:
        return sum(self._converted)

    def __call__(self, channels: Literal[3, 4] = 3) -> Pixels:
        self._counted(self.pixels)
        return self.pixels if channels == 3 else cv2.cvtColor(self.pixels, cv2.COLOR_BGR2BGRA).astype(np.uint8)

    def shrunk(self, factor: int) -> Pixels:
        assert self.width >= factor <= self.height
        return self._counted(halved(self.pixels, factor))

    def grey(self, width: int, height: int) -> Pixels:
        raise AssertionError("nobody asked for that")

    def window(self, left: int, top: int, right: int, bottom: int) -> "Counted":
        assert left % 2 == top % 2 == 0
        assert right % 2 == 0 or right == self.width
        assert bottom % 2 == 0 or bottom == self.height
        return Counted(self.pixels[top:bottom, left:right], self._converted)

    def _counted(self, pixels: Pixels) -> Pixels:
        self._converted.append(pixels.shape[0] * pixels.shape[1])
        return pixels


@given(side, side, st.sampled_from([1, 2, 4, 8]))
def test_a_level_holds_the_means_of_blocks(width: int, height: int, factor: int) -> None:
    picture = Pyramid.of(scene(width, height))
    if factor > min(width, height):
        factor = picture.factor(1 / factor)
    level = picture.level(factor)
    assert level.shape == (height // factor, width // factor, 3)
    kept = scene(width, height)[: height // factor * factor, : width // factor * factor].astype(float)
    means = kept.reshape(height // factor, factor, width // factor, factor, 3).mean((1, 3))
    np.testing.assert_allclose(level, means, atol=2)


@given(side, side, st.floats(1e-6, 4))
def test_the_level_for_a_scale_is_the_smallest_that_is_not_enlarged(width: int, height: int, scale: float) -> None:
    factor = Pyramid.of(scene(width, height)).factor(scale)
    assert factor * scale <= 1 or factor == 1
    assert 2 * factor * scale > 1 or 2 * factor > min(width, height)


@settings(deadline=None)
@given(
    st.integers(2, 200),
    st.integers(2, 200),
    st.floats(-3, 3),
    st.floats(0.3, 3),
    st.floats(-0.2, 1.2),
    st.floats(-0.2, 1.2),
)
def test_crops_of_parts_are_those_of_the_whole(
    width: int, height: int, angle: float, scale: float, x: float, y: float
) -> None:
    pixels = scene(width, height)
    maps = turned(32, angle, scale, x * width, y * height)
    in_parts, whole = Pyramid(Counted(pixels)), Pyramid.of(pixels)
    whole.level()
    off = np.abs(warp([in_parts], maps, 32).astype(int) - warp([whole], maps, 32))
    assert off.max() <= 2, "OpenCV rounds coordinates"


def test_small_faces_do_not_have_the_whole_picture_converted() -> None:
    source = Counted(scene(1920, 1080))
    picture = Pyramid(source)
    maps = turned(192, 0.1, 1.2, 700, 400)
    warp([picture], maps, 192)
    once = source.converted
    assert 160**2 < once < 300**2
    warp([picture], turned(64, 0.12, 0.6, 705, 395), 64)
    assert source.converted == once, "what lies within a part is taken from there"


def test_a_crowd_has_it_converted_once() -> None:
    source = Counted(scene(640, 360))
    picture = Pyramid(source)
    for n in range(40):
        warp([picture], turned(64, 0, 0.6, 16 * n, 9 * n), 64)
    assert source.converted <= 1.5 * 640 * 360


LAYOUTS = [
    *((layout, 1) for layout in ("yuv420p", "yuv420p10le", "nv12", "p010le", "yuv422p", "yuv444p")),
    *((layout, 2) for layout in ("yuvj420p", "yuvj422p", "yuvj444p")),
]


@pytest.mark.parametrize("turns", [0, 1, 2, 3])
@pytest.mark.parametrize("space", [1, 5])  # BT.709, BT.601
@pytest.mark.parametrize(("layout", "reach"), LAYOUTS)
@pytest.mark.parametrize(("width", "height"), [(320, 180), (322, 182), (321, 179)])
def test_decoded_pictures_have_the_colours_that_ffmpeg_gives_them(
    width: int, height: int, space: int, layout: str, reach: int, turns: int
) -> None:
    pixels = scene(width, height)
    picture = decoded(pixels, layout, space, reach)
    source = raster(picture, turns)
    whole = source()
    assert np.abs(whole.astype(int) - np.rot90(pixels, turns)).mean() < 6
    if turns and width % 2:
        assert not isinstance(source, Raster)
        return
    assert isinstance(source, Raster)
    assert whole.shape == (source.height, source.width, 3)
    assert (source.width, source.height) == ((height, width) if turns % 2 else (width, height))
    # FFmpeg blurs the chroma of pictures with an odd side, and of some layouts.
    blurred = 5 if width % 2 else 1 if layout not in ("yuv420p", "yuvj420p") else 0
    np.testing.assert_array_equal(source(4)[:, :, :3], whole)
    part = source.window(40, 20, 152, 100)
    np.testing.assert_array_equal(part(4)[:, :, :3], part())
    assert np.abs(part().astype(int) - whole[20:100, 40:152]).mean() <= blurred
    inner = part.window(10, 4, 60, 70)
    assert (inner.width, inner.height) == (50, 66)
    assert np.abs(inner().astype(int) - whole[24:90, 50:100]).mean() <= blurred
    for factor in (2, 4, 8):
        for shown, at in ((source, whole), (part, whole[20:100, 40:152]), (inner, whole[24:90, 50:100])):
            small = shown.shrunk(factor)
            assert small.shape == (shown.height // factor, shown.width // factor, 3)
            assert np.abs(small.astype(int) - halved(at, factor)).mean() < 1.5 + blurred
    for shown, at in ((source, whole), (part, whole[20:100, 40:152])):
        dark, light = (each.grey(shown.width, shown.height) for each in (shown, Pyramid.of(at)))
        assert dark.shape == light.shape == at.shape[:2]
        assert np.corrcoef(dark.ravel(), light.ravel())[0, 1] > 0.95
        assert shown.grey(80, 45).shape == (45, 80)


def test_colour_spaces_are_told_apart() -> None:
    pixels = np.full((64, 64, 3), (30, 60, 200), np.uint8)
    wrong, right = decoded(pixels, space=1), decoded(pixels, space=1)
    wrong.colorspace = 5
    halves = [raster(picture, 0) for picture in (wrong, right)]
    assert all(isinstance(each, Raster) for each in halves)
    shown = [each.shrunk(2)[16, 16].astype(int) for each in halves if isinstance(each, Raster)]
    assert np.abs(shown[1] - (30, 60, 200)).max() <= 3 < np.abs(shown[0] - (30, 60, 200)).max()


@pytest.mark.parametrize("layout", ["yuv420p12le", "yuyv422", "gray", "rgb24"])
@pytest.mark.parametrize("turns", [0, 1])
def test_other_layouts_are_converted_whole(layout: str, turns: int) -> None:
    pixels = scene(64, 48)
    source = raster(decoded(pixels, layout), turns)
    assert not isinstance(source, Raster)
    assert source().shape == ((64, 48, 3) if turns else (48, 64, 3))


@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 3), st.data())
def test_a_window_of_a_turned_picture_is_that_part_of_it(
    width: int, height: int, turns: int, data: st.DataObject
) -> None:
    pixels = scene(2 * width, 2 * height)
    source = raster(decoded(pixels, "yuv444p"), turns)
    assert isinstance(source, Raster)
    left = 2 * data.draw(st.integers(0, source.width // 2 - 1))
    top = 2 * data.draw(st.integers(0, source.height // 2 - 1))
    right = data.draw(st.integers(left // 2 + 1, source.width // 2)) * 2
    bottom = data.draw(st.integers(top // 2 + 1, source.height // 2)) * 2
    np.testing.assert_allclose(
        source.window(left, top, right, bottom)().astype(int), np.rot90(pixels, turns)[top:bottom, left:right], atol=8
    )


def test_a_decoders_own_picture_with_padded_rows(tmp_path: Path) -> None:
    """Rows in a decoder's memory are longer than the picture is wide."""
    path = tmp_path / "clip.mp4"
    with av.open(str(path), "w") as file:
        stream = file.add_stream("libx264", rate=Fraction(5), options={"crf": "10"})
        stream.width, stream.height, stream.pix_fmt = 322, 182, "yuv420p"
        for n in range(3):
            file.mux(stream.encode(VideoFrame.from_ndarray(scene(322, 182, n), format="bgr24")))
        file.mux(stream.encode())
    with av.open(str(path)) as file:
        picture = next(file.decode(video=0))
    source = raster(picture, 0)
    assert picture.planes[0].line_size > 322
    assert isinstance(source, Raster)
    upper = source.window(0, 0, 322, 90)
    np.testing.assert_array_equal(upper(), source()[:90])
    assert np.abs(source.shrunk(2).astype(int) - halved(source())).mean() < 1.5
    assert np.abs(upper.shrunk(2).astype(int) - halved(source()[:90])).mean() < 1.5
