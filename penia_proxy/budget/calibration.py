"""
Learn how far estimates are off.

Its one job: per (provider, model), what providers reported against what was estimated: the factor that corrects the
next estimate of input, and the error that is left, for people to see.
Rules: feeds the expectation of `finish` budgets only; a `never` budget holds a bound, which no experience lowers.
Learns from reported usage only, and keeps the last SAMPLES of the KEYS_MAX models used last. Tokens that were counted
and tokens that were bounded by bytes are off by different factors, and are kept apart.
"""

from collections import OrderedDict
from dataclasses import dataclass, field

from penia_proxy.budget.estimate import Estimate
from penia_proxy.budget.rolling import Rolling

SAMPLES = 128
SAMPLES_MIN = 8
"""Fewer do not correct anything: one odd call is no experience."""
KEYS_MAX = 1_000
"""Times four lists of SAMPLES floats: some 16 MB at most."""

CORRECTION_QUANTILE = 0.95
"""As the habit of output: an expectation that is too low for one call in twenty, and an overrun of `finish` then."""


@dataclass(frozen=True, slots=True)
class Spread:
    """Estimated ÷ reported: 1 is right, 2 twice too much. None where nothing has been seen."""

    samples: int
    p50: float | None
    p95: float | None


@dataclass(frozen=True, slots=True)
class Accuracy:
    """How good the estimates of one model have been."""

    provider: str
    """As named in the configuration."""
    model: str
    """As asked for."""
    input_tokens: Spread
    cost: Spread
    bytes_factor: float
    """Reported tokens per byte of the bound, as now applied; 1 until enough is known."""
    counted_factor: float
    """Reported tokens per counted token, as now applied."""


def _samples() -> Rolling:
    return Rolling(SAMPLES)


@dataclass(slots=True)
class _Seen:
    by_bytes: Rolling = field(default_factory=_samples)
    by_count: Rolling = field(default_factory=_samples)
    input_error: Rolling = field(default_factory=_samples)
    cost_error: Rolling = field(default_factory=_samples)

    def factor(self, *, counted: bool) -> float:
        ratios = self.by_count if counted else self.by_bytes
        return 1.0 if len(ratios) < SAMPLES_MIN else ratios.quantile(CORRECTION_QUANTILE)


class Calibration:
    """What has been learned since the start. Records do not hold the tokens estimated, so a start begins anew."""

    def __init__(self) -> None:
        self._seen: OrderedDict[tuple[str, str], _Seen] = OrderedDict()

    def factor(self, provider: str, model: str, *, counted: bool) -> float:
        """Return what the raw estimate of a model's input is to be multiplied by."""
        seen = self._seen.get((provider, model))
        return 1.0 if seen is None else seen.factor(counted=counted)

    def observe(
        self, provider: str, model: str, estimate: Estimate, *, input_tokens: int, cost_nanos: int | None
    ) -> None:
        """Take one answer's reported input, and its cost, into account."""
        seen = self._seen.get((provider, model))
        if seen is None:
            seen = self._seen[provider, model] = _Seen()
        self._seen.move_to_end((provider, model))
        if len(self._seen) > KEYS_MAX:
            self._seen.popitem(last=False)
        if estimate.input_raw and input_tokens > 0:
            ratios = seen.by_count if estimate.counted else seen.by_bytes
            ratios.append(input_tokens / estimate.input_raw)
            seen.input_error.append(estimate.input_tokens / input_tokens)
        if estimate.ask.expected_nanos is not None and cost_nanos:
            seen.cost_error.append(estimate.ask.expected_nanos / cost_nanos)

    def accuracies(self) -> list[Accuracy]:
        """Return how good the estimates have been, by provider and model."""
        return [
            Accuracy(
                provider=provider,
                model=model,
                input_tokens=_spread(seen.input_error),
                cost=_spread(seen.cost_error),
                bytes_factor=seen.factor(counted=False),
                counted_factor=seen.factor(counted=True),
            )
            for (provider, model), seen in sorted(self._seen.items(), key=lambda item: item[0])
        ]


def _spread(samples: Rolling) -> Spread:
    if not samples:
        return Spread(0, None, None)
    return Spread(len(samples), samples.quantile(0.5), samples.quantile(0.95))
