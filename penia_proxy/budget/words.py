"""
Keep what a verdict was made of.

Its one job: a verdict ↔ a few hundred bytes of text, that a record or a refusal keeps so that it can be explained.
Rules: written on the path of every call, so it is short and made once. Names and calendars are not in it: ids are, and
the window's start. What cannot be read is no explanation, and never an error.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import orjson

from penia_proxy.budget.engine import Verdict, VerdictKind
from penia_proxy.config import Period


@dataclass(frozen=True, slots=True)
class Word:
    """One window's part in a verdict, with the figures before the call's own amount."""

    budget_id: str
    period: Period
    window_start: datetime
    kind: VerdictKind
    code: str | None
    limit_nanos: int | None
    spent_nanos: int
    held_nanos: int
    amount_nanos: int


@dataclass(frozen=True, slots=True)
class Words:
    """What a verdict was made of."""

    kind: VerdictKind
    reason: str
    budgets: tuple[tuple[str, tuple[Word, ...]], ...]
    """Each budget that applied, most specific first, with its words: none where nothing limits it."""


def text_of(verdict: Verdict) -> str:
    """Return the text to keep: kind, reason, and of each budget its id and its words."""
    budgets: dict[str, list[Any]] = {budget_id: [budget_id] for budget_id in verdict.budget_ids}
    for word in verdict.words:
        period, start, _ = word.window
        figures = (word.limit_nanos, word.spent_nanos, word.held_nanos, word.amount_nanos)
        budgets[word.budget.budget_id].append((period, _seconds(start), word.kind, word.code, *figures))
    return orjson.dumps((verdict.kind, verdict.reason, list(budgets.values()))).decode()


@lru_cache(maxsize=1024)
def _seconds(start: datetime) -> int:
    """Return a window's start as a number; for an hour it is the same few that are asked for."""
    return int(start.timestamp())


def words_of(text: str | None) -> Words | None:
    """Return what was kept; None where nothing was, or where another version wrote it."""
    try:
        kind, reason, budgets = orjson.loads(text or "")
        return Words(
            kind,
            reason,
            tuple(
                (
                    budget_id,
                    tuple(
                        Word(budget_id, period, datetime.fromtimestamp(start, UTC), *said)
                        for period, start, *said in words
                    ),
                )
                for budget_id, *words in budgets
            ),
        )
    except (ValueError, TypeError):
        return None


def kind_of(text: str | None) -> str | None:
    """Return the kind alone of what `text_of` made, without reading the rest; None where nothing was kept."""
    return text.split('"', 2)[1] if text and text.startswith('["') else None


@dataclass(frozen=True, slots=True)
class Refusal:
    """A call that a budget refused: who asked for what, and why not. No content."""

    request_id: str
    at: datetime
    component: str
    provider: str
    model: str
    code: str
    message: str
    budget_id: str
    """The budget whose word decided."""
    amount_nanos: int
    words: str
    approval_id: str | None = None
    not_kept: int = 0
    """Refusals since the one kept before that were too many to keep."""
