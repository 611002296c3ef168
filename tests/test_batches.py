"""Work on all that waits, with plain values and a thread that begins when it is told."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamer.inference.batches import Batches


class Threads:
    """What was begun, until somebody runs it in a thread."""

    def __init__(self) -> None:
        self.begun: list[tuple[Callable[..., object], tuple[Any, ...]]] = []
        self.batches: list[list[int]] = []

    def begin(self, work: Callable[..., object], *args: Any) -> None:
        self.begun.append((work, args))

    async def run(self) -> None:
        work, args = self.begun.pop(0)
        await asyncio.to_thread(work, *args)

    def doubled(self, items: Sequence[int]) -> list[int]:
        self.batches.append(list(items))
        if -1 in items:
            raise ValueError("not that one")
        return [2 * item for item in items]


async def waiting(batches: Batches[int, int], items: Sequence[int]) -> list[asyncio.Task[int]]:
    tasks = [asyncio.create_task(batches(item)) for item in items]
    await asyncio.sleep(0)
    return tasks


async def test_what_waits_when_a_thread_begins_is_done_at_once() -> None:
    threads = Threads()
    tasks = await waiting(Batches(threads.begin, threads.doubled), [1, 2, 3])
    assert len(threads.begun) == 1
    await threads.run()
    assert await asyncio.gather(*tasks) == [2, 4, 6]
    assert threads.batches == [[1, 2, 3]]
    assert not threads.begun


@given(st.lists(st.lists(st.integers(0, 99), max_size=9), max_size=6))
def test_each_gets_its_own_answer_in_batches_of_four_at_most(arrivals: list[list[int]]) -> None:
    async def play() -> None:
        threads, tasks = Threads(), list[asyncio.Task[int]]()
        batches = Batches(threads.begin, threads.doubled)
        for items in arrivals:
            tasks += await waiting(batches, items)
            if threads.begun:
                await threads.run()
        while threads.begun:
            await threads.run()
        everything = [item for items in arrivals for item in items]
        assert await asyncio.gather(*tasks) == [2 * item for item in everything]
        assert [item for batch in threads.batches for item in batch] == everything
        assert all(1 <= len(batch) <= 4 for batch in threads.batches)

    asyncio.run(play())


async def test_a_failure_is_told_to_all_who_waited_and_to_nobody_else() -> None:
    threads = Threads()
    batches = Batches(threads.begin, threads.doubled)
    first = await waiting(batches, [1, -1])
    await threads.run()
    for task in first:
        with pytest.raises(ValueError, match="not that one"):
            await task
    (later,) = await waiting(batches, [5])
    await threads.run()
    assert await later == 10


async def test_who_no_longer_waits_takes_nothing_from_the_others() -> None:
    threads = Threads()
    gone, stays = await waiting(Batches(threads.begin, threads.doubled), [1, 2])
    gone.cancel()
    await threads.run()
    assert await stays == 4
    assert gone.cancelled()


def test_who_comes_after_a_loop_that_is_gone_is_answered() -> None:
    threads = Threads()
    batches = Batches(threads.begin, threads.doubled)

    async def gone() -> None:
        (task,) = await waiting(batches, [1])
        task.cancel()

    async def later() -> int:
        (task,) = await waiting(batches, [2])
        await threads.run()
        return await task

    asyncio.run(gone())
    assert asyncio.run(asyncio.wait_for(later(), 10)) == 4
