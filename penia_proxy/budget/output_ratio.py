"""
Learn how a provider counts what it writes.

Its one job: per (provider, model), the output tokens that whole answers reported against their text as we count it, and
against the pieces that it came in: what a running answer is taken to come to.
Rules: feeds what is held for running answers, never a bound. The 95th percentile, so that one answer in twenty comes to
more than was held for it. Many providers send a piece a token: where pieces have told the tokens better than the text
did, they are believed, but never below what the text has come to at the least. Keeps the last SAMPLES of the KEYS_MAX
models used last.
"""

import math
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import NamedTuple

from penia_proxy.budget.rolling import Rolling

SAMPLES = 64
SAMPLES_MIN = 4
KEYS_MAX = 1_000
COUNTED_MIN = 32
"""Tokens counted of an answer that says something: of a short one, the framing is most of what is reported."""

HIGH = 0.95
LOW = 0.05


class Written(NamedTuple):
    """Output, as it passed."""

    counted: int
    """Tokens of its text, as we count."""
    pieces: int


def _samples() -> Rolling:
    return Rolling(SAMPLES)


@dataclass(slots=True)
class _Seen:
    by_text: Rolling = field(default_factory=_samples)
    by_piece: Rolling = field(default_factory=_samples)

    def tokens(self, written: Written) -> int:
        most = math.ceil(written.counted * self.by_text.quantile(HIGH))
        if _spread(self.by_piece) >= _spread(self.by_text):
            return most
        least = math.ceil(written.counted * self.by_text.quantile(LOW))
        return min(most, max(least, math.ceil(written.pieces * self.by_piece.quantile(HIGH))))


class OutputRatio:
    """Reported ÷ written output."""

    def __init__(self) -> None:
        self._seen: OrderedDict[tuple[str, str], _Seen] = OrderedDict()

    def observe(self, provider: str, model: str, written: Written, *, reported: int) -> None:
        """Take one whole answer into account."""
        if written.counted < COUNTED_MIN or written.pieces <= 0 or reported <= 0:
            return
        seen = self._seen.get((provider, model))
        if seen is None:
            seen = self._seen[provider, model] = _Seen()
        self._seen.move_to_end((provider, model))
        if len(self._seen) > KEYS_MAX:
            self._seen.popitem(last=False)
        seen.by_text.append(reported / written.counted)
        seen.by_piece.append(reported / written.pieces)

    def tokens(self, provider: str, model: str, written: Written) -> int:
        """Return what so much output is taken to come to, in its tokens; as counted until enough is known."""
        seen = self._seen.get((provider, model))
        if seen is None or len(seen.by_text) < SAMPLES_MIN:
            return written.counted
        return seen.tokens(written)


def _spread(ratios: Rolling) -> float:
    return ratios.quantile(HIGH) / ratios.quantile(LOW)
