"""
Say when a request's text is worth counting.

Its one job: whether a verdict on a cheap estimate could be another one on a counted estimate.
Rule: counting takes processor time, so it is for calls near a limit only.
"""

from penia_proxy.budget.engine import Verdict
from penia_proxy.budget.estimate import Estimate


def counting_may_help(verdict: Verdict) -> bool:
    """
    Whether only expected amounts stand between the call and a better verdict.

    A bound, a missing price, or what is already spent and held is not changed by counting this call's text.
    """
    words = [word for word in verdict.words if word.kind == verdict.kind] if verdict.kind != "allow" else []
    return bool(words) and all(
        word.budget.spec.overrun != "never"
        and word.code in ("budget_exceeded", "approval_required", "budget_busy", None)
        and word.limit_nanos is not None
        and word.spent_nanos + word.held_nanos < word.limit_nanos * (word.budget.warn_at if word.kind == "warn" else 1)
        for word in words
    )


def is_short(verdict: Verdict, estimate: Estimate) -> bool:
    """Whether a budget that truncates has less room than was asked for, by the size of text that was not counted."""
    wanted = estimate.ask.expected_nanos or 0
    return not estimate.counted and any(leg.truncates and leg.amount_nanos < wanted for leg in verdict.legs)
