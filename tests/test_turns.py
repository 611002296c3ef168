"""Fair shares, with plain asyncio and a clock that is moved by hand."""

import asyncio
import heapq
from collections import Counter
from collections.abc import AsyncGenerator, Coroutine
from contextlib import ExitStack, asynccontextmanager
from itertools import chain, count

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamer.turns import Share, Turns


class World:
    """Time that passes only when everybody waits for it to, and what happened in it."""

    def __init__(self, width: int, most: int | None = None) -> None:
        self.time = 0.0
        self.turns = Turns(width, now=lambda: self.time, most=most)
        self.held = 0
        self.most = 0
        self.taken: Counter[str] = Counter()
        self._alarms: list[tuple[float, int, asyncio.Future[None]]] = []
        self._alarm = count()

    async def sleep(self, seconds: float) -> None:
        alarm: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._alarms, (self.time + seconds, next(self._alarm), alarm))
        await alarm

    async def settle(self) -> None:
        """Until everybody waits for something."""
        for _ in range(20):
            await asyncio.sleep(0)

    async def until(self, end: float) -> None:
        await self.settle()
        while self._alarms and self._alarms[0][0] <= end:
            self.time, _, alarm = heapq.heappop(self._alarms)
            if not alarm.done():
                alarm.set_result(None)
            await self.settle()
        self.time = end

    async def work_alone(self, share: Share, lasts: float) -> None:
        await share.take()
        self.time += lasts
        share.give_back()

    async def stream(self, name: str, lasts: float, pause: float = 0.0) -> None:
        """Takes turns for ever, each of which lasts so long."""
        with self.turns.share() as share:
            while True:
                await self.work(name, share, lasts)
                if pause:
                    await self.sleep(pause)

    async def work(self, name: str, share: Share, lasts: float) -> None:
        async with share.turn():
            self.held += 1
            self.most = max(self.most, self.held)
            self.taken[name] += 1
            try:
                await self.sleep(lasts)
            finally:
                self.held -= 1


@asynccontextmanager
async def running(*streams: Coroutine[None, None, None]) -> AsyncGenerator[list[asyncio.Task[None]], None]:
    tasks = [asyncio.create_task(stream) for stream in streams]
    try:
        yield tasks
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def free(turns: Turns) -> int:
    """How many turns nobody holds, found out by taking them all."""
    count = 0
    with turns.share() as share:
        while True:
            async with running(share.take()) as (taking,):
                for _ in range(5):
                    await asyncio.sleep(0)
                if not taking.done():
                    return count
            count += 1


@pytest.mark.parametrize("width", [1, 2, 5])
async def test_as_many_turns_are_held_as_there_are_and_never_more(width: int) -> None:
    world = World(width)
    async with running(*(world.stream(name, 0.1 + 0.01 * n) for n, name in enumerate("abcdefgh"))):
        await world.until(20)
        assert world.held == world.most == width
    assert await free(world.turns) == width


@pytest.mark.parametrize("width", [1, 2, 3])
async def test_equal_streams_take_turns_equally_often(width: int) -> None:
    world = World(width)
    async with running(*(world.stream(name, 0.1) for name in "abcdefg")):
        await world.until(70.05)
    assert sum(world.taken.values()) == pytest.approx(701 * width, abs=width)
    assert max(world.taken.values()) - min(world.taken.values()) <= 1


async def test_who_asks_for_many_turns_at_once_gets_no_more_than_its_share() -> None:
    world = World(4)

    async def stream(name: str, at_once: int) -> None:
        with world.turns.share() as share:
            async with running(*(forever(name, share) for _ in range(at_once))) as tasks:
                await asyncio.gather(*tasks)

    async def forever(name: str, share: Share) -> None:
        while True:
            await world.work(name, share, 0.1)

    async with running(stream("many", 20), *(stream(name, 5) for name in "abc")):
        await world.until(40.05)
    assert [*world.taken.values()] == [pytest.approx(400, abs=8)] * 4


@pytest.mark.parametrize("width", [1, 2])
async def test_costly_pictures_mean_fewer_turns_and_not_slower_neighbours(width: int) -> None:
    world = World(width)
    async with running(world.stream("slow", 1.0), *(world.stream(name, 0.1) for name in "abc")):
        await world.until(100.05)
    quick = 100 * width / 4 / 0.1  # a quarter of the time
    assert [world.taken[name] for name in "abc"] == [pytest.approx(quick, rel=0.06)] * 3
    assert world.taken["slow"] == pytest.approx(quick / 10, rel=0.1)


