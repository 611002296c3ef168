"""For programs that bring their own pictures: the analysis as a library."""

import asyncio
import threading
from collections.abc import AsyncGenerator, Awaitable, Coroutine
from concurrent.futures import CancelledError, Future
from types import TracebackType
from typing import Any, Self, TypeVar

from streamer.analyst import DEMO, PORTRAIT
from streamer.config import Settings, StreamSettings
from streamer.errors import NotRunningError, PictureError, StreamerError
from streamer.face import Face, FrameResult, Pixels
from streamer.inference.models import Workshop
from streamer.media.budget import DecodingBudget
from streamer.media.opening import Host
from streamer.media.source import Tally, keep_open
from streamer.media.veil import Veil
from streamer.pipeline import analyse_picture, analyse_stream

T = TypeVar("T")


class FaceAnalyzer:
    """Finds and describes faces. Making one loads the models, and fetches them the first time.

    `analyze` may be called from any thread, `stream` in any event loop. Close it, or use it in a `with` block, to
    give its threads back.
    """

    def __init__(self, pipeline: str | None = None, *, settings: Settings | None = None) -> None:
        """`pipeline` is a name or the path of a TOML file; by default `accurate` for pictures, `realtime` for streams.

        Raises ConfigError, ModelError.
        """
        self._settings = settings or Settings()
        self._still = pipeline or self._settings.image_pipeline
        self._live = pipeline or self._settings.pipeline
        self._workshop = Workshop(self._settings)
        self._workshop.models(self._still)
        self._decoding = DecodingBudget(self._workshop.engine.threads)
        self._closed = False
        self._beginning = threading.Lock()  # nothing is begun that closing does not see
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="FaceAnalyzer", daemon=True)
        self._thread.start()

    def analyze(self, picture: Pixels) -> list[Face]:
        """The faces in a picture, uint8 (height, width, 3) BGR, largest first. Raises PictureError, DeviceError,
        NotRunningError.
        """
        if picture.ndim != 3 or picture.shape[2] != 3 or picture.dtype != "uint8" or 0 in picture.shape:
            raise PictureError(
                f"a picture is uint8 (height, width, 3) BGR, not {picture.dtype} {picture.shape}",
                "read it with cv2.imread, or streamer.media.pictures.read_picture",
            )
        return list(self._wait(analyse_picture(picture, self._workshop.models(self._still))))

    async def stream(self, url: str) -> AsyncGenerator[FrameResult, None]:
        """Results of a source, frame by frame, tracked and smoothed; `url` as for `streamer run --source`. Their pixels
        are what the settings' `privacy` allows to be shown.

        Ends with a file; a live source is opened again when it is lost. Raises SourceError for a file that fails,
        NotRunningError.
        """
        models = await asyncio.to_thread(self._workshop.models, self._live)
        portrait = await asyncio.to_thread(self._workshop.picture, PORTRAIT) if url == DEMO else None
        stream, host = StreamSettings(url), Host(self._workshop.engine.threads, self._decoding, portrait)
        veil = Veil(stream, self._settings.privacy)
        if self._settings.privacy.blur:
            stream = stream.overlooking_nobody()
        items = analyse_stream(stream, lambda share: keep_open(stream, share, host, Tally()), models)
        busy = asyncio.Lock()  # who no longer waits for the next result must not close before that has noticed

        async def alone(work: Awaitable[T]) -> T:
            async with busy:
                return await work

        try:
            while (item := await self._here(alone(anext(items, None)))) is not None:
                if isinstance(item, FrameResult):
                    yield veil.over(item)
                elif item.state == "ended" and item.error is not None:
                    raise item.error
        finally:
            if not self._closed:
                await self._here(alone(items.aclose()))

    def close(self) -> None:
        """End what still runs, and the thread. Who waits for a result or asks for one later gets a NotRunningError."""
        with self._beginning:
            closed, self._closed = self._closed, True
        if closed:
            return
        asyncio.run_coroutine_threadsafe(_cancel_others(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._workshop.close()
        self._loop.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @staticmethod
    def _over() -> StreamerError:
        return NotRunningError("this analyzer has been closed", "make another one")

    def _begin(self, work: Coroutine[Any, Any, T]) -> "Future[T]":
        """`work` in the analyzer's own loop, to which the turns for the machine belong."""
        with self._beginning:
            if not self._closed:
                return asyncio.run_coroutine_threadsafe(work, self._loop)
        work.close()
        raise self._over()

    def _wait(self, work: Coroutine[Any, Any, T]) -> T:
        try:
            return self._begin(work).result()
        except CancelledError:
            raise self._over() from None

    async def _here(self, work: Coroutine[Any, Any, T]) -> T:
        begun = self._begin(work)
        try:
            return await asyncio.wrap_future(begun)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if begun.cancelled() and self._closed and task is not None and not task.cancelling():
                raise self._over() from None
            raise


async def _cancel_others() -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
