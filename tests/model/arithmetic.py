"""
What the books must say.

Its one job: holds and records as two plain lists, and sums over them, which a reader can check by hand. Rules: nothing
is kept that could be summed; of the product it uses the values of `Budget` and where its calendar's windows begin and
end (those have a test of their own, tests/unit/test_windows.py).
"""

from dataclasses import dataclass, field
from datetime import datetime
from fnmatch import fnmatchcase
from functools import cache

from penia_proxy.budget.budget import Budget
from penia_proxy.budget.engine import Ask
from penia_proxy.budget.windows import Calendar, Window, WindowKey

NO_LIMIT = 10**18


@dataclass
class Open:
    """A hold."""

    at: datetime
    amounts: dict[str, int]
    """By the budgets that apply, most specific first: what each holds."""
    amount: int
    """The largest; the expected cost where no budget applies."""
    budgets: dict[str, Budget] = field(default_factory=dict)
    """Those budgets as they were when the call was admitted: it goes by them to its end."""
    cut: frozenset[str] = frozenset()
    """The budgets that end the call where they cannot hold more."""
    key: str | None = None
    """The name under which its bill comes later."""


@dataclass(frozen=True)
class Line:
    """A record."""

    name: str
    at: datetime
    budgets: tuple[str, ...]
    cost: int | None
    basis: str
    corrects: str | None = None
    key: str | None = None
    guess: bool = False
    """Whether a bill that comes later corrects it."""
    by_hand: bool = False
    """Of a correction: whether somebody has said so; else it is the bill."""


@dataclass(frozen=True)
class Ruled:
    """What was granted to a window of a budget, or, where it is None, that more was denied."""

    budget: str
    period: str
    at: datetime
    amount: int | None
    expires: datetime | None = None


@dataclass
class Sums:
    """What one budget's window has seen."""

    spent: int = 0
    held: int = 0
    requests: int = 0
    unpriced: int = 0


@cache
def windows(calendar: Calendar, at: datetime) -> tuple[Window, ...]:
    return calendar.windows(at)