@pytest.mark.parametrize("first", [0, 10])
async def test_a_turn_that_is_longer_by_far_is_not_held_against_its_stream(first: int) -> None:
    """The first turn waits until a model is compiled; others may be held up by what else happens on a machine."""
    world = World(2)

    async def unlucky() -> None:
        with world.turns.share() as share:
            for n in count():
                await world.work("unlucky", share, 5.0 if n == first else 0.1)

    async with running(unlucky(), *(world.stream(name, 0.1) for name in "abc")):
        while world.taken["unlucky"] <= first:
            await world.until(world.time + 0.1)
        await world.until(world.time + 5.05)
        world.taken.clear()
        await world.until(world.time + 10)
    assert world.taken["unlucky"] == pytest.approx(50, abs=8)


async def test_who_was_idle_does_not_catch_up_but_need_not_wait_behind_the_greedy() -> None:
    world = World(1)
    async with running(world.stream("a", 0.1), world.stream("b", 0.1)):
        await world.until(100)
        before = world.taken.copy()
        async with running(world.stream("late", 0.1)):
            await world.until(103.05)
        assert (world.taken - before)["late"] == pytest.approx(10, abs=1)
        before = world.taken.copy()
        async with running(world.stream("modest", 0.1, pause=0.9)):
            await world.until(123.05)
        assert (world.taken - before)["modest"] >= 18  # one in each 1.0 s, and at most 0.1 s of waiting


async def test_who_leaves_and_comes_back_does_not_catch_up_either() -> None:
    world = World(1)

    async def comes_and_goes() -> None:
        with world.turns.share() as share:
            while True:
                for _ in range(10):
                    await world.work("comes and goes", share, 0.1)
                await world.sleep(20)

    async with running(world.stream("a", 0.1), comes_and_goes()):
        await world.until(400)
        counts = []
        for n in range(400, 500):
            before = world.taken["a"]
            await world.until(n)
            counts.append(world.taken["a"] - before)
    assert min(counts[1:]) >= 4  # never less than its half


async def test_a_share_alone_is_not_held_back_by_what_it_used() -> None:
    world = World(1)
    async with running(world.stream("a", 0.1)):
        await world.until(1000)
    async with running(world.stream("a again", 0.1)):
        await world.until(1010.05)
    assert world.taken["a again"] == pytest.approx(101, abs=1)


async def test_a_waiter_that_gives_up_loses_no_turn() -> None:
    turns = Turns(1)
    with turns.share() as one, turns.share() as other:
        await one.take()
        async with running(other.take(), other.take()) as waiting:
            await asyncio.sleep(0)
            waiting[0].cancel()
            one.give_back()
            await waiting[1]
        assert waiting[0].cancelled()
        assert await free(turns) == 0
        other.give_back()
        assert await free(turns) == 1


async def test_a_waiter_that_gives_up_the_moment_it_is_its_turn_hands_it_on() -> None:
    turns = Turns(1)
    with turns.share() as one, turns.share() as other, turns.share() as third:
        await one.take()
        async with running(other.take(), third.take()) as waiting:
            await asyncio.sleep(0)
            one.give_back()  # to the first who waits,
            waiting[0].cancel()  # who has not heard of it yet
            await asyncio.wait(waiting, timeout=5)
            assert waiting[0].cancelled()
            assert not waiting[1].cancelled()
        third.give_back()
        assert await free(turns) == 1


async def test_what_a_share_holds_is_given_back_at_its_end() -> None:
    turns = Turns(3)
    with turns.share() as share:
        for _ in range(3):
            await share.take()
        share.give_back()
        assert await free(turns) == 1
    assert await free(turns) == 3


async def test_a_turn_is_given_back_when_its_work_fails() -> None:
    turns = Turns(1)
    share = Share(turns)
    with pytest.raises(RuntimeError, match="oops"):
        async with share.turn():
            raise RuntimeError("oops")
    assert await free(turns) == 1


