"""
Meter batches, whosever they are.

Its one job: many requests as one size, before; and after, one bill out of the lines of a file of results.
Rules: a batch has no bound that a hold could be, so a `never` budget refuses it; its bill is what its results say, at
the price of batches, and counts once however often they are read. Requests that failed are billed nothing. What is not
a file of results passes, and says nothing.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from penia_proxy.budget.estimate import Size
from penia_proxy.budget.usage import BATCH_TIER, Usage
from penia_proxy.wire.call import Noted, Reading, Work
from penia_proxy.wire.content import dicts
from penia_proxy.wire.meters import Reader
from penia_proxy.wire.ndjson import NdjsonMeter
from penia_proxy.wire.reported import json_of

BATCH_S = 26 * 3600
"""
How long a batch's results are awaited: providers promise them within a day (``completion_window`` in openai-python
3.54.0, ``expires_at`` in anthropic-python 2.12.0), and somebody must read them then.
"""

REQUESTS_MAX = 200_000
"""Lines of results that are read: OpenAI takes 50,000 requests a batch, Anthropic 100,000, Google 200,000."""

UNBOUNDED = "the bill of a batch comes with its results"

Parts = tuple[tuple[str | None, Usage], ...]


def size_of_all(sizes: Sequence[Size]) -> Size:
    """Return the size of a batch of requests."""
    caps = [size.output_cap for size in sizes]
    known = [cap for cap in caps if cap is not None]
    return Size(
        text_bytes=sum(size.text_bytes for size in sizes),
        images=sum(size.images for size in sizes),
        image_tokens_max=max((size.image_tokens_max for size in sizes), default=0),
        messages=sum(size.messages for size in sizes),
        hidden_tokens=sum(size.hidden_tokens for size in sizes),
        output_cap=max(known) if known and len(known) == len(caps) else None,
        choices=sum(size.choices for size in sizes),
        no_output=bool(sizes) and all(size.no_output for size in sizes),
        service_tier=BATCH_TIER,
        requests=max(1, len(sizes)),
        unbounded_why=UNBOUNDED,
    )


def batched(reading: Reading) -> Parts:
    """Return what one answer of a batch reports, at the price of batches."""
    return tuple((model, usage.with_tier(BATCH_TIER)) for model, usage in reading.parts)


class Results:
    """Reads results, one JSON object at a time."""

    def __init__(self, read: Callable[[Mapping[str, Any]], Reading | None]) -> None:
        """``read`` takes one result, and returns None for what is none or has failed."""
        self._read = read
        self._parts: list[tuple[str | None, Usage]] = []
        self._seen = 0

    def document(self, answer: Mapping[str, Any]) -> None:
        self._seen += 1
        reading = self._read(answer) if self._seen <= REQUESTS_MAX else None
        if reading is not None:
            self._parts += batched(reading)

    def event(self, payload: bytes) -> bool:
        result = json_of(payload)
        if isinstance(result, dict):
            self.document(result)
        return True

    @property
    def whole(self) -> bool:
        """Whether all there was could be read."""
        return self._seen <= REQUESTS_MAX

    def reading(self) -> Reading:
        return Reading(parts=tuple(self._parts))


class ListReader:
    """Reads a list of batches, for the files that they name."""

    def __init__(self, members: str, reader: Callable[[], Reader]) -> None:
        """``members`` is what the list calls them; ``reader`` makes what reads one."""
        self._members = members
        self._reader = reader
        self._noted: dict[str, Noted] = {}

    def document(self, answer: Mapping[str, Any]) -> None:
        for batch in dicts(answer.get(self._members)):
            one = self._reader()
            one.document(batch)
            self._noted.update(one.reading().noted)

    def event(self, payload: bytes) -> bool:  # noqa: ARG002 - a list is one document
        return True

    def reading(self) -> Reading:
        return Reading(noted=self._noted)


class ResultsMeter:
    """Reads a file of results; what ended before its end states no bill."""

    streams = True
    growing = None

    def __init__(self, results: Results, work: Work) -> None:
        self._results = results
        self._work = work
        self._lines = NdjsonMeter(results)
        self._ended = False

    def feed(self, data: bytes) -> bytes:
        return self._lines.feed(data)

    def end(self) -> bytes:
        self._ended = True
        return self._lines.end()

    def reading(self) -> Reading:
        parts = self._results.reading().parts
        whole = self._ended and self._results.whole
        return Reading(parts=parts, complete=whole and bool(parts), finished=whole, work=self._work if parts else None)
