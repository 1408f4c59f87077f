"""
Learn how far estimates are off.

Its one job: per (provider, model), what providers reported against what was estimated: the factors that correct the
next estimate of input and of cost, and the error that is left, for people to see.
Rules: feeds the expectation of `finish` budgets only; a `never` budget holds a bound, which no experience lowers.
Learns from reported usage only, and keeps the last SAMPLES of the KEYS_MAX models used last. Tokens that were counted
and tokens that were bounded by bytes are off by different factors, and are kept apart. What a record keeps of an
estimate is in `Outcome.as_metadata`, so that a start learns what was known before it.
"""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Self

from penia_proxy.budget.estimate import Estimate
from penia_proxy.budget.rolling import Rolling
from penia_proxy.values import quick

SAMPLES = 128
SAMPLES_MIN = 8
"""Fewer do not correct anything: one odd call is no experience."""
KEYS_MAX = 1_000
"""Times five lists of SAMPLES floats: some 20 MB at most."""

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
    cost_factor: float
    """What tokens cost per what they would cost as plain text, as now applied: below 1 where much comes from caches."""


ESTIMATE = "estimate"
"""The member of a record's metadata that says what was estimated."""


@quick
@dataclass(frozen=True, slots=True)
class Outcome:
    """What was estimated of one call, and what it came to."""

    input_raw: int | None
    """The estimated input before experience corrected it; None where it said nothing of the request's own size."""
    input_estimated: int
    counted: bool
    expected_nanos: int | None
    plain_nanos: int | None
    """What the tokens used cost as plain text; None where something else was billed beside them."""
    input_tokens: int
    cost_nanos: int | None

    @classmethod
    def of(cls, estimate: Estimate, *, input_tokens: int, cost_nanos: int | None, plain_nanos: int | None) -> Self:
        """Return the outcome of a call whose answer reported this."""
        return cls(
            input_raw=estimate.input_raw,
            input_estimated=estimate.input_tokens,
            counted=estimate.counted,
            expected_nanos=estimate.ask.expected_nanos,
            plain_nanos=plain_nanos,
            input_tokens=input_tokens,
            cost_nanos=cost_nanos,
        )

    @property
    def as_metadata(self) -> dict[str, Any]:
        """Return what a record keeps of it: what the record itself does not say."""
        kept = {
            "input_raw": self.input_raw,
            "input_tokens": self.input_estimated,
            "counted": self.counted,
            "expected_nanos": self.expected_nanos,
            "plain_nanos": self.plain_nanos,
        }
        return {name: value for name, value in kept.items() if value is not None and value is not False}

    @classmethod
    def from_record(cls, metadata: Mapping[str, Any], *, input_tokens: int, cost_nanos: int | None) -> Self | None:
        """Return the outcome that a record keeps; None where it keeps none that makes sense."""
        kept = metadata.get(ESTIMATE)
        if not isinstance(kept, dict):
            return None
        numbers = [kept.get(name) for name in ("input_raw", "input_tokens", "expected_nanos", "plain_nanos")]
        if any(isinstance(number, bool) or not isinstance(number, int | None) for number in numbers):
            return None
        raw, estimated, expected, plain = numbers
        counted = kept.get("counted") is True
        return cls(raw, estimated or 0, counted, expected, plain, input_tokens, cost_nanos)


class Factors(NamedTuple):
    """What raw estimates are to be multiplied by."""

    by_bytes: float
    """The input, where its text was bounded by bytes."""
    by_count: float
    """The input, where its text was counted."""
    cost: float
    """The price of plain text: caches, tiers and routes make it another."""


UNKNOWN = Factors(1.0, 1.0, 1.0)


def _samples() -> Rolling:
    return Rolling(SAMPLES)


@dataclass(slots=True)
class _Seen:
    by_bytes: Rolling = field(default_factory=_samples)
    by_count: Rolling = field(default_factory=_samples)
    input_error: Rolling = field(default_factory=_samples)
    cost_error: Rolling = field(default_factory=_samples)
    mix: Rolling = field(default_factory=_samples)

    def factors(self) -> Factors:
        return Factors(_correction(self.by_bytes), _correction(self.by_count), _correction(self.mix))


class Calibration:
    """What has been learned, from this process's calls and from the records of those before."""

    def __init__(self) -> None:
        self._seen: OrderedDict[tuple[str, str], _Seen] = OrderedDict()

    def factors(self, provider: str, model: str) -> Factors:
        """Return what corrects the next estimate of a model."""
        seen = self._seen.get((provider, model))
        return UNKNOWN if seen is None else seen.factors()

    def observe(self, provider: str, model: str, outcome: Outcome) -> None:
        """Take one answer's reported input, and its cost, into account."""
        seen = self._seen.get((provider, model))
        if seen is None:
            seen = self._seen[provider, model] = _Seen()
        self._seen.move_to_end((provider, model))
        if len(self._seen) > KEYS_MAX:
            self._seen.popitem(last=False)
        if outcome.input_raw and outcome.input_tokens > 0:
            ratios = seen.by_count if outcome.counted else seen.by_bytes
            ratios.append(outcome.input_tokens / outcome.input_raw)
            seen.input_error.append(outcome.input_estimated / outcome.input_tokens)
        if outcome.expected_nanos is not None and outcome.cost_nanos:
            seen.cost_error.append(outcome.expected_nanos / outcome.cost_nanos)
        if outcome.plain_nanos and outcome.cost_nanos is not None:
            seen.mix.append(outcome.cost_nanos / outcome.plain_nanos)

    def accuracies(self) -> list[Accuracy]:
        """Return how good the estimates have been, by provider and model."""
        found = []
        for (provider, model), seen in sorted(self._seen.items(), key=lambda item: item[0]):
            factors = seen.factors()
            found.append(
                Accuracy(
                    provider=provider,
                    model=model,
                    input_tokens=_spread(seen.input_error),
                    cost=_spread(seen.cost_error),
                    bytes_factor=factors.by_bytes,
                    counted_factor=factors.by_count,
                    cost_factor=factors.cost,
                )
            )
        return found


def _correction(ratios: Rolling) -> float:
    return 1.0 if len(ratios) < SAMPLES_MIN else ratios.quantile(CORRECTION_QUANTILE)


def _spread(samples: Rolling) -> Spread:
    if not samples:
        return Spread(0, None, None)
    return Spread(len(samples), samples.quantile(0.5), samples.quantile(0.95))
