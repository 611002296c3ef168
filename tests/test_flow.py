"""Mailbox, ordered work, slots and hub, with plain values."""

import asyncio
import threading
from collections.abc import AsyncGenerator

import pytest

from streamer.errors import SourceError
from streamer.face import FrameResult
from streamer.flow import Hub, Mailbox, Message, OverrunError, Slots, frame_message, ordered
from tests.test_contract import frame


def marked(item: str, newer: str) -> str:
    return item if item.startswith("skipped") or newer == "nothing" else f"skipped {item}"


async def take(mailbox: Mailbox[str]) -> str | None:
    """The next item, waited for; None at the end."""
    first = await mailbox.first()
    assert mailbox.take() == first
    return first


async def take_all(mailbox: Mailbox[str]) -> list[str]:
    taken = []
    while (item := await take(mailbox)) is not None:
        taken.append(item)
    return taken


async def test_the_newest_wins_and_the_others_keep_their_place() -> None:
    mailbox = Mailbox(marked)
    for item in "abc":
        assert mailbox.put(item, newest_wins=True)
    assert await take(mailbox) == "skipped a"
    mailbox.put("d", newest_wins=True)
    mailbox.finish()
    assert await take_all(mailbox) == ["skipped b", "skipped c", "d"]


async def test_what_supersedes_nothing_leaves_the_waiting_as_they_are() -> None:
    mailbox = Mailbox(marked)
    for item in ("a", "b", "nothing", "nothing"):
        mailbox.put(item, newest_wins=True)
    assert await take(mailbox) == "skipped a"
    assert await take(mailbox) == "b"
    mailbox.put("c", newest_wins=True)
    mailbox.finish()
    assert await take_all(mailbox) == ["skipped nothing", "skipped nothing", "c"]


async def test_a_patient_put_waits_until_there_is_room_and_nothing_is_skipped() -> None:
    mailbox = Mailbox(marked, size=2)
    items = [str(n) for n in range(500)]

    def produce() -> None:
        for item in items:
            mailbox.put(item, newest_wins=False)
        mailbox.finish()

    thread = threading.Thread(target=produce)
    thread.start()
    assert await take_all(mailbox) == items
    thread.join()


async def test_a_closed_mailbox_lets_the_waiting_thread_go() -> None:
    mailbox, answers = Mailbox(marked, size=1), []
    mailbox.put("a", newest_wins=False)
    waiting = asyncio.to_thread(lambda: answers.append(mailbox.put("b", newest_wins=False)))
    task = asyncio.create_task(waiting)
    mailbox.finish()
    await task
    assert answers == [False]


async def test_what_waits_is_taken_before_the_error_comes() -> None:
    mailbox = Mailbox(marked)
    mailbox.put("a", newest_wins=False)
    mailbox.finish(SourceError("gone"))
    assert await take(mailbox) == "a"
    with pytest.raises(SourceError, match="gone"):
        await take(mailbox)


async def test_an_analysis_that_hangs_is_an_error_not_a_leak() -> None:
    mailbox = Mailbox(marked, limit=10)
    for _ in range(10):
        mailbox.put("x", newest_wins=True)
    with pytest.raises(OverrunError):
        mailbox.put("x", newest_wins=True)


async def numbers(count: int, closed: list[bool]) -> AsyncGenerator[int, None]:
    try:
        for n in range(count):
            yield n
    finally:
        closed.append(True)


async def test_ordered_work_runs_side_by_side_and_answers_in_order() -> None:
    running, most, closed = 0, 0, list[bool]()
    gates = [asyncio.Event() for _ in range(6)]

    async def work(n: int) -> int:
        nonlocal running, most
        running += 1
        most = max(most, running)
        if n % 2:  # every odd one ends before the even one that precedes it
            gates[n - 1].set()
        else:
            await gates[n].wait()
        running -= 1
        return n * n

    assert [r async for r in ordered(numbers(6, closed), work, 2)] == [0, 1, 4, 9, 16, 25]
    assert most == 2
    assert closed == [True]


