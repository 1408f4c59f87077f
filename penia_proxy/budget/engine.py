"""
Decide: allow, warn or block.

Its one job: given the budgets that cover a call, what it may cost, and what their windows have seen, reach a verdict.
Rules: everything that decides is here and pure; where the figures live (`Counters`) is somebody else's. A verdict names
every budget and figure that led to it. Must not know HTTP, the ledger, or the time.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Literal, NamedTuple, Protocol

from penia_proxy.budget.book import BudgetBook
from penia_proxy.budget.budget import Budget
from penia_proxy.budget.money import usd_text
from penia_proxy.budget.record import Tally, UsageRecord
from penia_proxy.budget.scope import Facts
from penia_proxy.budget.windows import Window, WindowKey
from penia_proxy.config import Period
from penia_proxy.values import quick

CHEAPER_TRIED = 8
"""Models that are judged in place of one that is refused: where the cheapest do not fit, hardly a dearer one does."""

AMOUNT_MAX = 2**63 - 1
"""More than any amount."""

VerdictKind = Literal["allow", "warn", "block"]
BlockCode = Literal["budget_exceeded", "approval_required", "budget_busy", "unpriced_model", "unbounded_call"]


@quick
@dataclass(frozen=True, slots=True)
class Ask:
    """What a call may cost. Both amounts None: no price is known. Only ``most_nanos`` None: no bound is known."""

    expected_nanos: int | None
    most_nanos: int | None
    unbounded_why: str = ""
    """What in the request has no bound, for the refusal's sentence; never content."""
    least_nanos: int = 0
    """The input and the first step of output: less is not worth beginning with, where a budget may cut the call off."""
    grows: bool = True
    """Whether more can be held while the answer comes: it streams. Else a cut-off must be agreed on before."""


@quick
@dataclass(frozen=True, slots=True)
class Leg:
    """One budget's part in a call: the windows it counts in, and the amount this budget's `overrun` rule holds."""

    budget: Budget
    windows: tuple[Window, ...]
    amount_nanos: int
    at: datetime
    """The call's instant: what its windows may spend is what they may spend then."""
    limits: Mapping[Period, int]
    """`Budget.limits_at` that instant."""
    code: BlockCode | None = None
    """Set where the amount itself cannot be had; the figures then do not matter."""
    least_nanos: int | None = None
    """Set where the budget may cut the call off: down to this, the amount is what there is room for."""
    is_free: bool = False
    """Whether the call can cost nothing: then there is room for it, also where more than the limit is spent."""

    @property
    def truncates(self) -> bool:
        """Whether the budget cuts the call off where it cannot hold more."""
        return self.least_nanos is not None

    def fitted(self, tallies: Sequence[Tally]) -> "Leg":
        """Return the leg with the amount that there is room for; ``tallies`` are in the order of ``windows``."""
        if self.least_nanos is None:
            return self
        amount = min(self.amount_nanos, self.room(tallies))
        return replace(self, amount_nanos=max(amount, min(self.least_nanos, self.amount_nanos)))

    def room(self, tallies: Sequence[Tally]) -> int:
        """Return what is left in the window that has the least; ``AMOUNT_MAX`` where none has a limit."""
        room = AMOUNT_MAX
        for window, tally in zip(self.windows, tallies, strict=True):
            limit = self.limits.get(window.period)
            if limit is not None:
                room = min(room, limit - tally.spent_nanos - tally.held_nanos)
        return room

    def keys(self) -> list[WindowKey]:
        """Return the counters' keys of this leg, in the order of ``windows``."""
        budget_id = self.budget.budget_id
        return [WindowKey(budget_id, window.period, window.start) for window in self.windows]


@quick
@dataclass(frozen=True, slots=True)
class LegVerdict:
    """One budget and window's word, with the figures at that moment, before this call's own amount."""

    budget: Budget
    window: Window
    kind: VerdictKind
    code: BlockCode | None
    """Why it blocks, or would if it were not a shadow or a warning."""
    limit_nanos: int | None
    spent_nanos: int
    held_nanos: int
    amount_nanos: int

    @property
    def remaining_nanos(self) -> int | None:
        """Limit − spent − held, without this call; None where there is no limit."""
        return None if self.limit_nanos is None else self.limit_nanos - self.spent_nanos - self.held_nanos


class Cheaper(NamedTuple):
    """A model that does the same for less, and fits."""

    model: str
    amount_nanos: int
    """What would be held for it."""


@quick
@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer for a call, and everything that led to it."""

    kind: VerdictKind
    code: BlockCode | None
    reason: str
    amount_nanos: int
    """The largest amount any budget holds for this call."""
    legs: tuple[Leg, ...]
    words: tuple[LegVerdict, ...]
    """One per limited window, and one per budget whose leg has a code."""
    cheaper: Cheaper | None = None
    """Of a refusal: what would fit instead, if anything is known to."""

    budget_ids: tuple[str, ...] = field(init=False)
    """The budgets that apply, most specific first."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "budget_ids", tuple([leg.budget.budget_id for leg in self.legs]))

    @property
    def remaining_nanos(self) -> int | None:
        """The smallest remaining amount among the limits, this call's hold taken off; None without any limit."""
        left = [word.remaining_nanos - word.amount_nanos for word in self.words if word.remaining_nanos is not None]
        return min(left, default=None)


