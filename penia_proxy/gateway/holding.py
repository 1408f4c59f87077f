"""
Hold money for one call, and end the hold exactly once.

Its one job: an async context manager: entering it reserves or raises, leaving it settles or releases, whatever
happens between.
Rules: the life of a hold is the table `life.TRANSITIONS` and nothing else; ending twice equals once. The hold is
durable before ``sent`` may be said. Ending a hold never waits, so a cancellation cannot come between; the ledger's move
is queued, not awaited.
"""

import logging
from asyncio import Future
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime  # noqa: TC003 - annotates an attribute
from types import TracebackType
from typing import Any, Self

from penia_proxy.budget.bill import Bill, CardOf, bill_of
from penia_proxy.budget.calibration import ESTIMATE, Calibration, Outcome
from penia_proxy.budget.engine import Ask, Counters, Engine, Verdict
from penia_proxy.budget.estimate import Estimate, OutputHabit
from penia_proxy.budget.output_ratio import OutputRatio, Written
from penia_proxy.budget.record import REGION, Hold, UsageRecord
from penia_proxy.budget.scope import Facts
from penia_proxy.budget.usage import BATCH_TIER, CostBasis, Usage
from penia_proxy.budget.words import text_of
from penia_proxy.clock import Clock
from penia_proxy.config import LedgerConfig
from penia_proxy.errors import InvariantError, StoreUnavailable
from penia_proxy.gateway.caller import Caller
from penia_proxy.gateway.life import ENDED, TRANSITIONS, Move, State
from penia_proxy.gateway.recounting import counting_may_help, is_short
from penia_proxy.ledger.ledger import Ledger, let_run
from penia_proxy.values import quick
from penia_proxy.watch.approvals import Asking
from penia_proxy.watch.refusing import Refusing

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Books:
    """What a hold moves: the engine's counters, the ledger, and whoever is told about it."""

    engine: Engine
    counters: Counters
    ledger: Ledger
    clock: Clock
    habit: OutputHabit
    config: LedgerConfig
    published: Callable[[UsageRecord], None]
    """Called after a record is durable; must not raise."""
    touched: Callable[[tuple[str, ...]], None]
    """Called with the budgets whose held or spent moved."""
    judged: Callable[[Verdict], None]
    """Called with every verdict that is final; must not raise."""
    calibration: Calibration
    refusing: Refusing
    ratio: OutputRatio = field(default_factory=OutputRatio)


@quick
@dataclass(frozen=True, slots=True)
class Held:
    """What the hold is for."""

    started: float
    """The monotonic instant at which the request came."""
    caller: Caller
    provider: str
    """As named in the configuration."""
    model: str
    streamed: bool
    pricing_version: str
    card_of: CardOf
    plain_of: Callable[[Usage], int | None]
    """What a usage would cost as plain text at the tier asked for; None where that says nothing of its cost."""
    estimate: Estimate
    cap_for: Callable[[int], int]
    """Return the output cap with which the call costs at most so much."""
    fingerprint: str | None
    """Where the caller chose the request id: see `Ledger.fingerprint`."""
    recount: Callable[[], Awaitable[Estimate]]
    """Estimate again with the text's tokens counted; asked for only when the cheap estimate does not fit."""
    place: str | None
    """Where the request's path says that it is processed, which may have a price of its own."""
    cheaper: Callable[[Estimate], Mapping[str, Ask]]
    """Return what the call may cost at other models that can do it and cost less; asked for only when it is refused."""


