"""A stream of frames that keeps itself open: reads, watches, waits and tries again.

This is the only place that retries. Readers (`read_video`, `read_demo`) run in a thread each and either go on or raise
a typed error.
"""

import asyncio
import contextlib
import logging
import random
import threading
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from functools import partial
from typing import Any

import msgspec

from streamer.config import StreamSettings
from streamer.contract import State
from streamer.errors import SourceError, SourceTimeoutError, StreamerError
from streamer.face import Frame, no_pixels
from streamer.flow import Mailbox
from streamer.media.address import Address, resolve
from streamer.media.demo import read_demo
from streamer.media.opening import Host, Opening
from streamer.media.video import Put, read_video
from streamer.turns import Share

SUPERSEDED = "superseded"  # why a frame was skipped that newer ones have overtaken
_log = logging.getLogger(__name__)
_FAREWELL = 0.7  # seconds that a thread gets to notice that nobody wants its frames any more
_MOST_HANGING = 5  # threads that a source may have hanging in a stuck driver: it would get one more with every try


class StateChange(msgspec.Struct, frozen=True):
    """The stream is in another state from now on; `at` is seconds since 1970 UTC."""

    state: State
    at: float
    error: StreamerError | None = None


class Tally(msgspec.Struct):
    """What became of a source so far; changes while it runs.

    Of the threads that were `abandoned` because they did not close in time, `hanging` have not come back yet.
    """

    tries: int = 0
    opened: int = 0
    abandoned: int = 0
    hanging: int = 0
    decoder: str = ""


async def keep_open(
    stream: StreamSettings, share: Share, host: Host, tally: Tally, first_seq: int = 0
) -> AsyncGenerator[Frame | StateChange, None]:
    """Frames of `stream`, numbered without holes from `first_seq` on, and its changes of state, in order.

    A live source is opened again whenever it fails, for ever; a file is read once, and its failure is the `error` of
    the last state. For each frame that is not skipped a turn has been taken from `share`. Raises SourceError if the
    address means nothing.
    """
    where = resolve(stream)
    seq, wait, told = first_seq, stream.retry_min, ""
    yield StateChange("connecting", time.time())
    while True:
        failure: StreamerError | None = None
        live = False
        opening = Opening(where, stream, host, seq)
        try:
            _check_threads(where, tally)
            tally.tries += 1
            async with contextlib.aclosing(_watched(opening, share, tally)) as frames:
                async for frame in frames:
                    if not live:
                        live, wait, told = True, stream.retry_min, ""
                        tally.opened += 1
                        _note_decoder(tally, opening.decoder, where)
                        yield StateChange("live", time.time())
                    seq = frame.seq + 1
                    yield frame
        except StreamerError as error:
            failure = _bare(error)
        if failure is None or where.live is False:
            yield StateChange("ended", time.time(), failure)
            return
        if failure.code != told:
            stalled = live and isinstance(failure, SourceTimeoutError)
            yield StateChange("stalled" if stalled else "offline", time.time(), failure)
            told = failure.code
        await asyncio.sleep(wait * random.uniform(0.75, 1))  # many cameras lost at once must not all come at once
        wait = min(wait * 2, stream.retry_max)


def _check_threads(where: Address, tally: Tally) -> None:
    if tally.hanging >= _MOST_HANGING:
        raise SourceTimeoutError(
            f"{where.shown}: {tally.hanging} attempts to read it hang",
            "is its driver stuck? unplug it, plug it in again",
        )


def _note_decoder(tally: Tally, decoder: str, where: Address) -> None:
    if decoder != tally.decoder:
        _log.log(logging.WARNING if "cannot" in decoder else logging.INFO, "%s: decoded by %s", where.shown, decoder)
    tally.decoder = decoder


async def _watched(opening: Opening, share: Share, tally: Tally) -> AsyncGenerator[Frame, None]:
    """Frames of one opening. Raises SourceTimeoutError when none comes in time, and what the reader raises."""
    where, stream = opening.where, opening.stream
    read = partial(read_demo if where.kind == "demo" else read_video, opening)
    patience = None if where.kind == "file" else stream.open_timeout + stream.stall
    async with _thread(read, where.shown, tally) as mailbox:
        while True:
            try:
                async with asyncio.timeout(patience):
                    frame = await mailbox.first()
            except TimeoutError:
                raise SourceTimeoutError(
                    f"{where.shown}: no picture for {patience:g} s", "is the camera still sending?"
                ) from None
            if frame is None:
                return
            patience = patience and stream.stall
            if frame.skipped:
                mailbox.take()
            else:
                async with contextlib.aclosing(_overtaken(mailbox, share, frame)) as overtaken:
                    async for each in overtaken:
                        yield each
                *passed_over, frame = _up_to_wanted(mailbox)  # while we waited newer ones may have come
                for each in passed_over:
                    yield each
                if frame.live and time.monotonic() - frame.arrived > stream.max_age:
                    frame = _skipped(frame, "stale")
                if frame.skipped:
                    share.give_back()
            yield frame


