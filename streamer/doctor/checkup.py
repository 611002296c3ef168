"""All checks, in the order in which they are told."""

import os
import platform
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from streamer.config import ModelSettings, Settings
from streamer.configfile import read_pipeline
from streamer.doctor import accelerators, cameras, deployment, machine, storage
from streamer.doctor.findings import Finding, fine, note, problem
from streamer.errors import ConfigError, SourceError
from streamer.inference.budget import read_budget
from streamer.inference.cards import Card, pick, read_cards
from streamer.inference.store import Store
from streamer.media.devices import list_webcams

_PICTURES = ("portrait",)  # of the demo


def check_up(settings: Settings, config: Path | None, broken: ConfigError | None = None) -> list[Finding]:
    """Everything about this machine, and about the configuration in the file `config` if there is one.

    `broken` is why that file cannot be used; `settings` are then the defaults. Fetches nothing, connects to nothing.
    """
    cards, *trouble = _cards(settings)
    return [
        *machine.versions(),
        *_machine(settings, cards),
        *_storage(settings.models, cards),
        *trouble,
        *(_configuration(settings, config, broken) if config else ()),
    ]


def _machine(settings: Settings, cards: list[Card]) -> Iterator[Finding]:
    container = machine.in_container()
    yield machine.cpu(_text("/proc/cpuinfo"), platform.machine(), os.cpu_count() or 1)
    yield machine.threads(read_budget(), settings.threads)
    yield from _compute(settings, cards, container)
    if _loads("av"):
        yield accelerators.decoders(*accelerators.hardware_decoders())
    yield _webcams(container)
    yield machine.open_files(machine.file_limit())
    yield machine.pip(present=machine.has_pip())


def _compute(settings: Settings, cards: list[Card], container: bool) -> Iterator[Finding]:
    """OpenVINO's part; nothing where it cannot be loaded, which its version says already."""
    missing = accelerators.unmounted() if sys.platform == "linux" else []
    if missing:
        yield accelerators.not_mounted(missing)
    elif _loads("openvino"):
        from streamer.inference.devices import list_devices

        hardware = {device.name: device.hardware for device in list_devices()}
        yield accelerators.compute_devices(hardware, settings.device)
        device = accelerators.device_used(hardware, settings.device)
        yield accelerators.precision(device, _smallest_graph(Store(settings.models.folder()), cards))
        if sys.platform == "linux":
            yield accelerators.gpu(hardware, accelerators.read_gpu_facts(container=container))


def _smallest_graph(store: Store, cards: list[Card]) -> Path | None:
    """The lightest graph that is on this machine already."""
    here = [card for card in cards if card.input is not None and os.access(store.graph(card), os.R_OK)]
    return store.graph(min(here, key=lambda card: card.source.bytes)) if here else None


def _webcams(container: bool) -> Finding:
    try:
        found = list_webcams()
    except SourceError as error:
        return note("webcams", error.message, error.hint)
    files = [Path(webcam.path) for webcam in found if webcam.state == "forbidden"]
    return cameras.webcams(found, accelerators.group_of(files[0]) if files else "video", container=container)


def _storage(settings: ModelSettings, cards: list[Card]) -> Iterator[Finding]:
    store = Store(settings.folder())
    yield storage.cache(settings, storage.missing_bytes(cards, store))
    for card in cards:
        yield storage.model(card, store, settings)


def _cards(settings: Settings) -> tuple[list[Card], *tuple[Finding, ...]]:
    """Those that the pipelines and the demo need, and what keeps them from being known."""
    needed: list[str] = []
    for name in (settings.pipeline, settings.image_pipeline):
        with suppress(ConfigError):  # told with the configuration
            needed += settings.privacy.applied(read_pipeline(name)).models()
    if not settings.streams or any(stream.url == "demo" for stream in settings.streams.values()):
        needed += _PICTURES
    try:
        return (pick(read_cards(settings.models), tuple(needed)),)
    except ConfigError as error:
        return [], problem("models", error.message, error.hint or "mend the card")


def _configuration(settings: Settings, config: Path, broken: ConfigError | None) -> Iterator[Finding]:
    if broken is not None:
        yield deployment.refused(broken)
        return
    yield fine("configuration", f"{config} can be read")
    yield from deployment.pipelines(settings)
    yield from deployment.streams(settings, config)
    yield deployment.workers(settings, settings.threads or read_budget().threads)
    yield from deployment.server(settings.server)
    yield storage.log(settings.log, len(settings.streams))
    yield storage.video(settings.video, len(settings.streams))


def _loads(module: str) -> bool:
    return machine.library(module, module, module).state == "fine"


def _text(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
