"""
One gateway, the arithmetic beside it, and what must be true of both.

Its one job: the state that every step of the model shares, and the invariants of DESIGN.md §11, checked after each one.
Rules: only what has happened is kept here; what may happen is in `machine`. Nothing depends on how fast anything is.
"""

import asyncio
import shutil
import tempfile
from collections.abc import Coroutine
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from hypothesis.stateful import RuleBasedStateMachine, invariant

from penia_proxy.budget.windows import WindowKey
from penia_proxy.clock import from_iso
from penia_proxy.gateway.life import State
from tests.model.arithmetic import Arithmetic, Line, Sums
from tests.model.process import FREE, PROVIDER, UNPRICED, Clock, Process

if TYPE_CHECKING:
    from penia_proxy.gateway.holding import Holding

T = TypeVar("T")

BEGIN = datetime(2026, 10, 24, 21, 30, tzinfo=UTC)
"""A Saturday. Berlin's clock goes back within four hours, Havana's and the month's end come within eight days."""
BACK = timedelta(days=1)
"""How far behind its latest instant the clock is ever set: the counters may forget windows that ended earlier."""

_MEMORY = Path("/dev/shm")
"""Where there is no disk to wait for, on Linux. A crash of the machine itself is not modelled."""
_template: list[bytes] = []
"""An empty ledger, made once: creating the tables takes ten times as long as a step."""


def basis_of(model: str, basis: str) -> str:
    """Return the basis of a bill of a model."""
    return {FREE: "free", UNPRICED: "unpriced"}.get(model, basis)


