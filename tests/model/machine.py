"""
Everything that can happen to money, in any order.

Its one job: a rule for each move that a caller, a provider, an operator, the clock or a kill can make on a gateway, and
what it must lead to. Rules: a move is the product's own (`process`), what it leads to is said by the arithmetic alone,
and whether that has come is for the invariants (`world`). No move depends on how fast anything is.
"""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any, get_args

from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule

from penia_proxy.api.approvals import ApproveBody, DenyBody, approve, deny
from penia_proxy.api.budgets import BudgetBody, BudgetChange, change_budget, create_budget, deactivate_budget
from penia_proxy.api.endpoint import Reply
from penia_proxy.api.grants import GrantBody, give_grant
from penia_proxy.api.posting import RecordBody, post_record
from penia_proxy.budget.budget import Budget
from penia_proxy.budget.engine import Ask
from penia_proxy.budget.money import usd
from penia_proxy.budget.usage import Usage
from penia_proxy.clock import iso
from penia_proxy.config import Period
from penia_proxy.errors import (
    ApprovalRequired,
    BudgetBusy,
    BudgetExceeded,
    CallerError,
    Conflict,
    DuplicateRequest,
    InvariantError,
    SchemaViolation,
    UnboundedCall,
    UnpricedModel,
)
from penia_proxy.gateway.holding import Holding
from penia_proxy.gateway.life import State
from penia_proxy.wire.call import Reading, Work
from tests.model.arithmetic import Line, Open, Ruled, cuts
from tests.model.process import FREE, PRICED, PROVIDER, UNPRICED, Process, caller, payer
from tests.model.world import BACK, World, basis_of, once_key

PERIODS: tuple[Period, ...] = get_args(Period)
REFUSALS: dict[str, type[CallerError]] = {
    error.code: error for error in (ApprovalRequired, BudgetExceeded, BudgetBusy, UnpricedModel, UnboundedCall)
}
WEB = "web"
LIVES_MAX = 3
"""A start takes as long as ten other moves, and teaches little where nothing was open."""
MOMENT, MINUTE, HOUR, DAY = (timedelta(**{unit: 1}) for unit in ("microseconds", "minutes", "hours", "days"))
PASSING = (HOUR / 2, HOUR, 3 * HOUR, DAY, 8 * DAY, 33 * DAY)
SET_BACK = (HOUR / 2, DAY)

# Small figures, so that limits are met, and met exactly.
tokens = st.integers(0, 9)
limits = st.none() | st.integers(0, 30) | st.integers(30, 300)
which = st.integers(0, 7)
components = st.sampled_from((WEB, "agent-1"))
works = st.sampled_from([f"resp_{number}" for number in range(8)])
End = tuple[str, int, str]
"""How a call ends, what is then reported, and the provider's name of the work, where it has one."""
ends = st.tuples(
    st.sampled_from(
        ("answered", "answered by name", "cut", "failed", "unreached", "abandoned", "deferred", "deferred", "deferred")
    ),
    tokens,
    works,
)
Steps = list[tuple[bool, int]]
growing = st.lists(
    st.tuples(st.just(True), st.integers(0, 1)) | st.tuples(st.just(False), st.integers(-3, 12)), max_size=2
)
"""What a stream comes to: so much more than is held, or all that there is room for and perhaps a little more."""
limited = st.fixed_dictionaries({}, optional={f"{period}_limit": limits for period in PERIODS})
met = st.fixed_dictionaries({"total_limit": st.integers(30, 150)}, optional={"daily_limit": limits})
"""Limits that calls come to, and that do not refuse all of them."""
calendars = st.fixed_dictionaries(
    {
        "timezone": st.sampled_from(
            ("UTC", "Europe/Berlin", "Asia/Kathmandu", "Australia/Lord_Howe", "America/Havana")
        ),
        "week_start": st.sampled_from(("monday", "sunday")),
        "month_start_day": st.sampled_from((1, 25, 31)),
    }
)
manners = st.fixed_dictionaries(
    {
        "enforcement": st.sampled_from(("block", "block", "approve", "warn", "track")),
        "overrun": st.sampled_from(("never", "finish", "truncate")),
    },
    optional={"unpriced": st.sampled_from(("block", "warn", "allow")), "shadow": st.booleans()},
)
changes = (
    st.tuples(st.sampled_from(PERIODS), limits).map(lambda change: {f"{change[0]}_limit": change[1]})
    | manners
    | st.sampled_from(("deleted", {"is_active": True}))
)
scopes = st.sampled_from(
    ({}, {}, {"components": ["agent-*"]}, {"models": ["gpt-p*", "gpt-u*"]}, {"tags": {"team": "search"}})
)


