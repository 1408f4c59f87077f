"""
Defects to be found.

Its one job: patches of the product, each a defect that somebody could make, with what it would do to money. Rules: a
patch is a piece of one function's source and what stands there instead; one whose piece is no longer there fails, so
that the list follows the code. Nothing here is ever written to a file.
"""

import inspect
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import CodeType, FunctionType

from penia_proxy import app
from penia_proxy.api import adjusting, budgets, calendars, posting
from penia_proxy.budget import bill, engine, record
from penia_proxy.budget.grants import Grant
from penia_proxy.counters.memory import MemoryCounters
from penia_proxy.gateway import charging, works
from penia_proxy.gateway.holding import Holding
from penia_proxy.ledger import rows
from penia_proxy.ledger.transaction import Transaction


@dataclass(frozen=True)
class Planted:
    """One defect."""

    name: str
    does: str
    """What it does to money, in a sentence."""
    function: FunctionType
    healthy: str
    sick: str

    @contextmanager
    def in_force(self) -> Iterator[None]:
        """Replace the function's code, wherever the function has been imported to; then put it back."""
        healthy = self.function.__code__
        self.function.__code__ = self._code()
        try:
            yield
        finally:
            self.function.__code__ = healthy

    def _code(self) -> CodeType:
        source = textwrap.dedent(inspect.getsource(self.function))
        assert source.count(self.healthy) == 1, f"{self.name}: {self.healthy!r} is not there once; plant it anew"
        found: dict[str, FunctionType] = {}
        exec(source.replace(self.healthy, self.sick), dict(self.function.__globals__), found)
        return found[self.function.__name__].__code__


