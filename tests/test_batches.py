"""Work on all that waits, with plain values and a thread that begins when it is told."""

import asyncio
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamer.inference.batches import Batches


class Threads:
    """What was begun, until somebody runs it in a thread."""

    def __init__(self) -> None:
        self.begun: list[tuple[Callable[[], None], Future[None]]] = []
        self.batches: list[list[int]] = []

    def begin(self, work: Callable[[], None]) -> Future[None]:
        future: Future[None] = Future()
        self.begun.append((work, future))
        return future

    async def run(self) -> None:
        work, future = self.begun.pop(0)
        await asyncio.to_thread(work)
        future.set_result(None)

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


async def test_a_failure_is_told_to_who_brought_it_alone() -> None:
    threads = Threads()
    batches = Batches(threads.begin, threads.doubled)
    before, wrong, after = await waiting(batches, [1, -1, 3])
    await threads.run()
    assert (await before, await after) == (2, 6)
    with pytest.raises(ValueError, match="not that one"):
        await wrong
    (later,) = await waiting(batches, [5])
    await threads.run()
    assert await later == 10


@pytest.mark.parametrize("leave", [[0], [1], [0, 1, 2, 3], [0, 1, 2, 3, 4]])
async def test_nothing_is_done_for_who_no_longer_waits(leave: list[int]) -> None:
    threads = Threads()
    tasks = await waiting(Batches(threads.begin, threads.doubled), range(5))
    for n in leave:
        tasks[n].cancel()
    await asyncio.sleep(0)
    while threads.begun:
        await threads.run()
    stayed = [n for n in range(5) if n not in leave]
    assert await asyncio.gather(*(tasks[n] for n in stayed)) == [2 * n for n in stayed]
    assert [item for batch in threads.batches for item in batch] == stayed
    assert all(tasks[n].cancelled() for n in leave)


async def test_nobody_waits_for_threads_that_have_been_shut_down() -> None:
    pool, free = ThreadPoolExecutor(1), threading.Event()
    batches = Batches[int, int](pool.submit, lambda items: items)
    pool.submit(free.wait)
    before = await waiting(batches, [1, 2])
    pool.shutdown(wait=False, cancel_futures=True)
    after = await waiting(batches, [3])
    free.set()
    done, pending = await asyncio.wait([*before, *after], timeout=10)
    assert not pending
    assert all(task.cancelled() for task in done)


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