async def test_ordered_work_fails_in_its_place_and_closes_its_source() -> None:
    closed = list[bool]()

    async def work(n: int) -> int:
        if n == 3:
            raise SourceError("three")
        return n

    working = ordered(numbers(9, closed), work, 2)
    assert [await anext(working) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(SourceError, match="three"):
        await anext(working)
    assert closed == [True]


async def test_ordered_work_can_be_left_early() -> None:
    closed = list[bool]()

    async def work(n: int) -> int:
        return n

    results = ordered(numbers(1000, closed), work, 3)
    assert await anext(results) == 0
    await results.aclose()
    assert closed == [True]


async def test_what_needs_no_work_waits_for_no_room_and_goes_along_with_the_next_that_does() -> None:
    given = list[int]()

    async def source() -> AsyncGenerator[int, None]:
        for n in range(400):
            given.append(n)
            yield n

    async def work(n: int) -> int:
        return n

    results = ordered(source(), work, 2, light=lambda n: n % 10 != 9 and n < 30)
    assert await anext(results) == 0
    for _ in range(100):
        await asyncio.sleep(0)
    assert given == list(range(20))  # nobody takes results: room for 9 and 19, and the others on their way
    assert [await anext(results) for _ in range(20)] == list(range(1, 21))
    for _ in range(100):
        await asyncio.sleep(0)
    assert given == list(range(31))  # room for 29 and 30, neither of which goes along with another
    await results.aclose()


async def test_what_needs_no_work_does_not_pile_up_for_ever() -> None:
    given = list[int]()

    async def source() -> AsyncGenerator[int, None]:
        for n in range(10_000):
            given.append(n)
            yield n

    async def work(n: int) -> int:
        return n

    results = ordered(source(), work, 2, light=lambda _: True)
    assert await anext(results) == 0
    for _ in range(100):
        await asyncio.sleep(0)
    assert len(given) == 2 * 256
    assert [await anext(results) for _ in range(3000)] == list(range(1, 3001))
    await results.aclose()


def message(stream: str, seq: int, skipped: str | None = None) -> Message:
    result = FrameResult(frame(seq=seq, skipped=skipped), (), {}, 0, 10.0)
    return frame_message(stream, f"{stream}{seq}".encode(), result)


async def test_a_slow_consumer_gets_the_newest_of_each_stream() -> None:
    slots = Slots()
    for each in (message("a", 1), message("b", 1), message("a", 2), Message("a", b"live")):
        slots.offer(each)
    assert [m.data for m in await slots.take()] == [b"b1", b"a2", b"live"]
    assert slots.skipped == 1


async def test_the_last_frame_comes_before_the_end() -> None:
    slots = Slots()
    for each in (message("a", 1), message("a", 2), Message("a", b"ended")):
        slots.offer(each)
    assert [m.data for m in await slots.take()] == [b"a2", b"ended"]


async def test_a_consumer_that_never_takes_costs_no_more_than_so_much() -> None:
    slots = Slots()
    for n in range(5000):
        slots.offer(Message("a", str(n).encode()))
    waiting = await slots.take()
    assert len(waiting) == 1000
    assert waiting[-1].data == b"4999"


async def test_a_frame_that_was_not_analysed_never_hides_one_that_was() -> None:
    slots = Slots()
    slots.offer(message("a", 1))
    slots.offer(message("a", 2, skipped="superseded"))
    assert [m.data for m in await slots.take()] == [b"a1"]


class Keeper:
    name = "keeper"

    def __init__(self) -> None:
        self.kept: list[bytes] = []

    async def put(self, message: Message) -> None:
        self.kept.append(message.data)

    def figures(self) -> dict[str, float]:
        return {}


async def test_keepers_get_everything_and_newcomers_the_newest() -> None:
    keeper = Keeper()
    hub = Hub(keepers=(keeper,))
    for each in (Message("a", b"live"), message("a", 1), message("a", 2), message("a", 3, skipped="x")):
        await hub.publish(each)
    assert keeper.kept == [b"live", b"a1", b"a2", b"a3"]
    with hub.subscribe() as slots:
        assert [m.data for m in await slots.take()] == [b"live", b"a2"]
        await hub.publish(message("a", 4))
        assert [m.data for m in await slots.take()] == [b"a4"]
