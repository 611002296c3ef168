"""Still pictures in every form that people send them."""

import io
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from streamer.errors import PictureError
from streamer.face import Pixels
from streamer.media.pictures import MAX_PIXELS, decode_picture, encode_jpeg, read_picture

# Blue at the left, red at the right, green above.
SAMPLE = np.zeros((20, 30, 3), np.uint8)
SAMPLE[:, :15], SAMPLE[:, 15:], SAMPLE[:6] = (255, 0, 0), (0, 0, 255), (0, 255, 0)


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    target = io.BytesIO()
    image.save(target, kind, **options)
    return target.getvalue()


def sample() -> Image.Image:
    return Image.fromarray(SAMPLE[:, :, ::-1])


def assert_like_sample(pixels: Pixels, tolerance: int = 60) -> None:
    assert pixels.shape == SAMPLE.shape
    assert pixels.dtype == np.uint8
    for y, x in ((2, 15), (14, 5), (14, 25)):
        assert np.abs(pixels[y, x].astype(int) - SAMPLE[y, x]).max() < tolerance


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP", "GIF"])
def test_every_format_is_read(kind: str) -> None:
    assert_like_sample(decode_picture(encoded(sample(), kind)))


@pytest.mark.parametrize("mode", ["RGBA", "P", "CMYK"])
def test_every_kind_of_colour_is_read(mode: str) -> None:
    kind = "JPEG" if mode == "CMYK" else "PNG"
    assert_like_sample(decode_picture(encoded(sample().convert(mode), kind)))


@pytest.mark.parametrize("mode", ["L", "LA", "1", "I;16"])
def test_grey_pictures_become_three_equal_channels(mode: str) -> None:
    grey = np.full((8, 9), 200, np.uint8)
    image = Image.fromarray(grey.astype(np.uint16) * 257) if mode == "I;16" else Image.fromarray(grey).convert(mode)
    pixels = decode_picture(encoded(image, "PNG"))
    assert pixels.shape == (8, 9, 3)
    assert np.ptp(pixels, axis=2).max() == 0
    if mode != "1":
        assert abs(int(pixels[4, 4, 0]) - 200) <= 1


def test_transparency_lies_over_white() -> None:
    pixels = decode_picture(encoded(Image.new("RGBA", (4, 4), (10, 20, 30, 0)), "PNG"))
    assert (pixels == 255).all()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_photographs_are_turned_upright(orientation: int) -> None:
    undo = {1: (), 2: ("FLIP_LEFT_RIGHT",), 3: ("ROTATE_180",), 4: ("FLIP_TOP_BOTTOM",), 5: ("TRANSPOSE",)}
    undo |= {6: ("ROTATE_90",), 7: ("TRANSVERSE",), 8: ("ROTATE_270",)}
    stored = sample()
    for step in undo[orientation]:
        stored = stored.transpose(Image.Transpose[step])
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert_like_sample(decode_picture(encoded(stored, "JPEG", exif=exif, quality=95)))


def test_damaged_exif_is_an_error_of_the_picture() -> None:
    """Found by fuzzing: Pillow raises almost anything for these."""
    exif = Image.Exif()
    exif[0x0112], exif[0x011A] = 6, 72.0
    good = bytearray(encoded(sample(), "JPEG", exif=exif))
    start = good.index(b"Exif")
    for at in range(start, start + 60):
        for value in (0, 1, 2, 5, 12, 255):
            data = good.copy()
            data[at] = value
            try:
                with warnings.catch_warnings(action="ignore"):
                    pixels = decode_picture(bytes(data))
            except PictureError:
                continue
            assert pixels.shape[2] == 3


def test_only_the_first_picture_of_an_animation_counts() -> None:
    data = encoded(sample(), "GIF", save_all=True, append_images=[Image.new("RGB", (30, 20))])
    assert_like_sample(decode_picture(data))


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "empty"),
        (b"hello, this is text", "notAPicture"),
        (encoded(sample(), "PNG")[:60], "corrupt"),
        (encoded(sample().resize((300, 200)), "JPEG")[:-400], "corrupt"),
        (encoded(Image.new("1", (9000, 9000)), "PNG"), "tooLarge"),
    ],
)
def test_what_cannot_be_read_is_said(data: bytes, code: str) -> None:
    with pytest.raises(PictureError) as caught:
        decode_picture(data, "x.jpg")
    assert caught.value.code == code
    assert caught.value.message.startswith("x.jpg: ")
    assert caught.value.hint


def test_the_size_is_looked_at_before_decoding() -> None:
    bomb = encoded(Image.new("1", (20_000, 20_000)), "PNG")  # 50 kB that would become 1.2 GB
    assert MAX_PIXELS < 20_000**2
    with pytest.raises(PictureError, match="too many") as caught:
        decode_picture(bomb)
    assert caught.value.code == "tooLarge"


def test_a_missing_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(PictureError, match="No such file"):
        read_picture(tmp_path / "none.jpg")


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(["PNG", "JPEG", "WEBP", "BMP", "GIF"]), st.data())
def test_damage_anywhere_is_a_picture_or_a_clear_error(kind: str, data: st.DataObject) -> None:
    picture = bytearray(encoded(sample(), kind))
    for _ in range(data.draw(st.integers(1, 6))):
        picture[data.draw(st.integers(0, len(picture) - 1))] = data.draw(st.integers(0, 255))
    try:
        pixels = decode_picture(bytes(picture))
    except PictureError:
        return
    assert pixels.ndim == 3
    assert pixels.shape[2] == 3


def test_previews_are_shrunk_to_the_width_that_is_wanted() -> None:
    wide = np.zeros((100, 400, 3), np.uint8)
    assert decode_picture(encode_jpeg(wide, 200)).shape == (50, 200, 3)
    assert decode_picture(encode_jpeg(wide, 800)).shape == (100, 400, 3)
