"""
Learn how a provider counts what it writes.

Its one job: per (provider, model), the output tokens that whole answers reported against those that we counted of their
text: what a running answer's text is taken to come to.
Rules: feeds what is held for running answers, never a bound. The 95th percentile, so that one answer in twenty comes to
more than was held for it. Keeps the last SAMPLES of the KEYS_MAX models used last.
"""

from collections import OrderedDict

from penia_proxy.budget.rolling import Rolling

SAMPLES = 64
SAMPLES_MIN = 4
KEYS_MAX = 1_000
COUNTED_MIN = 32
"""Tokens counted of an answer that says something: of a short one, the framing is most of what is reported."""

QUANTILE = 0.95


class OutputRatio:
    """Reported ÷ counted output."""

    def __init__(self) -> None:
        self._seen: OrderedDict[tuple[str, str], Rolling] = OrderedDict()

    def observe(self, provider: str, model: str, *, counted: int, reported: int) -> None:
        """Take one whole answer into account."""
        if counted < COUNTED_MIN or reported <= 0:
            return
        ratios = self._seen.get((provider, model))
        if ratios is None:
            ratios = self._seen[provider, model] = Rolling(SAMPLES)
        self._seen.move_to_end((provider, model))
        if len(self._seen) > KEYS_MAX:
            self._seen.popitem(last=False)
        ratios.append(reported / counted)

    def of(self, provider: str, model: str) -> float:
        """Return what a count of a model's text is to be multiplied by; 1 until enough is known."""
        ratios = self._seen.get((provider, model))
        return 1.0 if ratios is None or len(ratios) < SAMPLES_MIN else ratios.quantile(QUANTILE)
