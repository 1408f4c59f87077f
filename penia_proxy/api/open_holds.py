"""
Hold money for calls that are made without us.

Its one job: the open holds of components that call a provider directly: held, then settled, released or expired, each
once.
Rules: a hold is durable before anybody is told of it. One that its holder forgets is booked at what it held once its
time (on the monotonic clock) is up, and so is what is open when a process starts again; what its holder says after that
is appended as a correction. Moves of one hold are made one after another; each twice equals once.
"""

import asyncio
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from heapq import heappop, heappush
from typing import Any
from weakref import WeakValueDictionary

from penia_proxy.budget.bill import Bill, correction_of
from penia_proxy.budget.engine import Ask, Counters, Engine, Verdict
from penia_proxy.budget.record import Hold, UsageRecord
from penia_proxy.budget.scope import Facts
from penia_proxy.budget.usage import Usage
from penia_proxy.budget.words import text_of
from penia_proxy.clock import Clock, iso
from penia_proxy.errors import Conflict, NotFound, Overloaded, StoreUnavailable
from penia_proxy.ledger.ledger import Ledger
from penia_proxy.watch.announcer import Announcer
from penia_proxy.watch.approvals import Asking
from penia_proxy.watch.refusing import Refusing

HOLDS_MAX = 10_000
"""Open at a time: a component that never settles must not fill the ledger."""
RELEASED_MAX = 10_000
"""Released holds that are remembered, so that releasing one again is no error: what cost nothing leaves no record."""

BOOKED_UNHEARD = frozenset({"expired", "crashed"})
"""Statuses of records that were booked at what was held, because nobody had said what was used."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be held, and for whom."""

    hold_id: str
    facts: Facts
    ask: Ask
    ttl_s: float
    fingerprint: str
    """Of all that was said, to tell a repetition from another hold of the same id."""
    task_type: str | None
    pricing_version: str


@dataclass(frozen=True, slots=True)
class OpenHold:
    """A hold that nobody has ended."""

    hold: Hold
    verdict: Verdict
    fingerprint: str
    started: float
    """Monotonic, as ``deadline``."""
    deadline: float
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Said:
    """What the holder says of it in the end."""

    bill: Callable[[str, str, datetime], Bill]
    """Price it, given the hold's provider and model, and the instant of its admission."""
    fingerprint: str
    metadata: dict[str, Any]


