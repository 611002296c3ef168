from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamer.config import (
    WHOLE_PICTURE,
    LogSettings,
    Name,
    Pipeline,
    Settings,
    StreamSettings,
    TokenSettings,
    address,
    stream_name,
)
from streamer.configfile import convert, data_folder, parse, read_pipeline, read_settings, with_password
from streamer.errors import ConfigError, StreamerError, redact, redact_address

DOOR = "[streams.door]\nurl = 'a'\n"


def complaint(text: str, into: type = Settings) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        parse(text, into, "x.toml")
    return caught.value


def test_the_default_configuration_shows_every_key_with_its_default() -> None:
    path = data_folder("configs") / "default.toml"
    head, mark, example_text = path.read_text().partition("# [streams.entrance]")
    shown = parse(head + (mark + example_text).replace("# ", "", 1).replace("\n# ", "\n"), Settings, str(path))
    assert shown.server.tokens["wall"].role == TokenSettings(token="12345678").role
    server = msgspec.structs.replace(shown.server, tokens={})
    assert msgspec.structs.replace(shown, streams={}, server=server) == Settings()
    example = shown.streams["entrance"]  # in comments, all the same
    assert example == StreamSettings(example.url)
    text = path.read_text()
    for field in msgspec.structs.fields(StreamSettings) + msgspec.structs.fields(Settings):
        assert field.encode_name in text


@pytest.mark.parametrize("name", ["realtime", "accurate"])
def test_the_pipelines_show_every_key(name: str) -> None:
    raw = msgspec.toml.decode((data_folder("pipelines") / f"{name}.toml").read_bytes())
    for part in msgspec.structs.fields(Pipeline):
        assert part.encode_name in raw
        if part.encode_name != "description":
            keys = {field.encode_name for field in msgspec.structs.fields(part.type)}
            assert set(raw[part.encode_name]) == keys
    track = read_pipeline(name).track
    assert track.sure >= track.threshold >= track.faint


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("[server]\nws_prot = 1", "$.server: unknown key 'ws_prot'", "did you mean 'ws_port'? known: enabled, host"),
        ("[streams.door]\nurl = 'a'\nfsp = 1", "$.streams.door: unknown key 'fsp'", "known: url, user, password"),
        ("[server]\nws_port = 'x'", "$.server.ws_port: expected `int`", ""),
        ("[server]\nws_port = 70000", "$.server.ws_port", ""),
        ("device = 'TPU'", "device is CPU, GPU, GPU.1, NPU or AUTO, not 'TPU'", ""),
        ("[streams.door]\nuser = 'me'", "missing required field `url`", ""),
        ("a = = 1", "not valid TOML", ""),
        (f"{DOOR}rotate = 45", "$.streams.door.rotate: invalid enum value 45", ""),
        (f"{DOOR}fps = -1", "$.streams.door.fps: expected `float` >= 0", ""),
        (f"{DOOR}motion = 1.5", "$.streams.door.motion: expected `float` <= 1", ""),
        (f"{DOOR}interval = -0.1", "$.streams.door.interval", ""),
        (f"{DOOR}max_age = 0", "$.streams.door.max_age: expected `float` > 0", ""),
        (f"{DOOR}loop = 1", "$.streams.door.loop: expected `bool`", ""),
        (f"{DOOR}region = [[0, 0], [1, 1]]", "$.streams.door.region: expected `array` of length >= 3", ""),
        (f"{DOOR}region = [[0, 0], [1, 1], [0, 2]]", "$.streams.door.region[2][1]: expected `float` <= 1", ""),
        (f"{DOOR}region = [[0, 0], [1, 1], [0]]", "$.streams.door.region[2]: expected `array` of length 2", ""),
        (f"{DOOR}masks = [[[0, 0], [1, 1]]]", "$.streams.door.masks[0]: expected `array` of length >= 3", ""),
        (f"{DOOR}retry_min = 9\nretry_max = 8", "$.streams.door: retry_max is less than retry_min", ""),
        (f"{DOOR}password = 'x'\npassword_env = 'Y'", "give one of password, password_env and password_file", ""),
        (f"{DOOR}password_file = 'x'\npassword_env = 'Y'", "give one of password, password_env and password_file", ""),
    ],
)
def test_what_is_wrong_is_said_with_its_path(text: str, message: str, hint: str) -> None:
    error = complaint(text)
    assert error.message.startswith("x.toml: ")
    assert message in error.message
    assert hint in error.hint


