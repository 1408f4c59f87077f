"""
Compare what a provider billed with what was captured.

Its one job: two sets of (day, model) amounts → one line each, and the capture rate: captured ÷ billed.
Rules: days are UTC's, as providers' reports have them. A model's dated snapshot and its name without the date are one
(`gpt-4o-2024-08-06`, `gpt-4o`): which of the two is billed and which was recorded is chance. What is billed without a
model's name is compared within the day's whole only. A rate of nothing billed is not known.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date

_SNAPSHOT = re.compile(r"[-@](\d{4}-\d{2}-\d{2}|20\d{6})$")

DRIFT = 0.02
"""What a rate may differ from 1: prices are rounded otherwise, and a day's last calls may be billed on the next."""
DRIFT_NANOS_MIN = 10_000_000
"""A cent: below it a rate says nothing."""


@dataclass(frozen=True, slots=True)
class Billed:
    """One line of a provider's report."""

    day: date
    model: str | None
    """None: the report does not say."""
    nanos: int


@dataclass(frozen=True, slots=True)
class Report:
    """What a provider says that it billed."""

    source: str
    """Whose report: ``openai`` or ``anthropic``."""
    days: tuple[date, ...]
    """Those it covers, in order, also where nothing was billed."""
    lines: tuple[Billed, ...]
    is_whole: bool
    """Whether its last page was there."""


@dataclass(frozen=True, slots=True)
class Captured:
    """What was recorded of one model on one day."""

    day: date
    model: str
    nanos: int
    requests: int
    unpriced: int


@dataclass(slots=True)
class Line:
    """One day and model, billed against captured; ``model`` None: what was billed without one."""

    day: date
    model: str | None
    billed_nanos: int = 0
    captured_nanos: int = 0
    requests: int = 0
    unpriced: int = 0


def compared(report: Report, captured: Iterable[Captured]) -> list[Line]:
    """Return a line for each day and model that was billed or captured, in that order."""
    lines: dict[tuple[date, str], Line] = {}

    def line(day: date, model: str | None) -> Line:
        name = None if model is None else family(model)
        return lines.setdefault((day, name or ""), Line(day, name))

    for billed in report.lines:
        line(billed.day, billed.model).billed_nanos += billed.nanos
    for used in captured:
        found = line(used.day, used.model)
        found.captured_nanos += used.nanos
        found.requests += used.requests
        found.unpriced += used.unpriced
    return [lines[key] for key in sorted(lines)]


def family(model: str) -> str:
    """Return a model's name without the date of its snapshot."""
    return _SNAPSHOT.sub("", model)


def rate(billed_nanos: int, captured_nanos: int) -> float | None:
    """Return the part that was captured; None where nothing was billed."""
    return captured_nanos / billed_nanos if billed_nanos > 0 else None


def drifts(billed_nanos: int, captured_nanos: int, *, tolerance: float = DRIFT) -> bool:
    """Whether what was captured is so far from what was billed that somebody should look."""
    apart = abs(billed_nanos - captured_nanos)
    return apart >= DRIFT_NANOS_MIN and apart > tolerance * max(billed_nanos, 0)


def totals(lines: Iterable[Line]) -> Mapping[str, int]:
    """Return what all lines come to."""
    kept = list(lines)
    return {
        "billed_nanos": sum(line.billed_nanos for line in kept),
        "captured_nanos": sum(line.captured_nanos for line in kept),
    }
