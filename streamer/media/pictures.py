"""Still pictures in: files and uploads, turned upright, as BGR pixels."""

import io
from pathlib import Path
from typing import cast

import cv2
import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from streamer.config import ImageSettings
from streamer.errors import PictureError
from streamer.face import Pixels

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF")
SUFFIXES = (".jpg", ".jpeg", ".jpe", ".png", ".webp", ".bmp", ".gif")
MAX_PIXELS = ImageSettings().max_pixels  # a decoded picture of this size takes 192 MB


def read_picture(path: str | Path) -> Pixels:
    """The picture in a file as uint8 (height, width, 3) BGR, as displayed (EXIF applied). Raises PictureError."""
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise PictureError(f"{path}: cannot be read: {error.strerror}", code="unreadable") from None
    return decode_picture(data, str(path))


def decode_picture(data: bytes, name: str = "the picture", max_pixels: int = MAX_PIXELS) -> Pixels:
    """Encoded bytes as uint8 (height, width, 3) BGR, as displayed; of an animation the first picture.

    Its size is checked against `max_pixels` before it is decoded. Raises PictureError.
    """
    if not data:
        raise PictureError(f"{name}: is empty (0 bytes)", "was the file or upload cut off?", code="empty")
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            if image.width * image.height > max_pixels:
                raise PictureError(
                    f"{name}: {image.width} x {image.height} pixels are too many",
                    f"at most {max_pixels / 1e6:g} megapixels are taken",
                    code="tooLarge",
                )
            upright = ImageOps.exif_transpose(image)
            return np.ascontiguousarray(np.asarray(_as_rgb(upright))[:, :, ::-1])
    except UnidentifiedImageError:
        raise PictureError(f"{name}: is not a picture of a known format", "send JPEG, PNG, WebP, BMP or GIF") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise PictureError(f"{name}: has too many pixels", "make it smaller", code="tooLarge") from None
    except PictureError:
        raise
    except Exception as error:  # noqa: BLE001  # on damage Pillow's parsers raise whatever they trip over
        raise PictureError(f"{name}: is damaged: {error}", "was the file or upload cut off?", code="corrupt") from None


def _as_rgb(image: Image.Image) -> Image.Image:
    """Eight bits a channel; transparency over white; CMYK, palettes and grey converted."""
    if image.mode.startswith("I") or image.mode == "F":
        values = np.asarray(image, np.float32)
        top = 65535 if image.mode.startswith("I;16") or values.max(initial=0) > 255 else 255
        return Image.fromarray(np.clip(values * (255 / top), 0, 255).astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, "white")
        return Image.alpha_composite(white, rgba).convert("RGB")
    return image.convert("RGB")


def shrunk(pixels: Pixels, max_width: int) -> Pixels:
    """`pixels` where they are at most `max_width` wide, else smaller ones."""
    if pixels.shape[1] <= max_width:
        return pixels
    height = max(round(pixels.shape[0] * max_width / pixels.shape[1]), 1)
    return cast(Pixels, cv2.resize(pixels, (max_width, height), interpolation=cv2.INTER_AREA))


def encode_jpeg(pixels: Pixels, max_width: int, quality: int = 80) -> bytes:
    """`pixels` (BGR) as JPEG, shrunk to `max_width` where they are wider."""
    _, data = cv2.imencode(".jpg", shrunk(pixels, max_width), [cv2.IMWRITE_JPEG_QUALITY, quality])
    return data.tobytes()