def test_unknown_keys_of_pipelines_are_refused_too() -> None:
    assert "$.track: unknown key 'min_hit'" in complaint("[track]\nmin_hit = 3", Pipeline).message
    with pytest.raises(ConfigError, match="unknown pipeline 'fast'") as caught:
        read_pipeline("fast")
    assert "accurate, realtime" in caught.value.hint


def test_a_missing_configuration_is_said() -> None:
    with pytest.raises(ConfigError, match="no such file"):
        read_settings(Path("nowhere.toml"), {})


def test_paths_in_a_file_are_relative_to_it(tmp_path: Path) -> None:
    file = tmp_path / "my.toml"
    file.write_text(
        "[streams.a]\nurl='clip.mp4'\n[streams.b]\nurl='rtsp://h/x'\n[streams.c]\nurl='0'\n[log]\npath='logs'\n"
    )
    read = read_settings(file, {})
    assert [s.url for s in read.streams.values()] == [str(tmp_path / "clip.mp4"), "rtsp://h/x", "0"]
    assert read.log.path == str(tmp_path / "logs")


def test_what_of_a_stream_is_analysed() -> None:
    text = (
        f"{DOOR}region = [[0, 0], [0.5, 0], [0.5, 1]]\nmasks = [[[0, 0], [1, 0.0], [1, 1]],"
        "[[0, 0], [1, 0], [0, 1], [0, 0]]]"
        "\nrotate = 270\nfps = 5\nkeyframes_only = true\ninterval = 0.2\nmotion = 0.01\nhardware = 'cuda'\nloop = true"
    )
    assert parse(text, Settings, "x").streams["door"] == StreamSettings(
        "a",
        hardware="cuda",
        loop=True,
        rotate=270,
        fps=5,
        keyframes_only=True,
        interval=0.2,
        motion=0.01,
        region=((0, 0), (0.5, 0), (0.5, 1)),
        masks=(((0, 0), (1, 0), (1, 1)), ((0, 0), (1, 0), (0, 1), (0, 0))),
    )
    shown = parse(f"{DOOR}region = [[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]]", Settings, "x")
    assert shown.streams["door"].region == WHOLE_PICTURE == StreamSettings("a").region


def test_values_that_are_no_toml_are_refused_alike() -> None:
    assert convert({"url": "a", "fps": 5}, StreamSettings, "the stream") == StreamSettings("a", fps=5)
    with pytest.raises(ConfigError, match=r"the stream: \$: unknown key 'fsp'") as caught:
        convert({"url": "a", "fsp": 5}, StreamSettings, "the stream")
    assert "did you mean 'fps'?" in caught.value.hint
    wrongs: list[object] = [[], None, 3, {"url": 3}, {"url": "a", "fps": None}, {"url": "a", "masks": {}}]
    for wrong in wrongs:
        with pytest.raises(ConfigError, match="the stream: "):
            convert(wrong, StreamSettings, "the stream")


def test_passwords_can_lie_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "door").write_text(" p@ss wörd \n", encoding="utf-8")
    file = tmp_path / "my.toml"
    file.write_text(
        "[streams.a]\nurl='rtsp://h'\nuser='me'\npassword_env='CAMERA'\n"
        "[streams.b]\nurl='rtsp://h'\nuser='me'\npassword_file='secrets/door'\n"
        f"[streams.c]\nurl='rtsp://h'\nuser='me'\npassword_file='{tmp_path}/secrets/door'\n"
        "[streams.d]\nurl='rtsp://h'\nuser='me'\npassword='plain'\n"
    )
    streams = read_settings(file, {"CAMERA": "from outside"}).streams
    assert [s.password for s in streams.values()] == ["from outside", " p@ss wörd ", " p@ss wörd ", "plain"]
    assert not any(s.password_env or s.password_file for s in streams.values())


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("password_env", "CAMERA", "the environment variable CAMERA is not set"),
        ("password_file", "nowhere", "nowhere cannot be read"),
        ("password_file", "/", "/ cannot be read"),
        ("password_file", "no\0where", "cannot be read"),
        ("password_file", "binary", "binary cannot be read"),
    ],
)
def test_a_password_that_is_not_there_is_said_without_a_guess(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str, value: str, message: str
) -> None:
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    monkeypatch.chdir(tmp_path)
    stream = StreamSettings("rtsp://h", **{key: value})  # type: ignore[arg-type]  # a key of text
    with pytest.raises(ConfigError, match="door: ") as caught:
        with_password(stream, "door", {"CAMERA2": "s3cret"})
    assert message in caught.value.message
    assert caught.value.hint
    assert "s3cret" not in str(caught.value)