async def _overtaken(mailbox: Mailbox[Frame], share: Share, first: Frame) -> AsyncGenerator[Frame, None]:
    """Takes a turn, and gives what newer frames overtake until it is there. `first` waits longest."""
    if not first.live:
        await share.take(hurried=False)
        return
    if share.free:
        await share.take(first.arrived)
        return
    taking: asyncio.Future[Any] = asyncio.ensure_future(share.take(first.arrived))
    newer = taking
    try:
        while not taking.done():
            newer = asyncio.ensure_future(mailbox.oldest(_is_skipped))
            await asyncio.wait({taking, newer}, return_when=asyncio.FIRST_COMPLETED)
            if newer.done() and not newer.result():
                break  # no more come
            newer.cancel()
            while not taking.done() and (frame := mailbox.take(_is_skipped)) is not None:
                yield frame
        await taking
    finally:
        for waiting in (taking, newer):
            waiting.cancel()
        await asyncio.gather(taking, newer, return_exceptions=True)


def _is_skipped(frame: Frame) -> bool:
    return frame.skipped is not None


def _up_to_wanted(mailbox: Mailbox[Frame]) -> list[Frame]:
    """What waits, up to the first frame that is to be analysed."""
    taken: list[Frame] = []
    while (frame := mailbox.take()) is not None:
        taken.append(frame)
        if not frame.skipped:
            break
    return taken


@contextlib.asynccontextmanager
async def _thread(read: Callable[[Put], None], name: str, tally: Tally) -> AsyncIterator[Mailbox[Frame]]:
    """`read` in a thread, and the mailbox that it fills. A thread that does not come back in time is abandoned."""
    mailbox: Mailbox[Frame] = Mailbox(_superseded)
    loop, left = asyncio.get_running_loop(), asyncio.Event()
    abandoned = False

    def come_back() -> None:
        left.set()
        tally.hanging -= abandoned

    def run() -> None:
        try:
            read(lambda frame, newest_wins: mailbox.put(frame, newest_wins=newest_wins))
            mailbox.finish()
        except StreamerError as error:
            mailbox.finish(_bare(error))
        except Exception as error:  # noqa: BLE001  # a reader must not die unheard, whatever went wrong in it
            mailbox.finish(SourceError(f"{name}: {type(error).__name__}: {error}"))
        with contextlib.suppress(RuntimeError):  # the loop may be gone if this thread was abandoned
            loop.call_soon_threadsafe(come_back)

    threading.Thread(target=run, name="source", daemon=True).start()
    try:
        yield mailbox
    finally:
        mailbox.finish()
        try:
            async with asyncio.timeout(_FAREWELL):
                await left.wait()
        except TimeoutError:
            abandoned = True
            tally.abandoned += 1
            tally.hanging += 1
            _log.warning("%s: did not close within %g s and was abandoned", name, _FAREWELL)


def _bare(error: StreamerError) -> StreamerError:
    """`error` without what it was raised from: that holds the decoder, with its threads and pictures, for as long as
    the failure is remembered, and in a circle.
    """
    error.__cause__ = error.__context__ = None
    return error.with_traceback(None)


def _superseded(frame: Frame, newer: Frame) -> Frame:
    """`frame`, or its record where a newer one that is to be analysed has overtaken it. The one that was overtaken last
    still has its pixels: where nobody is looked for in them, they can be shown all the same.
    """
    if frame.skipped == SUPERSEDED:
        return _skipped(frame, SUPERSEDED)
    if frame.skipped or newer.skipped:
        return frame
    return msgspec.structs.replace(frame, skipped=SUPERSEDED)


def _skipped(frame: Frame, reason: str) -> Frame:
    """`frame`, not to be analysed, without its pixels."""
    return msgspec.structs.replace(frame, skipped=reason, pixels=no_pixels)