PLANTED = (
    Planted(
        "off by one",
        "A call that meets its limit exactly is refused.",
        engine.judge_leg,
        "if used > limit and",
        "if used >= limit and",
    ),
    Planted(
        "held is not looked at",
        "Calls in flight are forgotten when the next one is judged, so that concurrency overruns a limit.",
        engine.judge_leg,
        "used = tally.spent_nanos + tally.held_nanos + leg.amount_nanos",
        "used = tally.spent_nanos + leg.amount_nanos",
    ),
    Planted(
        "never holds what is expected",
        "A budget that must never be overrun holds no more than one that may be.",
        engine.leg_of,
        "return Leg(budget, windows, ask.most_nanos,",
        "return Leg(budget, windows, ask.expected_nanos,",
    ),
    Planted(
        "all or one",
        "A call that is refused by one budget is held, for ever, in all of them.",
        MemoryCounters.reserve,
        "if not blocks(judged.words):",
        "if not blocks(judged.words[-1:]):",
    ),
    Planted(
        "all windows but one are settled",
        "A budget's limit in total never sees what was spent.",
        MemoryCounters.settle,
        "for tally in self._of(leg.budget.budget_id, leg.windows):",
        "for tally in self._of(leg.budget.budget_id, leg.windows)[:-1]:",
    ),
    Planted(
        "a cut-off has no limit",
        "A stream grows on in a budget that truncates, and overruns it.",
        MemoryCounters.extend,
        "leg.room(tallies) < more",
        "leg.room(tallies) < 0",
    ),
    Planted(
        "all budgets but one grow",
        "What a stream has come to is missing in one budget, and given back there when it ends.",
        MemoryCounters.extend,
        "for _, more, tallies in steps:",
        "for _, more, tallies in steps[:-1]:",
    ),
    Planted(
        "half an extension",
        "What one budget has no room for stays held, for ever, in those before it.",
        MemoryCounters.extend,
        "            return False\n",
        "            return False\n        for tally in tallies:\n            tally.held_nanos += more\n"
        "    steps = []\n",
    ),
    Planted(
        "growth shrinks",
        "A hold that is larger in one budget than in another is lowered there as the stream runs.",
        engine.Engine.extend,
        " or leg.amount_nanos >= amount_nanos",
        "",
    ),
    Planted(
        "the most grows",
        "A budget that must never be overrun holds more than it was asked for, beyond its limit.",
        engine.Engine.extend,
        'leg.budget.overrun == "never" or ',
        "",
    ),
    Planted(
        "what has grown is not given back",
        "A stream leaves what it outgrew held, for ever.",
        Holding.extend,
        "self.verdict = verdict",
        "pass",
    ),
    Planted(
        "what has grown is not on disk",
        "A long stream that is running at a crash costs what was held at its beginning.",
        Transaction.extend,
        "self._extended[hold_id] = amount_nanos",
        "pass",
    ),
    Planted(
        "release forgets the flight",
        "A budget's calendar can never be changed again.",
        MemoryCounters.release,
        "self._open[leg.budget.budget_id] -= 1",
        "pass",
    ),
    Planted(
        "released twice",
        "A call that ends twice gives back twice what it held.",
        Holding.release,
        'if not self._move("release"):\n        return',
        'self._move("release")',
    ),
    Planted(
        "settled when it ends",
        "A call over midnight counts in the day in which it ended.",
        Holding._record,
        "timestamp=self.admitted_at",
        "timestamp=self._books.clock.now()",
    ),
    Planted(
        "the excess is forgiven",
        "A call that costs more than it held is booked at what it held.",
        Holding.settle,
        "await self._books.counters.settle(",
        "record = replace(record, cost_nanos=min(record.cost_nanos or 0, self.verdict.amount_nanos))\n"
        "    await self._books.counters.settle(",
    ),
    Planted(
        "sent before it is durable",
        "A call leaves while its hold is still on the way to the disk, and a kill forgets it.",
        Holding._make_durable,
        "await self._books.ledger.reserve(hold, unique=held.caller.chose_id)",
        "let_run(self._books.ledger._writer._loop.create_task("
        "self._books.ledger.reserve(hold, unique=held.caller.chose_id)))",
    ),
    Planted(
        "another's hold is released",
        "A request that is refused for its id takes the hold of the call that has it.",
        Holding.__aenter__,
        "self._state = State.RELEASED",
        "self._state = State.RELEASED\n        let_run(self._books.ledger.release(self._held.caller.request_id))",
    ),
    Planted(
        "a deferred hold is forgotten",
        "What a bill that comes later is for is not on disk, and after a crash it is booked on top.",
        Holding.defer,
        "let_run(self._books.ledger.defer(self._held.caller.request_id, once_key))",
        "pass",
    ),
    Planted(
        "a charge is not counted",
        "What is billed without a hold is on disk, and no limit knows of it until the next start.",
        charging._append,
        "await books.counters.charge(kept, books.engine.named(kept.budget_ids))",
        "pass",
    ),
    Planted(
        "a post is counted each time",
        "A record that is posted again, because the answer was lost, is spent again.",
        posting.book,
        "if created:",
        "if True:",
    ),
    Planted(
        "the bill comes on top",
        "A bill whose guess has been booked is booked in full, and not the difference.",
        bill.correction_of,
        "bill.cost_nanos - sum(one.cost_nanos or 0 for one in so_far)",
        "bill.cost_nanos",
    ),
    Planted(
        "an adjustment stays",
        "A bill that comes after somebody has adjusted its guess is added to that.",
        bill.correction_of,
        "so_far = (guess, *corrections)",
        "so_far = (guess,)",
    ),
    Planted(
        "an adjustment forgets the others",
        "A call that is adjusted twice costs the sum of both.",
        adjusting._adjust,
        "for one in (first, *before)",
        "for one in (first,)",
    ),
    Planted(
        "a price is found twice",
        "Each correction of a call without a price takes another out of those without.",
        bill.is_unpriced,
        'all(one.cost_basis != "repriced" for one in corrections)',
        "True",
    ),
    Planted(
        "a correction is a request",
        "Each bill that comes later counts its call twice.",
        record.UsageRecord.amounts,
        "self.corrects is None",
        "True",
    ),
    Planted(
        "the once-key is not written",
        "After a restart a bill that is stated again is another bill.",
        works.Works._charge,
        "charge(self._books, payer, bill, once_key=key)",
        "charge(self._books, payer, bill)",
    ),
    Planted(
        "the change of a limit is not in force",
        "A lowered limit is shown, kept on disk, and not obeyed before the next start.",
        budgets._change,
        "in_force(services, after)",
        "pass",
    ),
    Planted(
        "a grant is for ever",
        "What was granted to a day is there on the next one, too.",
        Grant.counts,
        "return unexpired and is_within(self.granted_at, self.period, calendar, at)",
        "return unexpired",
    ),
    Planted(
        "a grant does not expire",
        "What was granted for an hour counts until the window is over.",
        Grant.counts,
        "self.expires_at is None or at < self.expires_at",
        "True",
    ),
    Planted(
        "grants are forgotten",
        "After a start a budget has its own limit alone.",
        app.Gateway._load_books,
        "grants=tuple(grants)",
        "grants=()",
    ),
    Planted(
        "windows move under calls",
        "A budget's calendar changes while a call holds in its old windows.",
        MemoryCounters.in_flight,
        "return self._open[budget_id]",
        "return 0",
    ),
    Planted(
        "windows begin at nothing",
        "A budget with a new calendar has its whole limit anew, until the next start.",
        calendars.move_windows,
        "services.counters.load({**dict.fromkeys(present, Tally()), **own})",
        "services.counters.load(dict.fromkeys(present, Tally()))",
    ),
    Planted(
        "windows are not recounted",
        "A budget with a new calendar has what was spent in windows that it no longer has.",
        Transaction.save_budget,
        "else self._counted_anew(budget)",
        "else None",
    ),
    Planted(
        "an id is used twice",
        "A request that is sent again under its own id is billed again.",
        Transaction.reserve,
        "unique and self._is_recorded(hold.hold_id)",
        "False",
    ),
    Planted(
        "the hold outlives its record",
        "What is settled is still held on disk, and charged again at the next start.",
        Transaction.settle,
        "self.release(record.record_id)",
        "pass",
    ),
    Planted(
        "expired at nothing",
        "A call that was in flight when the process died is free.",
        rows.expired,
        "cost_nanos=amount or None",
        "cost_nanos=0",
    ),
    Planted(
        "nothing expires",
        "What was in flight when the process died is never booked.",
        app.Gateway._load_books,
        "await self.ledger.recover()",
        "[]",
    ),
    Planted(
        "counters start at nothing",
        "Every start gives each budget its whole limit anew.",
        app.Gateway._load_books,
        "self.counters.load(await self.ledger.tallies(self.clock.now()))",
        "pass",
    ),
    Planted(
        "a restart spares what waits",
        "A bill that is awaited when the process stops is not booked, and nothing says so.",
        works.Works.close,
        'await hold.settle_unconfirmed("pending", once_key=key)',
        "await hold.release()",
    ),
)