async def test_means_of_what_turns_last_and_of_the_wait_for_them() -> None:
    world = World(1)
    with world.turns.share() as one, world.turns.share() as other:
        for n in range(1, 11):
            await world.work_alone(one, 0.5)
            assert one.usual == pytest.approx(0.5 * (1 - 0.9**n))
            assert one.waited == 0
        for n in range(1, 11):
            await one.take()
            async with running(other.take()) as (waiting,):
                await world.settle()
                world.time += 0.2
                one.give_back()
                await waiting
            assert other.waited == pytest.approx(0.2 * (1 - 0.9**n))
            other.give_back()
        waited = other.waited
        await world.work_alone(other, 1.0)
        assert other.waited == pytest.approx(0.9 * waited)  # once nobody else is there it goes down again


STEPS = st.lists(
    st.tuples(st.sampled_from(["take", "give", "cancel", "close", "rest"]), st.integers(0, 2)), max_size=80
)


@settings(max_examples=100, deadline=None)
@given(STEPS, st.integers(1, 4), st.integers(0, 3), st.booleans())
def test_whatever_is_done_no_turn_is_lost_nor_made(
    steps: list[tuple[str, int]], width: int, more: int, hurried: bool
) -> None:
    asyncio.run(_play(steps, width, more, hurried))


async def _play(steps: list[tuple[str, int]], width: int, more: int, hurried: bool) -> None:
    """With one share whose asking hastens all, or only patient ones, which may have `more`."""
    world = World(width, width + more)
    most, hasty = width + more, False
    with ExitStack() as stack:
        shares = [stack.enter_context(world.turns.share()) for _ in range(3)]
        takers: list[list[asyncio.Task[None]]] = [[], [], []]
        given = [0, 0, 0]

        def held(n: int) -> int:
            return sum(t.done() and not t.cancelled() for t in takers[n]) - given[n]

        for verb, n in steps:
            world.time += 0.1
            match verb:
                case "take":
                    hurry = hurried and n == 0
                    hasty = hasty or hurry
                    takers[n].append(asyncio.create_task(shares[n].take(hurried=hurry)))
                case "give" if held(n):
                    shares[n].give_back()
                    given[n] += 1
                case "cancel" if takers[n]:
                    takers[n][-1].cancel()
                case "close":
                    shares[n].close()
                    given[n] += held(n)
                case "rest":
                    await world.settle()
                    holding = sum(map(held, range(3)))
                    waiting = sum(not t.done() for t in chain(*takers))
                    assert holding <= most
                    assert holding >= (width if hasty else most) or not waiting
        for taker in chain(*takers):
            taker.cancel()
        await asyncio.gather(*chain(*takers), return_exceptions=True)
    assert await free(world.turns) == width


async def test_after_late_results_fewer_turns_are_held_at_a_time_until_none_is_late() -> None:
    clock = [0.0]
    turns = Turns(4, 2, lambda: clock[0])
    for second in range(1, 9):  # too many complaints at once count as one, and two turns are always left
        clock[0] = float(second)
        turns.late()
        turns.late()
        assert await free(turns) == max(4 - second, 2)
    for back in (3, 4, 4):
        clock[0] += 6
        assert await free(turns) == back


async def test_who_is_in_no_hurry_gets_more_turns_until_somebody_is() -> None:
    clock = [0.0]
    turns = Turns(2, 1, lambda: clock[0], most=5)
    with turns.share() as patient, turns.share() as hurried:
        for hurry, held in ((False, 5), (True, 2), (False, 5), (True, 2)):
            waiting = [asyncio.create_task((hurried if hurry else patient).take(hurried=hurry)) for _ in range(6)]
            await asyncio.sleep(0)
            assert turns.held == held
            for task in waiting:
                task.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)
            patient.close()
            hurried.close()
            assert turns.held == 0
            clock[0] += 70 if hurry else 0


async def test_a_turn_that_only_the_patient_may_have_is_not_free() -> None:
    clock = [0.0]
    turns = Turns(2, 1, lambda: clock[0], most=5)
    with turns.share() as patient, turns.share() as hurried:
        for _ in range(3):
            await patient.take(hurried=False)
        assert not hurried.free
        patient.give_back()
        patient.give_back()
        assert hurried.free
        await asyncio.wait_for(hurried.take(), 1)