class Holding:
    """One call's hold."""

    def __init__(self, books: Books, held: Held) -> None:
        self._books = books
        self._held = held
        self._state = State.HELD
        self.estimate = held.estimate
        self.verdict: Verdict
        self._first_nanos = 0
        """What was held at first."""
        self._words = ""
        self.admitted_at: datetime

    async def __aenter__(self) -> Self:
        """Reserve. Raises the refusal a blocking verdict is, DuplicateRequest, Conflict, or StoreUnavailable."""
        self.admitted_at = self._books.clock.now()
        self.verdict = await self._admit()
        self._first_nanos = self.verdict.amount_nanos
        try:
            self._words = text_of(self.verdict)
            await self._make_durable()
        except BaseException:
            await self._books.counters.release(self.verdict.legs)
            self._state = State.RELEASED
            self._books.touched(self.verdict.budget_ids)
            raise
        self._books.touched(self.verdict.budget_ids)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End a hold that nobody has, nor waits for: released if nothing was sent, else settled at what was held."""
        if self._state is State.HELD:
            await self.release()
        elif self._state is State.SENT:
            await self.settle_unconfirmed("error")

    @property
    def started(self) -> float:
        """The monotonic instant at which the call came, or in a session began."""
        return self._held.started

    @property
    def ended(self) -> bool:
        """Whether the hold has been settled or released."""
        return self._state in ENDED

    @property
    def truncates(self) -> bool:
        """Whether a budget ends the call where it cannot hold more."""
        return any(leg.truncates for leg in self.verdict.legs)

    @property
    def output_cap(self) -> int | None:
        """The output cap that the call must be sent with, where it does not stream and what is held is not the most."""
        most = self.estimate.ask.most_nanos
        if self.estimate.ask.grows or most is None:
            return None
        amount = min((leg.amount_nanos for leg in self.verdict.legs if leg.truncates), default=most)
        return None if amount >= most else self._held.cap_for(amount)

    @property
    def growing_nanos(self) -> int | None:
        """What is held in the budget that holds least of those whose hold grows with the answer; None without any."""
        growing = (leg.amount_nanos for leg in self.verdict.legs if leg.budget.overrun != "never" and leg.code is None)
        return min(growing, default=None)

    async def extend(self, amount_nanos: int) -> bool:
        """Hold so much in all; return False where a budget that truncates has no room for it."""
        verdict = await self._books.engine.extend(self.verdict, amount_nanos)
        if verdict is None:
            return False
        if verdict.amount_nanos > self.verdict.amount_nanos:
            let_run(self._books.ledger.extend(self._held.caller.request_id, verdict.amount_nanos))
        self.verdict = verdict
        self._books.touched(verdict.budget_ids)
        return True

    def output_tokens(self, written: Written) -> int:
        """Return what so much of this model's output comes to, in the provider's tokens."""
        return self._books.ratio.tokens(self._held.provider, self._held.model, written)

    def learn_output(self, written: Written, *, reported: int) -> None:
        """Take what a whole answer reported against what passed of it."""
        self._books.ratio.observe(self._held.provider, self._held.model, written, reported=reported)

    async def recounted(self) -> Estimate:
        """Return the estimate with the request's text counted."""
        return await self._held.recount()

    def sent(self, *, began: float | None = None) -> None:
        """
        Say that bytes may reach the provider from here on. Twice is once.

        ``began``: the call began only at this monotonic instant, and its hold has waited for it.
        """
        if self._state is not State.SENT:
            self._move("send")
        if began is not None:
            self._held = replace(self._held, started=began)

    @property
    def was_sent(self) -> bool:
        """Whether bytes may have reached the provider, and nobody has ended the hold yet."""
        return self._state is State.SENT

    def name(self, once_key: str) -> None:
        """Say under which key other answers state this call's bill, so that a crash does not forget it."""
        let_run(self._books.ledger.defer(self._held.caller.request_id, once_key))

    def defer(self, once_key: str) -> None:
        """Keep the hold beyond its exchange: its bill comes later, under this key."""
        self._move("defer")
        # What is kept for as long as a day must not keep the request's text.
        self._held = replace(self._held, recount=self._as_estimated)
        let_run(self._books.ledger.defer(self._held.caller.request_id, once_key))

    async def _as_estimated(self) -> Estimate:
        return self.estimate

    async def release(self) -> None:
        """Give the hold back: nothing was or will be billed."""
        if not self._move("release"):
            return
        await self._books.counters.release(self.verdict.legs)
        let_run(self._books.ledger.release(self._held.caller.request_id))
        self._books.touched(self.verdict.budget_ids)

    def bill(self, parts: tuple[tuple[str | None, Usage], ...], basis: CostBasis) -> Bill:
        """Price an answer of this call."""
        return bill_of(parts, self._held.model, basis, self._held.card_of)

    async def settle(
        self,
        bill: Bill,
        *,
        status: str,
        ttft_ms: float | None = None,
        metadata: dict[str, Any] | None = None,
        once_key: str | None = None,
    ) -> None:
        """
        Book what the call cost; ``once_key`` is that of its record.

        What can fail comes before the move, or after all of it.
        """
        held = self._held
        remarks = {**(metadata or {}), **bill.remarks}
        if bill.model != held.model:
            remarks["model_requested"] = held.model
        if held.place is not None:
            remarks[REGION] = held.place
        outcome: Outcome | None = None
        is_one = bill.usage.service_tier != BATCH_TIER  # what thousands of answers were says nothing of the next
        if status == "ok" and is_one and bill.basis in ("reported", "provider_cost"):
            outcome = self._outcome(bill)
            remarks[ESTIMATE] = outcome.as_metadata
        record = self._record(bill, status, ttft_ms, once_key, remarks)
        if not self._move("settle"):
            return
        await self._books.counters.settle(self.verdict.legs, record)
        self._tell(record)
        if outcome is not None:
            self._books.calibration.observe(held.provider, held.model, outcome)
        if status == "ok" and is_one and bill.basis != "estimated":
            self._books.habit.observe(record.component, held.model, record.usage.output_total)

    def _record(
        self, bill: Bill, status: str, ttft_ms: float | None, once_key: str | None, metadata: dict[str, Any]
    ) -> UsageRecord:
        held = self._held
        return UsageRecord(
            record_id=held.caller.request_id,
            timestamp=self.admitted_at,
            component=held.caller.component,
            provider=held.provider,
            model=bill.model,
            usage=bill.usage,
            cost_basis=bill.basis,
            cost_nanos=bill.cost_nanos,
            input_cost_nanos=bill.input_cost_nanos,
            budget_ids=self.verdict.budget_ids,
            task_type=held.caller.task_type,
            request_id=held.caller.request_id,
            pricing_version=held.pricing_version,
            estimated_nanos=self._first_nanos,
            streamed=held.streamed,
            status=status,
            ttft_ms=ttft_ms,
            once_key=once_key,
            metadata=metadata,
            latency_ms=round((self._books.clock.monotonic() - held.started) * 1000, 3),
            tags=held.caller.tags,
            words=self._words,
        )

    def _outcome(self, bill: Bill) -> Outcome:
        """Compare a reported bill with what was estimated."""
        return Outcome.of(
            self.estimate,
            input_tokens=bill.usage.input_total,
            cost_nanos=bill.cost_nanos,
            plain_nanos=self._held.plain_of(bill.usage),
        )

    async def settle_unconfirmed(self, status: str, *, once_key: str | None = None) -> None:
        """Book what was held: the provider may have billed the call, and nobody said how much."""
        usage = Usage(input=self.estimate.input_tokens, output=self.estimate.output_tokens)
        bill = self.bill(((None, usage),), "unconfirmed")
        cost_nanos = None if bill.basis == "unpriced" else self.verdict.amount_nanos
        bill = replace(bill, cost_nanos=cost_nanos, input_cost_nanos=None)
        await self.settle(bill, status=status, once_key=once_key)

    async def _admit(self) -> Verdict:
        """Judge and hold; near a limit, count the text before refusing an expected cost that was only a bound."""
        held = self._held
        facts = Facts(held.caller.component, held.provider, held.model, held.caller.tags)
        verdict = await self._books.engine.reserve(facts, self.estimate.ask, self.admitted_at)
        if counting_may_help(verdict) or is_short(verdict, self.estimate):
            if verdict.kind != "block":
                await self._books.counters.release(verdict.legs)
            self.estimate = await held.recount()
            verdict = await self._books.engine.reserve(facts, self.estimate.ask, self.admitted_at)
        self._books.judged(verdict)
        if verdict.kind == "block":
            instead = await self._books.engine.cheapest_that_fits(facts, held.cheaper(self.estimate), self.admitted_at)
            asking = Asking(facts, held.caller.request_id, self.admitted_at)
            raise self._books.refusing.error(replace(verdict, cheaper=instead), asking)
        return verdict

    async def _make_durable(self) -> None:
        held = self._held
        hold = Hold(
            hold_id=held.caller.request_id,
            admitted_at=self.admitted_at,
            amount_nanos=self.verdict.amount_nanos,
            budget_ids=self.verdict.budget_ids,
            component=held.caller.component,
            provider=held.provider,
            model=held.model,
            task_type=held.caller.task_type,
            tags=held.caller.tags,
            streamed=held.streamed,
            input_tokens_estimated=self.estimate.input_tokens,
            output_tokens_estimated=self.estimate.output_tokens,
            pricing_version=held.pricing_version,
            fingerprint=held.fingerprint,
            words=self._words,
        )
        try:
            # Cancelled, the ledger itself undoes a commit that lands all the same.
            await self._books.ledger.reserve(hold, unique=held.caller.chose_id)
        except StoreUnavailable:
            is_blocked = any(leg.budget.refuses for leg in self.verdict.legs)
            # Whoever chose an id wants one call of it, which nobody can promise now.
            if self._books.config.on_store_failure == "block" or is_blocked or held.caller.chose_id:
                raise
            log.warning("the ledger cannot write; forwarding a call that no blocking budget covers")

    def _tell(self, record: UsageRecord) -> None:
        def durable(done: Future[None]) -> None:
            if done.cancelled() or done.exception() is not None:
                log.error("record %s could not be written", record.record_id)
                return
            self._books.published(record)

        self._books.ledger.settle(record).add_done_callback(durable)
        self._books.touched(self.verdict.budget_ids)

    def _move(self, move: Move) -> bool:
        """
        Make a move of the table; return whether it changed anything.

        Raises InvariantError for a move that is not there.
        """
        before = self._state
        after = TRANSITIONS.get((before, move))
        if after is None:
            raise InvariantError(f"a hold that is {before.value} cannot {move}")
        self._state = after
        return before not in ENDED