def test_an_empty_password_is_one(tmp_path: Path) -> None:
    (tmp_path / "empty").write_text("")
    assert with_password(StreamSettings("a", password_env="X"), "door", {"X": ""}) == StreamSettings("a")
    assert with_password(StreamSettings("a", password_file=str(tmp_path / "empty")), "door", {}) == StreamSettings("a")
    plain = StreamSettings("a", password="x")
    assert with_password(plain, "door", {}) is plain


@given(st.text(min_size=1, max_size=20), st.text(max_size=20))
def test_credentials_are_encoded_once_and_never_show(user: str, password: str) -> None:
    url = address(StreamSettings("rtsp://cam:554/live", user=user, password=password))
    assert url.startswith("rtsp://")
    assert url.endswith("@cam:554/live")
    assert url.count("@") == 1
    assert redact(f"cannot open '{url}'") == "cannot open 'rtsp://***@cam:554/live'"


@pytest.mark.parametrize(
    "text",
    [
        "rtsp://cam:p@ss/w0rd@host/x: refused",
        "http://host/live?user=me&password=w0rd&x=1",
        "https://h/x?token=w0rd;y",
        "RTSP://a:w0rd@h",
        "rtsp://a:'w0rd\"@h/x: refused",
        "https://h/x?access_token=w0rd",
        "http://h/x?loginuse=me&loginpas=w0rd",
        "srt://h:9?passphrase=w0rd",
        "rtsp://h/user=a_password=w0rd_channel=1.sdp",
        "https://h/x?X-Amz-Signature=w0rd",
    ],
)
def test_secrets_never_reach_an_error(text: str) -> None:
    error = StreamerError(text, hint=text)
    assert "w0rd" not in str(error) + repr(error) + error.hint


@pytest.mark.parametrize("password", ["p@w0rd/w", "p#w0rd?x", "w0rd", "a w0rd'", "[w0rd"])
def test_passwords_never_name_a_stream_nor_show_in_its_address(password: str) -> None:
    url = f"rtsp://admin:{password}@cam.local:554/live"
    assert stream_name(url, set()) == "cam.local"
    assert redact_address(url) == "rtsp://***@cam.local:554/live"


@given(st.lists(st.text(max_size=60), max_size=8))
def test_names_for_sources_are_valid_and_different(urls: list[str]) -> None:
    names: set[str] = set()
    for url in urls:
        name = stream_name(url, names)
        assert name not in names
        names.add(name)
    streams = {name: {"url": "x"} for name in names}
    assert set(msgspec.convert({"streams": streams}, Settings).streams) == names


@pytest.mark.parametrize("name", ["a\n", "", " a", "../a", "a/b", "a" * 61, ".a"])
def test_a_streams_name_is_a_files_name_too(name: str) -> None:
    with pytest.raises(ConfigError):
        convert(name, Name, "here")
    longest = "\U00010400" * 60
    assert len(f"{convert(longest, Name, 'here')}.jsonl".encode()) <= 255


def test_every_key_of_the_log_is_read(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_text(
        "[log]\npath = 'logs'\nsegment_mb = 1\nkeep_days = 7\nfsync = 'always'\n[streams.a]\nurl = 'demo'\n"
    )
    log = read_settings(path, {}).log
    assert log == LogSettings(str(tmp_path / "logs"), segment_mb=1, keep_days=7, fsync="always")