class OpenHolds:
    """The open holds of one process."""

    def __init__(
        self,
        engine: Engine,
        counters: Counters,
        ledger: Ledger,
        clock: Clock,
        refusing: Refusing,
        announcer: Announcer,
    ) -> None:
        self._engine = engine
        self._counters = counters
        self._ledger = ledger
        self._clock = clock
        self._refusing = refusing
        self._announcer = announcer
        self._open: dict[str, OpenHold] = {}
        self._deadlines: list[tuple[float, str]] = []
        self._released: dict[str, None] = {}
        self._ending: dict[str, UsageRecord | None] = {}
        """Ends that are not on disk yet: the record, or None for a release."""
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def open(self, wanted: Wanted) -> tuple[OpenHold, bool]:
        """
        Hold; return the hold, and whether it was made now. The same again is the first one.

        Raises the refusal that a blocking verdict is, Conflict, DuplicateRequest, Overloaded, StoreUnavailable.
        """
        async with self._alone(wanted.hold_id):
            known = self._open.get(wanted.hold_id)
            if known is not None:
                if known.fingerprint != wanted.fingerprint:
                    raise Conflict("This request id has an open hold of something else.")
                return known, False
            if len(self._open) >= HOLDS_MAX:
                raise Overloaded(f"{HOLDS_MAX} holds are open; settle or release some.")
            at = self._clock.now()
            verdict = await self._engine.reserve(wanted.facts, wanted.ask, at)
            self._announcer.judged(verdict)
            if verdict.kind == "block":
                raise self._refusing.error(verdict, Asking(wanted.facts, wanted.hold_id, at))
            hold = _hold(wanted, verdict, at)
            try:
                await self._ledger.reserve(hold, unique=True)
            except BaseException:
                await self._counters.release(verdict.legs)
                raise
            finally:
                self._announcer.touched(verdict.budget_ids)
            started = self._clock.monotonic()
            deadline = started + wanted.ttl_s
            expires_at = at + timedelta(seconds=wanted.ttl_s)
            opened = OpenHold(hold, verdict, wanted.fingerprint, started, deadline, expires_at)
            self._open[wanted.hold_id] = opened
            heappush(self._deadlines, (deadline, wanted.hold_id))
            return opened, True

    async def settle(self, hold_id: str, said: Said) -> tuple[UsageRecord, bool]:
        """
        Book what was used; return the record, and whether it was made now.

        Of a hold that was booked unheard it is a correction. Raises NotFound, Conflict for another content than before,
        StoreUnavailable.
        """
        async with self._alone(hold_id):
            opened = self._open.pop(hold_id, None)
            if opened is not None:
                hold = opened.hold
                bill = said.bill(hold.provider, hold.model, hold.admitted_at)
                record = await self._book(opened, bill, "ok", said.metadata)
                await self._durable(hold_id)
                return record, True
            record = await self._recorded(hold_id)
            bill = said.bill(record.provider, record.model, record.timestamp)
            if record.status in BOOKED_UNHEARD:
                return await self._correct(record, bill, said.fingerprint)
            if (record.usage, record.cost_nanos) != (bill.usage, bill.cost_nanos):
                raise Conflict("This hold was settled before, with another content.")
            await self._durable(hold_id)
            return record, False

    async def release(self, hold_id: str) -> None:
        """
        Give a hold back: nothing was used.

        Raises NotFound for one that never was, Conflict for one that was settled, StoreUnavailable.
        """
        async with self._alone(hold_id):
            opened = self._open.pop(hold_id, None)
            if opened is not None:
                await self._counters.release(opened.verdict.legs)
                self._announcer.touched(opened.verdict.budget_ids)
                self._released[hold_id] = None
                if len(self._released) > RELEASED_MAX:
                    del self._released[next(iter(self._released))]
                self._ends(hold_id, None, self._ledger.release(hold_id))
            if hold_id in self._released:
                await self._durable(hold_id)
                return
            record = await self._recorded(hold_id)
            if record.status not in BOOKED_UNHEARD:
                raise Conflict("This hold was settled before.")
            nothing = Bill(record.model, Usage(), "client", 0, None)
            await self._correct(record, nothing, "released")

    async def sweep(self) -> None:
        """Book the holds whose time is up at what they held."""
        while self._deadlines and self._deadlines[0][0] <= self._clock.monotonic():
            deadline, hold_id = heappop(self._deadlines)
            async with self._alone(hold_id):
                opened = self._open.get(hold_id)
                if opened is not None and opened.deadline == deadline:
                    del self._open[hold_id]
                    await self._book(opened, _unheard(opened), "expired", {})

    async def _book(self, opened: OpenHold, bill: Bill, status: str, metadata: dict[str, Any]) -> UsageRecord:
        hold = opened.hold
        remarks = {**metadata, **bill.remarks}
        if bill.model != hold.model:
            remarks["model_requested"] = hold.model
        record = UsageRecord(
            record_id=hold.hold_id,
            timestamp=hold.admitted_at,
            component=hold.component,
            provider=hold.provider,
            model=bill.model,
            usage=bill.usage,
            cost_basis=bill.basis,
            cost_nanos=bill.cost_nanos,
            input_cost_nanos=bill.input_cost_nanos,
            budget_ids=hold.budget_ids,
            task_type=hold.task_type,
            request_id=hold.hold_id,
            pricing_version=hold.pricing_version,
            estimated_nanos=hold.amount_nanos,
            status=status,
            latency_ms=round((self._clock.monotonic() - opened.started) * 1000, 3),
            tags=hold.tags,
            words=hold.words,
            metadata=remarks,
        )
        await self._counters.settle(opened.verdict.legs, record)
        self._announcer.touched(hold.budget_ids)
        self._ends(hold.hold_id, record, self._ledger.settle(record))
        return record

    def _ends(self, hold_id: str, record: UsageRecord | None, done: "asyncio.Future[None]") -> None:
        """Remember an end until it is durable: the ledger tries until it is."""

        def durable(done: "asyncio.Future[None]") -> None:
            self._ending.pop(hold_id, None)
            if not done.cancelled() and done.exception() is None and record is not None:
                self._announcer.published(record)

        self._ending[hold_id] = record
        done.add_done_callback(durable)

    async def _durable(self, hold_id: str) -> None:
        """Wait, but not for ever, until a hold's end is on disk. Raises StoreUnavailable."""
        await self._ledger.caught_up()
        if hold_id in self._ending:
            raise StoreUnavailable("The ledger cannot write now; what was said is kept, and written once it can.")

    async def _correct(self, record: UsageRecord, bill: Bill, fingerprint: str) -> tuple[UsageRecord, bool]:
        digest = hashlib.sha256(record.record_id.encode()).hexdigest()[:32]
        record_id = f"a_{digest}"
        async with self._ledger.correcting:
            at = iso(self._clock.now())  # now: what is corrected meanwhile came before this
            before = [one for one in await self._ledger.corrections(record.record_id) if one.record_id != record_id]
            correction = correction_of(record, before, bill, record_id=record_id, at=at)
            kept, created = await self._ledger.append(correction, fingerprint)
            if created:
                await self._counters.charge(kept, self._engine.named(kept.budget_ids))
                self._announcer.published(kept)
                self._announcer.touched(kept.budget_ids)
        return kept, created

    async def _recorded(self, hold_id: str) -> UsageRecord:
        """Return the record of a hold that has ended. Raises NotFound."""
        await self._ledger.caught_up()
        record = self._ending.get(hold_id) or await self._ledger.queries.record(hold_id)
        if record is None:
            raise NotFound("There is no such hold: it was released, or never made.")
        return record

    def _alone(self, hold_id: str) -> asyncio.Lock:
        lock = self._locks.get(hold_id)
        if lock is None:
            lock = self._locks[hold_id] = asyncio.Lock()
        return lock


def _hold(wanted: Wanted, verdict: Verdict, at: datetime) -> Hold:
    facts = wanted.facts
    return Hold(
        hold_id=wanted.hold_id,
        admitted_at=at,
        amount_nanos=verdict.amount_nanos,
        budget_ids=verdict.budget_ids,
        component=facts.component,
        provider=facts.provider,
        model=facts.model,
        task_type=wanted.task_type,
        tags=facts.tags,
        pricing_version=wanted.pricing_version,
        words=text_of(verdict),
    )


def _unheard(opened: OpenHold) -> Bill:
    """Return the bill of what nobody has said the use of: what was held; nothing held says that no price was known."""
    amount = opened.hold.amount_nanos
    return Bill(opened.hold.model, Usage(), "unconfirmed" if amount else "unpriced", amount or None, None)
