"""
Refuse a call.

Its one job: a verdict that blocks → the error that its caller gets, with what follows from it: a request for approval,
and the refusal itself kept.
Rule: nothing here is waited for, so that a storm of refusals costs no more than its answers.
"""

from collections.abc import Callable
from dataclasses import dataclass

from penia_proxy.budget.engine import Verdict
from penia_proxy.budget.grants import Approval
from penia_proxy.clock import Clock
from penia_proxy.errors import (
    ApprovalRequired,
    BudgetBusy,
    BudgetExceeded,
    CallerError,
    UnboundedCall,
    UnpricedModel,
)
from penia_proxy.ledger.ledger import Ledger
from penia_proxy.watch.approvals import Approvals, Asking
from penia_proxy.watch.refusals import Refusals
from penia_proxy.watch.totals import Totals

_BY_CODE: dict[str, type[CallerError]] = {
    error.code: error for error in (BudgetExceeded, ApprovalRequired, BudgetBusy, UnpricedModel, UnboundedCall)
}


@dataclass(frozen=True, slots=True)
class Refused:
    """The ``detail`` of the error."""

    verdict: Verdict
    approval_id: str | None
    """The request that somebody has to grant; set for `ApprovalRequired`."""


class Refusing:
    """What every refusal by a budget goes through."""

    def __init__(self, ledger: Ledger, clock: Clock, asked: Callable[[Approval], None], totals: Totals) -> None:
        """Call ``asked`` once with each new request for approval; it must not raise."""
        self._totals = totals
        self._ledger = ledger
        self._clock = clock
        self.approvals = Approvals(ledger, clock, asked)
        self.refusals = Refusals(ledger, clock)

    async def start(self) -> None:
        """Take the requests that are open."""
        self.approvals.load(await self._ledger.rulings.pending(self._clock.now()))

    def stop(self) -> None:
        """Queue what is not written, before the ledger is closed."""
        self.approvals.flush()

    def error(self, verdict: Verdict, asking: Asking) -> CallerError:
        """Return the error that a blocking verdict is."""
        code = verdict.code or BudgetExceeded.code
        approval_id = self.approvals.ask(verdict, asking) if code == ApprovalRequired.code else None
        self._totals.refused(asking.facts.provider, code)
        self.refusals.keep(verdict, code, asking, approval_id)
        return _BY_CODE[code](verdict.reason, detail=Refused(verdict, approval_id))