@dataclass
class Arithmetic:
    """Everything that has happened, as lists."""

    budgets: dict[str, Budget] = field(default_factory=dict)
    open: dict[str, Open] = field(default_factory=dict)
    lines: list[Line] = field(default_factory=list)
    rulings: list[Ruled] = field(default_factory=list)

    def limit(self, budget: Budget, period: str, at: datetime) -> int | None:
        """Return what the window of an instant may spend then."""
        own = getattr(budget.spec, f"{period}_limit")
        given = [one for one in self._within(budget, period, at) if one.expires is None or at < one.expires]
        return None if own is None else round(own * 10**9) + sum(one.amount or 0 for one in given)

    def denied(self, budget: Budget, period: str, at: datetime) -> bool:
        """Whether the last word on the window of an instant is that it gets no more."""
        words = self._within(budget, period, at)
        last = max((one.at for one in words if one.amount is None), default=None)
        return last is not None and not any(one.amount is not None and one.at >= last for one in words)

    def _within(self, budget: Budget, period: str, at: datetime) -> list[Ruled]:
        (window,) = (one for one in windows(budget.calendar, at) if one.period == period)
        return [
            one
            for one in self.rulings
            if (one.budget, one.period) == (budget.budget_id, period)
            and window.start <= one.at
            and (window.end is None or one.at < window.end)
        ]

    def sums(self) -> dict[WindowKey, Sums]:
        """Add everything up, per budget and window."""
        found: dict[WindowKey, Sums] = {}
        for hold in self.open.values():
            for name, amount in hold.amounts.items():
                for key in self.keys(name, hold.at):
                    found.setdefault(key, Sums()).held += amount
        for line in self.lines:
            for name in line.budgets:
                for key in self.keys(name, line.at):
                    sums = found.setdefault(key, Sums())
                    sums.spent += line.cost or 0
                    sums.requests += line.corrects is None
                    sums.unpriced += (line.basis == "unpriced") - (line.basis == "repriced")
        return found

    def keys(self, name: str, at: datetime) -> list[WindowKey]:
        return [WindowKey(name, one.period, one.start) for one in windows(self.budgets[name].calendar, at)]

    def covering(self, component: str, model: str, tags: dict[str, str]) -> list[Budget]:
        """Return the budgets that apply, most specific first; of equals, the oldest."""
        found = [
            budget
            for budget in self.budgets.values()
            if budget.is_active
            and _any_of(budget.spec.scope.components, component)
            and _any_of(budget.spec.scope.models, model)
            and all(fnmatchcase(tags.get(tag, ""), glob) for tag, glob in budget.spec.scope.tags.items())
        ]
        return sorted(found, key=lambda budget: (-_asks(budget), budget.created_at))

    def amount(self, budget: Budget, ask: Ask, at: datetime) -> int:
        """Return what a budget holds of a call: where it may cut it off, what there is room for, down to the least."""
        bounded = budget.spec.overrun == "never" and ask.most_nanos is not None
        amount = (ask.most_nanos if bounded else ask.expected_nanos) or 0
        if cuts(budget, ask):
            amount = max(min(amount, self.room(budget, at)), min(ask.least_nanos, amount))
        return amount

    def room(self, budget: Budget, at: datetime) -> int:
        """Return what is left in the window that has the least."""
        sums, room = self.sums(), NO_LIMIT
        for key in self.keys(budget.budget_id, at):
            limit, seen = budget.limits.get(key.period), sums.get(key, Sums())
            room = room if limit is None else min(room, limit - seen.spent - seen.held)
        return room

    def grown(self, name: str, amount: int) -> dict[str, int] | None:
        """Return what each budget holds of a call that holds so much now; None where one has no room for it."""
        hold = self.open[name]
        grown = {
            each: held if hold.budgets[each].spec.overrun == "never" else max(held, amount)
            for each, held in hold.amounts.items()
        }
        more = {each: grown[each] - held for each, held in hold.amounts.items()}
        if any(more[each] and more[each] > self.room(hold.budgets[each], hold.at) for each in hold.cut):
            return None
        return grown

    def brim(self, name: str) -> int | None:
        """Return the most that a call can come to before it is ended; None where nothing ends it."""
        hold = self.open[name]
        rooms = [hold.amounts[each] + self.room(hold.budgets[each], hold.at) for each in hold.cut]
        brim = min(rooms, default=NO_LIMIT)
        return None if brim >= NO_LIMIT else brim

    def refused(self, budget: Budget, ask: Ask, at: datetime) -> set[str]:
        """Return why a budget refuses a call; nothing where it does not."""
        spec = budget.spec
        if spec.shadow:
            return set()
        why = set()
        if (
            ask.expected_nanos is None
            and (spec.unpriced or ("block" if spec.enforcement in ("block", "approve") else "")) == "block"
        ):
            why.add("unpriced_model")
        if spec.enforcement not in ("block", "approve"):
            return why
        if ask.expected_nanos is not None and ask.most_nanos is None and spec.overrun == "never":
            why.add("unbounded_call")
        amount, sums = self.amount(budget, ask, at), self.sums()
        for key in self.keys(budget.budget_id, at):
            limit, seen = self.limit(budget, key.period, at), sums.get(key, Sums())
            if ask.most_nanos != 0 and limit is not None and seen.spent + seen.held + amount > limit:
                asks = spec.enforcement == "approve" and not self.denied(budget, key.period, at)
                exceeded = "approval_required" if asks else "budget_exceeded"
                why.add(exceeded if seen.spent + amount > limit else "budget_busy")
        return why

    def end(self, name: str, cost: int | None, basis: str, *, key: str | None = None, guess: bool = False) -> None:
        """Turn a hold into a record."""
        hold = self.open.pop(name)
        self.write(Line(name, hold.at, tuple(hold.amounts), cost, basis, key=key, guess=guess))

    def write(self, line: Line) -> None:
        """Add a record; of two with one key, the second goes without."""
        if line.key is not None and self.billed(line.key):
            line = Line(**{**vars(line), "key": None})
        self.lines.append(line)

    def line(self, name: str) -> Line | None:
        return next((line for line in self.lines if line.name == name), None)

    def corrections(self, line: Line) -> list[Line]:
        return [other for other in self.lines if other.corrects == line.name]

    def corrected(self, line: Line) -> bool:
        """Whether the bill of a guess has come."""
        return any(not other.by_hand for other in self.corrections(line))

    def so_far(self, line: Line) -> int:
        """Return what a call has come to, corrections included."""
        return sum(one.cost or 0 for one in (line, *self.corrections(line)))

    def basis(self, line: Line, said: str) -> str:
        """Return the basis of a correction: the first that gives a call a price takes it out of those without."""
        bases = [one.basis for one in (line, *self.corrections(line))]
        return "repriced" if bases[0] == "unpriced" and "repriced" not in bases else said

    def billed(self, key: str) -> Line | None:
        return next((line for line in self.lines if line.key == key), None)


def cuts(budget: Budget, ask: Ask) -> bool:
    """Whether a budget ends a call where it cannot hold more: one that costs something, and only if it refuses."""
    spec = budget.spec
    refuses = spec.enforcement == "block" and not spec.shadow
    return spec.overrun == "truncate" and refuses and ask.expected_nanos is not None and ask.most_nanos != 0


def _any_of(globs: tuple[str, ...] | list[str], name: str) -> bool:
    return not globs or any(fnmatchcase(name, glob) for glob in globs)


def _asks(budget: Budget) -> int:
    scope = budget.spec.scope
    return bool(scope.components) + bool(scope.models) + bool(scope.providers) + len(scope.tags)
