"""Figures of a log in words and numbers for people."""

from collections.abc import Iterator

from streamer.log.figures import Summary

_SPACE = "\N{NARROW NO-BREAK SPACE}"


def amount(count: float) -> str:
    return f"{count:,.0f}".replace(",", _SPACE)


def duration(seconds: float) -> str:
    """In its two largest units."""
    if seconds < 10:
        return f"{seconds:.3g} s"
    left, parts = round(seconds), []
    for unit, size in (("d", 86_400), ("h", 3600), ("min", 60), ("s", 1)):
        if left >= size:
            parts.append(f"{left // size} {unit}")
            left %= size
    return " ".join(parts[:2])


def size(count: float) -> str:
    for unit in ("bytes", "kB", "MB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} GB"


def listed(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {amount(count)}" for name, count in counts.items())


Fact = tuple[str, str, str]  # what, its value, and more about it


def facts(told: Summary) -> list[Fact]:
    """All that is told, in order."""
    return [*_of_frames(told), *_of_what_is_missing(told), *_of_people(told), *_of_work(told)]


def _of_frames(told: Summary) -> Iterator[Fact]:
    frames = told.frames
    skipped = frames.total - frames.processed
    yield (
        "time with frames",
        duration(told.seconds),
        f"{_short(told.first)} to {_short(told.last)}" if told.first else "",
    )
    yield "frames", amount(frames.total), f"processed {amount(frames.processed)}, skipped {amount(skipped)}"
    if frames.skipped:
        yield "skipped", amount(skipped), listed(frames.skipped)
    if told.fps:
        yield "frames a second", f"{told.fps.delivered:.1f}", f"analysed {told.fps.analysed:.1f}"
    if told.age_ms:
        age = told.age_ms
        yield "age of results", f"{age.p50:.0f} ms", f"p95 {age.p95:.0f}, p99 {age.p99:.0f}, oldest {age.max:.0f} ms"


def _of_what_is_missing(told: Summary) -> Iterator[Fact]:
    gaps, away = told.gaps, told.outages
    more = (
        f"{listed(gaps.missing)} not recorded in {duration(gaps.seconds)}; {listed(gaps.reasons)}" if gaps.count else ""
    )
    yield "gaps in the log", amount(gaps.count), more
    if away:
        states = (f"{state} {each.times} x, {duration(each.seconds)}" for state, each in away.items())
        yield "without pictures", duration(sum(each.seconds for each in away.values())), "; ".join(states)


def _of_people(told: Summary) -> Iterator[Fact]:
    faces = told.faces
    more = f"at most {faces.max}; {amount(faces.frames)} frames with faces; {duration(faces.seconds)} of faces"
    yield "faces in a frame", f"{faces.mean:.2f}", more
    if told.dwell:
        seen = told.dwell
        more = f"median {duration(seen.median)}, p90 {duration(seen.p90)}, longest {duration(seen.longest)}"
        yield "tracks", amount(told.tracks), f"seen for: {more}"
    if told.emotions:
        (first, share), *others = sorted(told.emotions.items(), key=lambda item: -item[1])
        yield "emotions", f"{first} {share:.0%}", ", ".join(f"{name} {share:.0%}" for name, share in others)
    if isinstance(told.median_age, int):
        yield "age of tracks", f"median {told.median_age}", listed(told.ages)
    if told.genders:
        yield "gender of tracks", listed(told.genders), ""


def _of_work(told: Summary) -> Iterator[Fact]:
    if told.timings:
        stages = ", ".join(f"{stage} {ms:.1f}" for stage, ms in told.timings.items())
        yield "stages, mean", f"{sum(told.timings.values()):.1f} ms", stages
    parts = [f"{size(told.bytes.disk)} on the disk"] if told.bytes.disk else []
    yield "records", size(told.bytes.records), "; ".join([*parts, f"sessions: {told.sessions}"])


def _short(time: str) -> str:
    return time[:19].replace("T", " ")