class Judged(NamedTuple):
    """The legs at the amounts that there is room for, and what each window says of them."""

    legs: list[Leg]
    words: list[LegVerdict]


class Counters(Protocol):
    """Spent and held, per budget and window. Each method is one indivisible step."""

    async def reserve(self, legs: Sequence[Leg]) -> Judged:
        """Judge all legs; hold every amount in every window if none blocks, and nothing anywhere otherwise."""
        ...

    async def judge(self, legs: Sequence[Leg]) -> Judged:
        """Judge all legs and hold nothing."""
        ...

    async def extend(self, legs: Sequence[Leg], grown: Sequence[Leg]) -> bool:
        """
        Hold what ``grown`` has more than ``legs``, which are held; return whether it was.

        Nothing is, where a leg that truncates has no room.
        """
        ...

    async def settle(self, legs: Sequence[Leg], record: UsageRecord) -> None:
        """Turn what the legs hold into the record's spend."""
        ...

    async def release(self, legs: Sequence[Leg]) -> None:
        """Give back what the legs hold."""
        ...

    async def charge(self, record: UsageRecord, budgets: Sequence[Budget]) -> None:
        """Count a record that had no hold."""
        ...

    async def in_flight(self, budget_id: str) -> int:
        """Return how many calls have an open hold in a budget, also of 0."""
        ...

    async def read(self, keys: Sequence[WindowKey]) -> list[Tally]:
        """Return copies of the tallies, zeros for windows that have seen nothing."""
        ...


def leg_of(budget: Budget, ask: Ask, at: datetime) -> Leg:
    """Return what this budget holds for a call, by its `overrun` and `unpriced` rules."""
    windows, limits = budget.calendar.windows(at), budget.limits_at(at)
    if ask.most_nanos == 0:
        return Leg(budget, windows, 0, at, limits, is_free=True)
    if ask.expected_nanos is None:
        return Leg(budget, windows, 0, at, limits, None if budget.unpriced == "allow" else "unpriced_model")
    overrun = budget.overrun
    least = ask.least_nanos if overrun == "truncate" else None
    if overrun == "finish" or (overrun == "truncate" and ask.grows):
        return Leg(budget, windows, ask.expected_nanos, at, limits, None, least)
    if ask.most_nanos is None:
        return Leg(budget, windows, ask.expected_nanos, at, limits, "unbounded_call" if budget.blocks else None)
    return Leg(budget, windows, ask.most_nanos, at, limits, None, least)


def judge_leg(leg: Leg, tallies: Sequence[Tally]) -> list[LegVerdict]:
    """
    Judge one budget; ``tallies`` are in the order of ``leg.windows``.

    The condition is DESIGN.md §5's: spent + held + this call > limit, for a call that can cost anything. *Exceeded*
    would not fit even with nothing in flight, *busy* would.
    """
    words: list[LegVerdict] = []
    for window, tally in zip(leg.windows, tallies, strict=True):
        limit = leg.limits.get(window.period)
        if limit is None:
            continue
        used = tally.spent_nanos + tally.held_nanos + leg.amount_nanos
        code: BlockCode | None = leg.code
        if used > limit and not leg.is_free:
            # Also where the call's own price is unknown: a limit that is used up is used up for it as well.
            code = "budget_busy"
            if tally.spent_nanos + leg.amount_nanos > limit:
                code = _exceeded(leg, window)
        kind = _kind(leg.budget, code, warned=used >= limit * leg.budget.warn_at and used > 0)
        words.append(
            LegVerdict(leg.budget, window, kind, code, limit, tally.spent_nanos, tally.held_nanos, leg.amount_nanos)
        )
    if leg.code is not None and not words:
        kind = _kind(leg.budget, leg.code, warned=False)
        words.append(LegVerdict(leg.budget, leg.windows[-1], kind, leg.code, None, 0, 0, leg.amount_nanos))
    return words


def _exceeded(leg: Leg, window: Window) -> BlockCode:
    if leg.budget.spec.enforcement == "approve" and not leg.budget.denies(window.period, leg.at):
        return "approval_required"
    return "budget_exceeded"


def _kind(budget: Budget, code: BlockCode | None, *, warned: bool) -> VerdictKind:
    enforcement = budget.spec.enforcement
    if code == "unpriced_model":
        # `unpriced` is a rule of its own: a budget that only warns about money may still refuse what it cannot count.
        return "block" if budget.unpriced == "block" and not budget.spec.shadow else "warn"
    if enforcement == "track":
        return "allow"
    if code is not None:
        return "block" if budget.refuses else "warn"
    return "warn" if warned else "allow"


def blocks(words: Iterable[LegVerdict]) -> bool:
    """Whether any word refuses the call."""
    return any(word.kind == "block" for word in words)


