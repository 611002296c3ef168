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
from pathlib import Path

import msgspec

from streamer.config import StreamSettings
from streamer.contract import State
from streamer.errors import SourceError, SourceTimeoutError, StreamerError
from streamer.face import Frame, no_pixels
from streamer.flow import Mailbox
from streamer.media.address import Address, resolve
from streamer.media.demo import read_demo
from streamer.media.video import Put, read_video

_log = logging.getLogger(__name__)
_FAREWELL = 0.7  # seconds that a thread gets to notice that nobody wants its frames any more


class StateChange(msgspec.Struct, frozen=True):
    """The stream is in another state from now on; `at` is seconds since 1970 UTC."""

    state: State
    at: float
    error: StreamerError | None = None


async def keep_open(stream: StreamSettings, portrait: Path | None = None) -> AsyncGenerator[Frame | StateChange, None]:
    """Frames of `stream`, numbered without holes, and its changes of state, in order.

    A live source is opened again whenever it fails, for ever; a file is read once, and its failure is the `error` of
    the last state. `portrait` is the picture of the demo source. Raises SourceError if the address means nothing.
    """
    where = resolve(stream)
    seq, wait, told = 0, stream.retry_min, ""
    yield StateChange("connecting", time.time())
    while True:
        failure: StreamerError | None = None
        live = False
        try:
            async with contextlib.aclosing(_watched(where, stream, portrait, seq)) as frames:
                async for frame in frames:
                    if not live:
                        live, wait, told = True, stream.retry_min, ""
                        yield StateChange("live", time.time())
                    seq = frame.seq + 1
                    yield frame
        except StreamerError as error:
            failure = error
        if failure is None or where.live is False:
            yield StateChange("ended", time.time(), failure)
            return
        if failure.code != told:
            stalled = live and isinstance(failure, SourceTimeoutError)
            yield StateChange("stalled" if stalled else "offline", time.time(), failure)
            told = failure.code
        await asyncio.sleep(wait * random.uniform(0.75, 1.25))
        wait = min(wait * 2, stream.retry_max)


async def _watched(
    where: Address, stream: StreamSettings, portrait: Path | None, first_seq: int
) -> AsyncGenerator[Frame, None]:
    """Frames of one opening. Raises SourceTimeoutError when none comes in time, and what the reader raises."""
    if where.kind == "demo":
        if portrait is None:
            raise SourceError("the demo needs its portrait", "run: streamer models pull portrait")
        read: Callable[[Put], None] = partial(read_demo, portrait, first_seq)
    else:
        read = partial(read_video, where, stream, first_seq)
    patience = None if where.kind == "file" else stream.open_timeout + stream.stall
    async with _thread(read, where.shown) as mailbox:
        while True:
            try:
                async with asyncio.timeout(patience):
                    frame = await anext(mailbox)
            except StopAsyncIteration:
                return
            except TimeoutError:
                raise SourceTimeoutError(
                    f"{where.shown}: no picture for {patience:g} s", "is the camera still sending?"
                ) from None
            patience = patience and stream.stall
            yield frame


@contextlib.asynccontextmanager
async def _thread(read: Callable[[Put], None], name: str) -> AsyncIterator[Mailbox[Frame]]:
    """`read` in a thread, and the mailbox that it fills. A thread that does not come back in time is abandoned."""
    mailbox: Mailbox[Frame] = Mailbox(_superseded)
    loop, left = asyncio.get_running_loop(), asyncio.Event()

    def run() -> None:
        try:
            read(lambda frame, newest_wins: mailbox.put(frame, newest_wins=newest_wins))
            mailbox.finish()
        except StreamerError as error:
            mailbox.finish(error)
        except Exception as error:  # noqa: BLE001  # a reader must not die unheard, whatever went wrong in it
            mailbox.finish(SourceError(f"{name}: {type(error).__name__}: {error}"))
        with contextlib.suppress(RuntimeError):  # the loop may be gone if this thread was abandoned
            loop.call_soon_threadsafe(left.set)

    threading.Thread(target=run, name="source", daemon=True).start()
    try:
        yield mailbox
    finally:
        mailbox.finish()
        try:
            async with asyncio.timeout(_FAREWELL):
                await left.wait()
        except TimeoutError:
            _log.warning("a source did not close within %g s and was abandoned", _FAREWELL)


def _superseded(frame: Frame) -> Frame:
    """The record of a frame that a newer one has overtaken, without its pixels."""
    if frame.skipped:
        return frame
    return msgspec.structs.replace(frame, skipped="superseded", pixels=no_pixels)