class World(RuleBasedStateMachine):
    """What there is."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.root = Path(tempfile.mkdtemp(prefix="penia-model-", dir=_MEMORY if _MEMORY.is_dir() else None))
        self.lives = 0
        self.clock = Clock(BEGIN)
        self.latest = BEGIN
        self.said = Arithmetic()
        self.holds: dict[str, Holding] = {}
        """Those of this life that have not ended, by id."""
        self.gone: list[Holding] = []
        """Those of this life that have."""
        self.claimed: set[str] = set()
        """Names of works whose bills were booked in this life."""
        self.roofs: dict[WindowKey, int] = {}
        """By window with a limit that blocks: the most that may be spent and held in it."""
        self.posts: dict[str, tuple[int, str, datetime]] = {}
        """What was said of each posted record."""
        self.names = 0
        self.process = Process(self.folder() / "penia.db", self.clock)
        if _template:
            self.process.file.write_bytes(_template[0])
        self.run(self.process.start())
        if not _template:
            self.run(self.process.stop())
            _template.append(self.process.file.read_bytes())
            self.run(self.process.start())

    def run(self, steps: Coroutine[Any, Any, T]) -> T:
        """Run to the end of a step."""
        return self.loop.run_until_complete(steps)

    def new_name(self, kind: str) -> str:
        """Return an id that nothing has yet."""
        self.names += 1
        return f"{kind}_{self.names}"

    def folder(self) -> Path:
        """Make a folder for another life."""
        self.lives += 1
        folder = self.root / str(self.lives)
        folder.mkdir()
        return folder

    def teardown(self) -> None:
        try:
            self.run(self.process.stop())
            assert self.process.differences() == [], "verify finds differences after the end"
        finally:
            self.run(self.loop.shutdown_asyncgens())
            self.run(self.loop.shutdown_default_executor())
            self.loop.close()
            shutil.rmtree(self.root)

    # What has happened.

    def pick(self, which: int, *states: State) -> str | None:
        """Return the id of one of the holds in these states, None if there is none."""
        names = [name for name, holding in self.holds.items() if holding._state in states]
        return names[which % len(names)] if names else None

    def picked(self, which: int, *states: State) -> str:
        """Return one that there must be."""
        name = self.pick(which, *states)
        assert name is not None
        return name

    def settled(self, name: str, cost: int | None, basis: str, *, key: str | None = None, guess: bool = False) -> None:
        """Take it that a hold has become a record."""
        hold = self.said.open[name]
        for budget_id, amount in hold.amounts.items():
            self.exceeded(budget_id, hold.at, (cost or 0) - amount)
        self.said.end(name, cost, basis, key=key, guess=guess)
        self.gone.append(self.holds.pop(name))

    def unconfirmed(self, name: str, *, key: str | None = None, guess: bool = True) -> None:
        """Take it that a hold was settled at what it held."""
        model, amount = self.holds[name]._held.model, self.said.open[name].amount
        basis = basis_of(model, "unconfirmed")
        self.settled(
            name, None if basis == "unpriced" else amount, basis, key=key, guess=guess or basis == "unconfirmed"
        )

    def released(self, name: str) -> None:
        """Take it that a hold is gone."""
        del self.said.open[name]
        self.gone.append(self.holds.pop(name))

    def written(self, line: Line) -> None:
        """Take it that a record was made that had no hold."""
        for budget_id in line.budgets:
            self.exceeded(budget_id, line.at, line.cost or 0)
        self.said.write(line)

    def admitted(self, name: str) -> None:
        """Take it that a hold was within the limits as they are now; one that is not blocking takes its roof away."""
        hold = self.said.open[name]
        for budget_id in hold.amounts:
            budget = self.said.budgets[budget_id]
            for key in self.said.keys(budget_id, hold.at):
                limit = self.said.limit(budget, key.period, hold.at)
                if not hold.amounts[budget_id]:
                    continue  # there is always room for what costs nothing
                if limit is None or not budget.refuses:
                    self.roofs.pop(key, None)
                else:
                    self.roofs[key] = max(self.roofs.get(key, 0), limit)

    def exceeded(self, budget_id: str, at: datetime, by: int) -> None:
        """Raise the roofs by what was billed beyond a hold, or without one."""
        for key in self.said.keys(budget_id, at):
            if key in self.roofs:
                self.roofs[key] += max(by, 0)

    def waiting(self, named: str) -> str | None:
        """Return the hold of this life that waits for the bill of a work."""
        return next((name for name in self.holds if self.said.open[name].key == once_key(named)), None)

    def forgotten(self) -> None:
        """Take it that what lives in memory is gone."""
        self.holds.clear()
        self.gone.clear()
        self.claimed.clear()

    # What is always true.

    @invariant()
    def counters_are_right(self) -> None:
        """In memory: spent, held, requests and unpriced calls of every window, to the nano-dollar."""
        tallies, said = self.process.counters._tallies, self.said.sums()
        for key in {*said, *(key for key, tally in tallies.items() if tally.held_nanos)}:
            held = tallies[key].held_nanos if key in tallies else 0
            assert held == said.get(key, Sums()).held, f"what is held of {key}"
        for name, budget in self.said.budgets.items():
            present = self.said.keys(name, self.clock.now())
            for key in {*present, *(key for key in said if key.budget_id == name)}:
                end = budget.calendar.window(key.period, key.start).end
                if end is not None and end <= self.latest - BACK:
                    continue
                tally, sums = tallies.get(key), said.get(key, Sums())
                counted = (tally.spent_nanos, tally.request_count, tally.unpriced_count) if tally else (0, 0, 0)
                assert counted == (sums.spent, sums.requests, sums.unpriced), f"the counters of {key}"

    @invariant()
    def file_is_right(self) -> None:
        """On disk: every hold, every record and every counter, and no others."""
        self.run(self.process.ledger.caught_up())
        ask = self.process.beside.execute
        holds = {
            name: (from_iso(at), amount, key)
            for name, at, amount, key in ask("SELECT hold_id, admitted_at, amount_nanos, once_key FROM holds")
        }
        assert holds == {name: (one.at, one.amount, one.key) for name, one in self.said.open.items()}, "the holds"
        assert self.process.ledger.holds_open == len(self.said.open), "the number of holds"
        records = [
            Line(name if corrects is None else "", from_iso(at), (), cost, basis, corrects, key)
            for name, at, cost, basis, corrects, key in ask(
                "SELECT record_id, timestamp, cost_nanos, cost_basis, corrects, once_key FROM usage_records"
            )
        ]
        said = [Line(one.name, one.at, (), one.cost, one.basis, one.corrects, one.key) for one in self.said.lines]
        assert sorted(records, key=repr) == sorted(said, key=repr), "the records"
        spend = {
            WindowKey(budget_id, period, from_iso(start)): sums
            for budget_id, period, start, *sums in ask(
                "SELECT budget_id, period, window_start, spent_nanos, request_count, unpriced_count FROM spend"
            )
        }
        charged = Arithmetic(self.said.budgets, {}, self.said.lines).sums()
        counted = {key: [sums.spent, sums.requests, sums.unpriced] for key, sums in charged.items()}
        assert spend == counted, "the counters on disk"

    @invariant()
    def limits_hold(self) -> None:
        """Spent and held are at most the largest limit that a window admitted under, and what was billed beyond."""
        tallies = self.process.counters._tallies
        for key, roof in self.roofs.items():
            if tally := tallies.get(key):
                assert tally.spent_nanos + tally.held_nanos <= roof, f"{key} is overrun"

    @invariant()
    def flights_are_counted(self) -> None:
        """Every budget knows how many calls of it are in flight."""
        for name in self.said.budgets:
            flights = sum(name in hold.amounts for hold in self.said.open.values())
            assert self.process.counters._open[name] == flights, "the calls in flight"


def once_key(named: str) -> str:
    """Return under which key a work of the provider is billed."""
    return f"{PROVIDER}:{named}"
