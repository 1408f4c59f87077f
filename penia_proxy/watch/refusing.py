"""
Refuse a call.

Its one job: a verdict that blocks → the error that its caller gets, with what follows from it: a request for approval,
and the refusal itself kept.
Rule: nothing here is waited for, so that a storm of refusals costs no more than its answers.
"""

from dataclasses import dataclass

from penia_proxy.budget.engine import Verdict
from penia_proxy.errors import (
    ApprovalRequired,
    BudgetBusy,
    BudgetExceeded,
    CallerError,
    UnboundedCall,
    UnpricedModel,
)
from penia_proxy.watch.approvals import Approvals, Asking
from penia_proxy.watch.refusals import Refusals

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

    def __init__(self, approvals: Approvals, refusals: Refusals) -> None:
        self._approvals = approvals
        self._refusals = refusals

    def error(self, verdict: Verdict, asking: Asking) -> CallerError:
        """Return the error that a blocking verdict is."""
        code = verdict.code or BudgetExceeded.code
        approval_id = self._approvals.ask(verdict, asking) if code == ApprovalRequired.code else None
        self._refusals.keep(verdict, code, asking, approval_id)
        return _BY_CODE[code](verdict.reason, detail=Refused(verdict, approval_id))