def in_usd(spec: dict[str, Any]) -> dict[str, Any]:
    """Return a spec with its limits as people write them."""
    return {name: usd(value) if name in LIMITS and value is not None else value for name, value in spec.items()}


LIMITS = {f"{period}_limit" for period in PERIODS}


def usage(count: int) -> Usage:
    return Usage(input=count - count // 2, output=count // 2)


def stated(model: str, count: int, work: Work | None = None) -> Reading:
    """Return what a whole answer says."""
    return Reading(parts=((model, usage(count)),), complete=True, finished=True, work=work)


def billed(model: str, count: int, asked: str = "") -> tuple[int | None, str]:
    """Return cost and basis of what is stated; a model without a price costs what the one asked for does."""
    if model == UNPRICED and asked:
        model = asked
    return {PRICED: count, FREE: 0, UNPRICED: None}[model], basis_of(model, "reported")


async def idle() -> None:
    """Let what was left to the loop run: ends of holds, which wait for nothing."""
    for _ in range(5):
        await asyncio.sleep(0)


class Money(World):
    """What can happen."""

    # By the operator.

    @initialize(
        first=st.tuples(limited, calendars),
        second=st.tuples(met, calendars),
        overruns=st.sampled_from((("never", "finish"), ("finish", "truncate"), ("never", "truncate"))),
    )
    def two_budgets(self, first: Any, second: Any, overruns: tuple[str, str]) -> None:
        """Begin with two kinds that block; every call meets both."""
        self.adds({**first[0], **first[1], "enforcement": "block", "overrun": overruns[0]})
        self.adds({**second[0], **second[1], "enforcement": "block", "overrun": overruns[1]})

    @precondition(lambda self: len(self.said.budgets) < 4)
    @rule(limited=limited, calendar=calendars, manner=manners, scope=scopes)
    def budget_created(self, limited: Any, calendar: Any, manner: Any, scope: Any) -> None:
        """Create a budget while calls run; it covers none of them."""
        self.adds({**limited, **calendar, **manner, "scope": scope})

    def adds(self, spec: dict[str, Any]) -> None:
        self.clock.move(timedelta(milliseconds=1))  # so that budgets have an order
        body = BudgetBody(name=f"b{len(self.said.budgets)}", **in_usd(spec))
        self.took(self.run(self.process.api(create_budget, body=body))["budget_id"])

    def took(self, name: str) -> None:
        """Take what the operator was answered as what is in force."""
        budget = self.process.book.get(name)
        assert budget is not None
        self.said.budgets[name] = budget

    def budget(self, which: int) -> Budget:
        return list(self.said.budgets.values())[which % len(self.said.budgets)]

    def alters(self, budget: Budget, **changes: Any) -> None:
        shown = self.run(self.process.api(change_budget, budget.budget_id, BudgetChange(**in_usd(changes))))
        self.took(budget.budget_id)
        after = self.said.budgets[budget.budget_id]
        for name, value in changes.items():
            is_limit = name in LIMITS
            found = after.limits.get(name.removesuffix("_limit")) if is_limit else shown[name]  # type: ignore[call-overload]
            assert found == value, f"{name} is not what it was set to"
        if after.calendar != budget.calendar:
            self.roofs = {key: roof for key, roof in self.roofs.items() if key.budget_id != budget.budget_id}

    @rule(which=which, change=changes)
    def budget_changed(self, which: int, change: Any) -> None:
        """Raise a limit, lower it (below what is spent, too), take it away; block or only warn; delete, bring back."""
        budget = self.budget(which)
        if change == "deleted":
            self.run(self.process.api(deactivate_budget, budget.budget_id))
            self.took(budget.budget_id)
        else:
            self.alters(budget, **change)

    @rule(which=which, calendar=calendars)
    def calendar_changed(self, which: int, calendar: Any) -> None:
        """Move a budget's windows: refused while a call of it is in flight, else all of its history is recounted."""
        budget = self.budget(which)
        moves = any(getattr(budget.spec, name) != value for name, value in calendar.items())
        flies = any(budget.budget_id in hold.amounts for hold in self.said.open.values())
        try:
            self.alters(budget, **calendar)
        except Conflict:
            assert moves, "a budget's windows could not be moved"
            assert flies, "a budget's windows could not be moved"
        else:
            assert not (moves and flies), "a budget's windows were moved under a call"

    @rule(which=which, period=st.sampled_from(PERIODS), amount=st.integers(1, 60), lasts=st.none() | st.just(HOUR))
    def granted(self, which: int, period: Period, amount: int, lasts: timedelta | None) -> None:
        """Top the present window of a budget up; refused where there is nothing to top up."""
        budget, now = self.budget(which), self.clock.now()
        expires = None if lasts is None else now + lasts
        body = {"period": period, "amount": usd(amount), "reason": "more", "expires_at": expires and iso(expires)}
        try:
            self.run(self.process.api(give_grant, budget.budget_id, GrantBody.model_validate(body)))
        except (Conflict, SchemaViolation):
            assert not budget.is_active or period not in budget.limits, "a budget could not be topped up"
        else:
            self.takes_ruling(budget, Ruled(budget.budget_id, period, now, amount, expires))

    @precondition(lambda self: self.process.services.refusing.approvals._open)
    @rule(which=which, grants=st.booleans())
    def answered(self, which: int, grants: bool) -> None:
        """Grant what a budget asks for, or deny it; refused where that is too late."""
        asked = list(self.process.services.refusing.approvals._open.values())
        approval, now = asked[which % len(asked)], self.clock.now()
        budget = self.said.budgets[approval.budget_id]
        given: Any = {}
        try:
            if grants:
                given = self.run(self.process.api(approve, approval.approval_id, ApproveBody()))["grant"]
            else:
                self.run(self.process.api(deny, approval.approval_id, DenyBody()))
        except Conflict:
            is_over = approval.window_end is not None and approval.window_end <= now
            is_gone = grants and (not budget.is_active or approval.period not in budget.limits)
            assert is_over or is_gone, "a request could not be answered"
        else:
            amount = round(given["amount"] * 10**9) if grants else None
            self.takes_ruling(budget, Ruled(budget.budget_id, approval.period, now, amount))

    def takes_ruling(self, budget: Budget, ruled: Ruled) -> None:
        self.said.rulings.append(ruled)
        self.took(budget.budget_id)

    # By the clock.

    @rule(how=st.sampled_from(("midnight", *PASSING, *(-by for by in SET_BACK))))
    def time_passes(self, how: timedelta | str) -> None:
        """Pass an hour, a change of the clocks, a midnight, a week, a month; or correct a clock that was ahead."""
        now = self.clock.now()
        if isinstance(how, timedelta):
            to = max(now + how, self.latest - BACK)
        else:  # to the last moment before it, and from there on to the first after
            since = (now - datetime.min.replace(tzinfo=UTC)) % DAY
            to = now + max(DAY - MOMENT - since, MOMENT)
        self.clock.move(to - now)
        self.latest = max(self.latest, to)

    # By callers.

    @rule(calls=st.lists(st.tuples(components, tokens, tokens, growing, st.none() | ends), min_size=1, max_size=4))
    def calls(self, calls: list[tuple[str, int, int, Steps, End | None]]) -> None:
        """Ask for ordinary calls, one after another, and let them leave; some grow, some end at once."""
        for component, expected, more, steps, end in calls:
            name = self.asks(PRICED, component, Ask(expected, expected + more, least_nanos=expected // 2))
            if name:
                self.does_outgrow(name, steps)
            if name and end:
                self.does_end(name, *end)

    @rule(
        model=st.sampled_from((PRICED, FREE, UNPRICED)),
        component=components,
        expected=tokens,
        more=st.none() | tokens,
        counted=tokens,
        tagged=st.booleans(),
        sent=st.booleans(),
    )
    def odd_call(self, model: str, expected: int, more: int | None, counted: int, **said: Any) -> None:
        """Ask for a call without a price, a bound or tags, or that is estimated anew by its counted text."""
        most = None if more is None else expected + more
        first, second = Ask(expected, most, "made up"), Ask(min(counted, expected), most, "made up")
        if model != PRICED:
            first = second = Ask(0, 0) if model == FREE else Ask(None, None)
        tags = {"team": "search"} if said["tagged"] else {}
        self.asks(model, said["component"], first, second, tags=tags, sent=said["sent"])

    @precondition(lambda self: self.said.open or self.said.lines)
    @rule(which=which)
    def id_again(self, which: int) -> None:
        """Ask with the id of a call in flight or of a record, for nothing, which every limit has room for."""
        names = [*self.said.open, *(line.name for line in self.said.lines if line.name)]
        self.asks(PRICED, WEB, Ask(0, 0), name=names[which % len(names)])

    def asks(
        self,
        model: str,
        component: str,
        first: Ask,
        counted: Ask | None = None,
        *,
        name: str | None = None,
        tags: dict[str, str] | None = None,
        sent: bool = True,
    ) -> str | None:
        """Ask for a call; return its id if it was admitted, as it must be by what is said, and only then."""
        name = name or self.new_name("c")
        holding = self.process.holding(caller(name, component, tags), model, first, counted or first)
        error = self.run(self.entered(holding))
        covering = self.said.covering(component, model, tags or {})
        ask = holding.estimate.ask
        why = [codes for budget in covering if (codes := self.said.refused(budget, ask, self.clock.now()))]
        if why:
            assert type(error) in {REFUSALS[code] for code in set().union(*why)}, f"{error!r} where {why} was due"
            waiting_helps = all(codes == {"budget_busy"} for codes in why)
            assert not waiting_helps or isinstance(error, BudgetBusy), f"waiting would help, and it said {error!r}"
            return None
        if name in self.said.open or self.said.line(name):
            assert isinstance(error, DuplicateRequest), f"the id {name} was used again: {error!r}"
            return None
        assert error is None, f"what fits was refused: {error!r}"
        each = {budget.budget_id: self.said.amount(budget, ask, self.clock.now()) for budget in covering}
        self.said.open[name] = Open(
            self.clock.now(),
            each,
            max(each.values(), default=ask.expected_nanos or 0),
            {budget.budget_id: budget for budget in covering},
            frozenset(budget.budget_id for budget in covering if cuts(budget, ask)),
        )
        self.holds[name] = holding
        self.admitted(name)
        if sent:
            holding.sent()
        return name

    async def entered(self, holding: Holding) -> CallerError | None:
        """Enter a hold; return why not. In the very step in which it is there, it is on disk."""
        try:
            await holding.__aenter__()
        except CallerError as error:
            return error
        asked = "SELECT amount_nanos FROM holds WHERE hold_id = ?"
        found = self.process.beside.execute(asked, (holding._held.caller.request_id,)).fetchone()
        assert found == (holding.verdict.amount_nanos,), "a hold was not durable when its call could leave"
        return None

    @precondition(lambda self: self.pick(0, State.HELD) is not None)
    @rule(which=which)
    def leaves(self, which: int) -> None:
        """Let a call leave, twice, which is once; nothing can be billed of it before."""
        name = self.picked(which, State.HELD)
        try:
            self.run(self.holds[name].settle_unconfirmed("error"))
        except InvariantError:
            self.holds[name].sent()
            self.holds[name].sent()
            return
        raise AssertionError("a call that has not left was billed")

    # By the provider.

    @precondition(lambda self: self.pick(0, State.SENT) is not None)
    @rule(which=which, steps=growing)
    def outgrows(self, which: int, steps: Steps) -> None:
        """Let a stream come to more than is held, some times."""
        self.does_outgrow(self.picked(which, State.SENT), steps)

    def does_outgrow(self, name: str, steps: Steps) -> None:
        """Hold more of a call in all budgets that let it grow, or in none."""
        holding, hold = self.holds[name], self.said.open[name]
        for to_the_brim, more in steps:
            held = holding.growing_nanos
            if held is None or holding._held.model != PRICED:
                return  # what holds the most there can be, or has no price, does not grow
            to = (self.said.brim(name) if to_the_brim else None) or held
            grown = self.said.grown(name, to + more)
            was_held = self.run(holding.extend(to + more))
            assert was_held == (grown is not None), f"{to + more} was {'' if was_held else 'not '}held"
            if grown is None:
                continue
            for budget_id, amount in grown.items():
                assert amount >= hold.amounts[budget_id], "an extension gave something back"
                if budget_id not in hold.cut:
                    self.exceeded(budget_id, hold.at, amount - hold.amounts[budget_id])
            hold.amounts, hold.amount = grown, max(hold.amount, *grown.values())
            assert [leg.amount_nanos for leg in holding.verdict.legs] == list(grown.values()), "what has grown"

    @precondition(lambda self: self.pick(0, State.HELD, State.SENT) is not None)
    @rule(which=which, end=ends)
    def ended(self, which: int, end: End) -> None:
        """End a call in flight, or keep its hold for a bill that comes later."""
        self.does_end(self.picked(which, State.HELD, State.SENT), *end)

    def does_end(self, name: str, how: str, count: int, named: str) -> None:
        holding = self.holds[name]
        model, was_sent = holding._held.model, holding.was_sent
        if how == "abandoned" or not was_sent:
            self.run(holding.__aexit__(None, None, None))
            if was_sent:
                self.unconfirmed(name)
            else:
                self.released(name)
        elif how == "unreached":
            self.run(holding.release())
            self.released(name)
        elif how == "failed":
            self.run(self.process.answered(holding, Reading(failed=True, finished=True)))
            self.released(name)
        elif how == "cut":
            self.run(self.process.answered(holding, Reading(parts=((model, usage(count)),)), "cut"))
            self.settled(name, billed(model, count)[0], basis_of(model, "partial"), guess=True)
        elif how == "deferred":
            self.defers(name, named)
        else:
            work = Work(named) if how == "answered by name" else None
            self.run(self.process.answered(holding, stated(model, count, work)))
            key = once_key(named) if work and named not in self.claimed else None
            if work:
                self.claimed.add(named)
            self.settled(name, *billed(model, count), key=key)

    def defers(self, name: str, named: str) -> None:
        """Keep a hold until its bill is stated; where another waits under this name, this one is settled."""
        if named in self.claimed:
            return
        is_taken = self.waiting(named)
        self.run(self.process.answered(self.holds[name], Reading(work=Work(named, due_s=86_400))))
        self.run(idle())
        if is_taken:
            self.unconfirmed(name)
        else:
            self.said.open[name].key = once_key(named)

    @precondition(lambda self: self.gone)
    @rule(which=which)
    def ended_again(self, which: int) -> None:
        """End what has ended in every way there is: twice equals once."""
        holding = self.gone[which % len(self.gone)]
        name = holding._held.caller.request_id
        self.run(holding.settle_unconfirmed("error"))
        self.run(holding.release())
        self.run(holding.__aexit__(None, None, None))
        if name not in self.said.open:
            self.run(self.ledger_ends(name, holding if self.said.line(name) else None))

    async def ledger_ends(self, name: str, settled: Holding | None) -> None:
        await self.process.ledger.release(name)
        if settled is not None:
            await self.process.ledger.settle(
                settled._record(settled.bill(((None, usage(1)),), "reported"), "ok", None, None, {})
            )

    # By the provider, later.

    @rule(
        of=st.sampled_from(("a guess", "what waits", "anything")),
        named=works,
        count=tokens,
        model=st.sampled_from((PRICED, PRICED, FREE, UNPRICED)),
    )
    def bill_stated(self, of: str, named: str, count: int, model: str) -> None:
        """State a bill: of a hold that waits, of a guess, of nothing that is known, or of what has been booked."""
        keys = [line.key for line in self.said.lines if line.guess and not self.said.corrected(line)]
        if of == "what waits":
            keys = [hold.key for hold in self.said.open.values()]
        if of != "anything":
            named = next((key.partition(":")[2] for key in keys if key), named)
        self.states(named, count, model)

    def states(self, named: str, count: int, model: str) -> None:
        name = self.new_name("t")
        told = self.process.works.told(payer(caller(name, WEB)), stated(model, count, Work(named)))
        self.run(told)
        if waiting := self.waiting(named):
            self.settled(waiting, *billed(model, count, self.holds[waiting]._held.model), key=once_key(named))
        elif named not in self.claimed:
            line = Line(name, self.clock.now(), self.ids(model), *billed(model, count), key=once_key(named))
            self.booked(named, line)
        self.claimed.add(named)

    async def passes_deadline(self, key: str) -> None:
        self.process.works._give_up(key)
        await idle()

    def booked(self, named: str, line: Line) -> None:
        """Take it that a bill without a hold is a record, the correction of one, or known."""
        guess = self.said.billed(once_key(named))
        if guess is None:
            self.written(line)
        elif guess.guess and line.cost is not None and not self.said.corrected(guess):
            by = line.cost - (guess.cost or 0)
            self.written(Line("", guess.at, guess.budgets, by, line.basis, corrects=guess.name))

    def ids(self, model: str, component: str = WEB) -> tuple[str, ...]:
        return tuple(budget.budget_id for budget in self.said.covering(component, model, {}))

    @precondition(lambda self: self.pick(0, State.DEFERRED) is not None)
    @rule(which=which, how=st.sampled_from(("failed", "finished", "overdue", "overdue")), count=st.none() | tokens)
    def never_billed(self, which: int, how: str, count: int | None) -> None:
        """End a work without a bill: it failed and is free, or it costs what was held, until a bill comes after all."""
        name = self.picked(which, State.DEFERRED)
        key = self.said.open[name].key or ""
        if how == "overdue":
            self.run(self.passes_deadline(key))
        else:
            reading = Reading(finished=True, failed=how == "failed", work=Work(key.partition(":")[2]))
            self.run(self.process.works.told(payer(caller("nobody", WEB)), reading))
        if how == "failed":
            self.released(name)
        else:
            # Of a work without a price that ended, nothing more is awaited.
            self.unconfirmed(name, key=key, guess=how == "overdue")
        if how == "overdue" and count is not None:
            self.states(key.partition(":")[2], count, PRICED)

    @rule(
        name=st.sampled_from(("p_1", "p_2", "p_3", "of a call")),
        again=st.booleans(),
        post=st.tuples(tokens, components, st.sampled_from((0 * DAY, HOUR, DAY, 45 * DAY, -4 * MINUTE))),
    )
    def posted(self, name: str, again: bool, post: tuple[int, str, timedelta]) -> None:
        """Post a call made without the gateway: an id counts once, only with the same content, and no call has it."""
        if name == "of a call":
            name = next(iter(self.said.open), "p_1")
        cost, component, at = post[0], post[1], self.clock.now() - post[2]
        if again and name in self.posts and self.posts[name][2] <= self.clock.now():
            cost, component, at = self.posts[name]
        before, same = self.said.line(name), self.posts.get(name) == (cost, component, at)
        body = {"component": component, "provider": PROVIDER, "model": PRICED, "timestamp": iso(at)}
        body = RecordBody(cost=usd(cost), record_id=name, **body)
        try:
            reply = self.run(self.process.api(post_record, body=body))
        except Conflict:
            assert before or name in self.said.open, "a new record was refused"
            assert not same, "the same record was refused"
            return
        assert isinstance(reply, Reply)
        assert name not in self.said.open, "a record has the id of a call in flight"
        assert (reply.status == 200) == (before is not None), f"{name} was counted {'again' if before else 'never'}"
        assert before is None or same, f"{name} was taken for another record"
        if before is None:
            self.posts[name] = (cost, component, at)
            self.written(Line(name, at, self.ids(PRICED, component), cost, "client"))

    # By whoever runs the process.

    @precondition(lambda self: self.lives < LIVES_MAX and self.said.open)
    @rule(count=st.none() | tokens)
    def restarted(self, count: int | None) -> None:
        """Stop and start: calls in flight are abandoned; what is awaited is booked at what is held, then billed."""
        waited = [hold.key for hold in self.said.open.values() if hold.key]
        while self.pick(0, State.HELD, State.SENT):
            self.ended(0, ("abandoned", 0, ""))
        self.run(self.process.stop())
        for name in list(self.holds):
            self.unconfirmed(name, key=self.said.open[name].key)
        self.lives += 1
        self.starts(Process(self.process.file, self.clock))
        for key in waited if count is not None else ():
            self.states(key.partition(":")[2], count or 0, PRICED)

    @precondition(lambda self: self.lives < LIVES_MAX and self.said.open)
    @rule(unwritten=st.lists(st.tuples(which, st.booleans()), max_size=3))
    def killed(self, unwritten: list[tuple[int, bool]]) -> None:
        """Kill and start: what was open costs what it held; ends that were not on disk yet have not been."""
        self.run(self.process.ledger.caught_up())
        after = Process(self.process.left_in(self.folder()), self.clock)
        for which, settles in unwritten:
            if name := self.pick(which, State.SENT):
                holding = self.holds.pop(name)
                self.run(holding.settle_unconfirmed("error") if settles else holding.release())
        self.run(self.process.die())
        for name, hold in sorted(self.said.open.items(), key=lambda item: (item[1].at, item[0])):
            for budget_id, amount in hold.amounts.items():
                self.exceeded(budget_id, hold.at, hold.amount - amount)
            basis = "unconfirmed" if hold.amount else "unpriced"
            self.said.end(name, hold.amount or None, basis, key=hold.key, guess=True)
        self.starts(after)

    def starts(self, process: Process) -> None:
        self.forgotten()
        self.process = process
        self.run(process.start())
        assert process.ledger.holds_open == 0, "a hold has survived its process"
        assert not any(tally.held_nanos for tally in process.counters._tallies.values()), "money is held after a start"
        assert process.differences() == [], "verify finds differences after a start"
