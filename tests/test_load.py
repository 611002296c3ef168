"""More cameras than this machine can analyse, some of them dead: all are served alike."""

from pathlib import Path

from tests.bench.load import measure, table


def test_live_cameras_share_the_machine_and_dead_ones_do_not_disturb(face_clip: Path, tmp_path: Path) -> None:
    load = measure(face_clip, tmp_path, live=10, dead=6, seconds=6)
    print(table(load))
    assert load.share > 0.5
    assert all(len(stream.ages) > 3 * load.seconds / 2 for stream in load.live.values())
    assert {tuple(codes) for codes in load.dead.values()} == {("unreachable",), ("timeout",)}
