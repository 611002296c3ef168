"""Many still pictures: from files, folders and standard input to JSON lines or a table."""

import sys
from collections.abc import AsyncGenerator, Callable, Iterator
from pathlib import Path

import msgspec

from streamer.config import Settings
from streamer.contract import ErrorObject, FaceObject, ImageSize, encode
from streamer.errors import PictureError
from streamer.flow import ordered
from streamer.inference.models import Models, Workshop
from streamer.inference.store import Progress
from streamer.media.pictures import SUFFIXES, decode_picture, read_picture
from streamer.pipeline import analyse_picture
from streamer.records import error_object, face_object, judged

STDIN = "-"


class PictureRecord(msgspec.Struct, frozen=True, omit_defaults=True):
    """The line of `streamer image --jsonl`: the source as given, and its faces or its error."""

    source: str
    image: ImageSize | msgspec.UnsetType
    faces: list[FaceObject]
    error: ErrorObject | msgspec.UnsetType = msgspec.UNSET


def find_pictures(paths: list[str]) -> list[str]:
    """Files as given; folders searched recursively, in order of name. Raises PictureError for a folder without any."""
    found: list[str] = []
    for given in paths:
        folder = Path(given)
        if given == STDIN or not folder.is_dir():
            found.append(given)
            continue
        inside = sorted(str(p) for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
        if not inside:
            raise PictureError(
                f"{given}: the folder holds no pictures", f"looked for {', '.join(SUFFIXES)}", code="empty"
            )
        found += inside
    return found


async def analyse_files(
    sources: list[str], pipeline: str, settings: Settings, show: Callable[[PictureRecord], None], progress: Progress
) -> bool:
    """`show` the record of each picture, in order. True if all could be read. Raises ConfigError, ModelError."""
    workshop = Workshop(settings, progress)
    try:
        models = workshop.models(pipeline)
        fine = True
        async for record in ordered(
            _each(sources), lambda source: _analyse(source, models), workshop.engine.threads + 1
        ):
            fine &= not record.error
            show(record)
        return fine
    finally:
        workshop.close()


async def _each(sources: list[str]) -> AsyncGenerator[str, None]:
    for source in sources:
        yield source


async def _analyse(source: str, models: Models) -> PictureRecord:
    try:
        if source == STDIN:
            pixels = await models.engine.offload(lambda: decode_picture(sys.stdin.buffer.read(), "standard input"))
        else:
            pixels = await models.engine.offload(read_picture, Path(source))
    except PictureError as error:
        return PictureRecord(_text(source), msgspec.UNSET, [], error_object(error))
    faces = await analyse_picture(pixels, models)
    height, width = pixels.shape[:2]
    return PictureRecord(_text(source), ImageSize(width, height), [face_object(face, width, height) for face in faces])


def _text(path: str) -> str:
    """A file's name without the bytes in it that are no text."""
    return path.encode("utf-8", "replace").decode()


def print_line(record: PictureRecord) -> None:
    """As a line of JSON on standard output."""
    sys.stdout.buffer.write(encode(record) + b"\n")
    sys.stdout.buffer.flush()


def print_table(record: PictureRecord) -> None:
    """For people."""
    for line in _lines(record):
        print(line)


def _lines(record: PictureRecord) -> Iterator[str]:
    if record.error:
        yield f"error: {record.error.message}" + (f" ({record.error.hint})" if record.error.hint else "")
        return
    yield f"{record.source}: {len(record.faces)} face{'' if len(record.faces) == 1 else 's'}"
    for face in record.faces:
        box = face.bounding_box
        words = ", ".join([*_looks(face), f"confidence {face.face_confidence:.2f}"])
        yield f"  {box.w} x {box.h} at {box.x}, {box.y}: {words}"


def _looks(face: FaceObject) -> Iterator[str]:
    """As far as they were judged."""
    if judged(face, "gender"):
        yield f"{face.gender.value.lower()} {face.gender.confidence} %"
    if judged(face, "age"):
        yield f"age {face.age}"
    if judged(face, "emotion"):
        feelings = msgspec.structs.asdict(face.emotions)
        top = max(feelings, key=lambda name: feelings[name])
        yield f"{top} {feelings[top]:.0%}"