_CURES = {"approval_required": 1, "budget_busy": 2}
"""What cures a refusal: somebody's word, or a moment's waiting. Of several the one that is cured least decides."""


def verdict_of(legs: Sequence[Leg], words: Sequence[LegVerdict], ask: Ask) -> Verdict:
    """
    Sum the words up.

    A refusal is *busy* only when every budget that refuses is, and asks for approval only where that would help.
    """
    amount = max((leg.amount_nanos for leg in legs), default=ask.expected_nanos or 0)
    refusing = [word for word in words if word.kind == "block"]
    if refusing:
        final = min(refusing, key=lambda word: _CURES.get(word.code or "", 0))
        return Verdict("block", final.code, _sentence(final, ask), amount, tuple(legs), tuple(words))
    warning = [word for word in words if word.kind == "warn"]
    if warning:
        return Verdict("warn", None, _sentence(warning[0], ask), amount, tuple(legs), tuple(words))
    reason = "Fits every budget that applies." if legs else "No budget applies."
    return Verdict("allow", None, reason, amount, tuple(legs), tuple(words))


def _sentence(word: LegVerdict, ask: Ask) -> str:
    name = f"Budget '{word.budget.name}'"
    if word.code == "unpriced_model":
        return f"{name} requires a price, and none is known for this model."
    if word.code == "unbounded_call":
        return f"{name} must never be overrun, and the most this call can cost is not known: {ask.unbounded_why}."
    limit = word.limit_nanos or 0
    figures = (
        f"{word.window.period} ${usd_text(limit)}, of which ${usd_text(word.spent_nanos)} is spent and"
        f" ${usd_text(word.held_nanos)} held; this call may cost ${usd_text(word.amount_nanos)}"
    )
    if word.code == "budget_busy":
        return f"{name} is busy: {figures}. It fits once calls in flight settle."
    if word.code == "approval_required":
        return f"{name} needs somebody's approval for this call: {figures}."
    if word.code == "budget_exceeded":
        denied = " More was asked for, and denied." if word.budget.spec.enforcement == "approve" else ""
        return f"{name} is exhausted for this call: {figures}.{denied}"
    return f"{name} is close to its limit: {figures}."


class Engine:
    """The rules over the book of budgets and the counters in force."""

    def __init__(self, book: BudgetBook, counters: Counters) -> None:
        self._book = book
        self._counters = counters

    async def reserve(self, facts: Facts, ask: Ask, at: datetime) -> Verdict:
        """Hold the call in every budget and window that applies, in one step, unless the verdict is ``block``."""
        legs = [leg_of(budget, ask, at) for budget in self._book.covering(facts)]
        judged = await self._counters.reserve(legs)
        return verdict_of(judged.legs, judged.words, ask)

    async def extend(self, verdict: Verdict, amount_nanos: int) -> Verdict | None:
        """
        Hold so much for a call that outgrows what is held for it; None where a budget that truncates has no room.

        What holds the most that a call can cost does not grow.
        """
        grown = [
            leg
            if leg.budget.overrun == "never" or leg.amount_nanos >= amount_nanos
            else replace(leg, amount_nanos=amount_nanos)
            for leg in verdict.legs
        ]
        if not await self._counters.extend(verdict.legs, grown):
            return None
        return replace(verdict, legs=tuple(grown), amount_nanos=max(verdict.amount_nanos, amount_nanos))

    def covering(self, facts: Facts) -> tuple[Budget, ...]:
        """Return the budgets that apply to a call, most specific first."""
        return self._book.covering(facts)

    def named(self, budget_ids: Iterable[str]) -> list[Budget]:
        """Return the budgets of these ids that there are."""
        found = (self._book.get(budget_id) for budget_id in budget_ids)
        return [budget for budget in found if budget is not None]

    async def check(self, facts: Facts, *, expected_nanos: int | None, most_nanos: int | None, at: datetime) -> Verdict:
        """Return the verdict the call would get, and hold nothing."""
        why = "the check did not say" if most_nanos is None else ""
        return await self.judge(facts, Ask(expected_nanos, most_nanos, why), at)

    async def cheapest_that_fits(self, facts: Facts, asks: Mapping[str, Ask], at: datetime) -> Cheaper | None:
        """Return, of a call's cost at other models, the least that would pass; hold nothing."""
        known = [(ask.expected_nanos, model) for model, ask in asks.items() if ask.expected_nanos is not None]
        for _, model in sorted(known)[:CHEAPER_TRIED]:
            verdict = await self.judge(replace(facts, model=model), asks[model], at)
            if verdict.kind != "block":
                return Cheaper(model, verdict.amount_nanos)
        return None

    async def judge(self, facts: Facts, ask: Ask, at: datetime) -> Verdict:
        """Return the verdict the call would get, and hold nothing."""
        legs = [leg_of(budget, ask, at) for budget in self._book.covering(facts)]
        judged = await self._counters.judge(legs)
        return verdict_of(judged.legs, judged.words, ask)
