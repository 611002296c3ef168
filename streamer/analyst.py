"""What is done with one stream of a run: it is kept open, analysed, and nothing is shown that must not be."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

from streamer.config import Settings
from streamer.face import Frame, FrameResult
from streamer.fleet import StreamReport
from streamer.inference.models import Models, Workshop
from streamer.media.budget import DecodingBudget
from streamer.media.opening import Host
from streamer.media.source import StateChange, keep_open
from streamer.media.veil import Veil
from streamer.pipeline import analyse_stream
from streamer.turns import Share

_LATE = 0.6  # of the age that a result may have: decoders give way before that is reached
DEMO, PORTRAIT = "demo", "portrait"  # the source, and the card of its picture


class Analyst:
    """All streams that one process analyses share its models and its time for decoding."""

    def __init__(self, settings: Settings, workshop: Workshop, models: Models) -> None:
        self._privacy = settings.privacy
        self._blurred = settings.privacy.blur or settings.video.blur
        self._workshop = workshop
        self._models = models
        self._decoding = DecodingBudget(workshop.engine.threads)

    async def analyse(self, report: StreamReport) -> AsyncGenerator[FrameResult | StateChange, None]:
        """The results of one stream, going on where it was stopped."""
        stream, engine = report.settings, self._workshop.engine
        portrait = await asyncio.to_thread(self._workshop.picture, PORTRAIT) if stream.url == DEMO else None
        host = Host(engine.threads, self._decoding, portrait)

        def source(share: Share) -> AsyncGenerator[Frame | StateChange, None]:
            return keep_open(stream, share, host, report.source, report.next_seq)

        veil = Veil(stream, self._privacy)
        if self._blurred:
            stream = stream.overlooking_nobody()
        raw = not self._privacy.coordinates_only
        async with aclosing(analyse_stream(stream, source, self._models, raw, report.next_track)) as items:
            async for item in items:
                if isinstance(item, FrameResult) and item.frame.live and item.took > _LATE * stream.max_age:
                    self._decoding.late()
                    engine.turns.late()
                yield veil.over(item) if isinstance(item, FrameResult) else item
