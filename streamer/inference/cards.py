"""Model cards: what a model is, where its weights come from, how it is fed and what its output means.

A card is `models/<name>/card.toml`. Cards without a `package` keep their weights beside them.
"""

from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from streamer.config import ModelSettings
from streamer.configfile import data_folder, parse
from streamer.errors import ConfigError

Task = Literal["detection", "landmarks", "age", "gender", "emotion", "picture"]


class _Strict(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    pass


class Source(_Strict, frozen=True):
    """`file` inside the wheel of `package` (`a!b`: file b in archive a), its size in bytes and its hash; `download` is
    the wheel's size.
    """

    file: str
    bytes: int
    sha256: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
    package: str = ""
    version: str = ""
    download: int = 0


class Licence(_Strict, frozen=True):
    name: str
    origin: str
    training_data: str = ""
    not_for: str = ""


class Input(_Strict, frozen=True):
    """`frame`: the letterboxed picture; `region`: a square of `region` times the box, rolled by the eyes; `chip`: the
    aligned face. Values are fed as (x - mean) / scale in the order of `colour`.
    """

    crop: Literal["frame", "region", "chip"]
    layout: Literal["NCHW", "NHWC"]
    colour: Literal["BGR", "RGB", "GREY"]
    size: int = 0
    region: float = 1.0
    mean: tuple[float, ...] = ()
    scale: tuple[float, ...] = ()


class Output(_Strict, frozen=True):
    head: Literal["yunet", "centerface", "mesh", "age-classes", "probabilities"]
    labels: tuple[str, ...] = ()


class Card(_Strict, frozen=True):
    name: str
    task: Task
    description: str
    source: Source
    licence: Licence
    input: Input | None = None
    output: Output | None = None
    accuracy: dict[str, Any] = {}
    folder: str = ""


def read_cards(settings: ModelSettings) -> dict[str, Card]:
    """All cards by name; those in the user's own folder come first. Raises ConfigError."""
    folders = [Path(settings.cards).expanduser()] if settings.cards else []
    cards: dict[str, Card] = {}
    for folder in [*folders, data_folder("models")]:
        for path in sorted(folder.glob("*/card.toml")):
            card = parse(path.read_text(encoding="utf-8"), Card, str(path))
            if card.name != path.parent.name:
                raise ConfigError(f"{path}: name is {card.name!r}, but its folder is {path.parent.name!r}")
            cards.setdefault(card.name, msgspec.structs.replace(card, folder=str(path.parent)))
    return cards


def pick(cards: dict[str, Card], names: tuple[str, ...]) -> list[Card]:
    """The cards of `names`, each once, in order. Raises ConfigError for an unknown name."""
    unknown = [name for name in names if name not in cards]
    if unknown:
        raise ConfigError(f"unknown model {unknown[0]!r}", f"known: {', '.join(cards)}")
    return [cards[name] for name in dict.fromkeys(names)]
