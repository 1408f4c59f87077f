"""
Ask people to grant a budget more.

Its one job: one request for approval per window of an `approve` budget while nobody has answered it, and how many calls
were refused meanwhile.
Rules: nobody waits for it, and it never fails a call. The first refusal is written at once; the counts after it at most
once in SAVE_EVERY_S and whenever somebody looks, so that a kill can lose a second's counting and never a request. What
was decided is the ledger's to say: here is only what is open.
"""

from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import datetime
from typing import NamedTuple

from penia_proxy.budget.engine import LegVerdict, Verdict
from penia_proxy.budget.grants import Approval
from penia_proxy.budget.scope import Facts
from penia_proxy.budget.windows import WindowKey
from penia_proxy.clock import Clock
from penia_proxy.ids import new_id
from penia_proxy.ledger.ledger import Ledger, let_run

SAVE_EVERY_S = 1.0
CROWDED = 1_000
"""Open requests before those of windows that are over are looked for."""


class Asking(NamedTuple):
    """The call that was refused."""

    facts: Facts
    request_id: str
    at: datetime


class Approvals:
    """The open requests."""

    def __init__(self, ledger: Ledger, clock: Clock, announce: Callable[[Approval], None]) -> None:
        """``announce`` is called once with each new request; must not raise."""
        self._ledger = ledger
        self._clock = clock
        self._announce = announce
        self._open: dict[WindowKey, Approval] = {}
        self._unsaved: set[WindowKey] = set()
        self._saved_at: dict[WindowKey, float] = {}

    def load(self, pending: Iterable[Approval]) -> None:
        """Take the ledger's open requests."""
        self._open.update((_key(approval), approval) for approval in pending)

    def ask(self, verdict: Verdict, asking: Asking) -> str | None:
        """Ask for every window that needs it; return the id of the request that the refusal names."""
        words = [word for word in verdict.words if word.kind == "block" and word.code == "approval_required"]
        asked = [self._ask(word, asking) for word in words]
        return asked[0].approval_id if asked else None

    def pending(self, at: datetime) -> int:
        """Return how many requests can be answered at an instant."""
        return sum(approval.state_at(at) == "pending" for approval in self._open.values())

    def find(self, approval_id: str) -> Approval | None:
        """Return an open request with its count of this moment."""
        return next((one for one in self._open.values() if one.approval_id == approval_id), None)

    def of(self, budget_id: str) -> list[Approval]:
        """Return the open requests of a budget, those of windows that are over among them."""
        return [one for one in self._open.values() if one.budget_id == budget_id]

    def answered(self, approval: Approval) -> None:
        """Take it that a request is answered: the next refusal is another."""
        self._forget(_key(approval))

    def flush(self) -> None:
        """Queue every count that is not written."""
        for key in list(self._unsaved):
            self._save(key)

    def _ask(self, word: LegVerdict, asking: Asking) -> Approval:
        window, facts = word.window, asking.facts
        key = WindowKey(word.budget.budget_id, window.period, window.start)
        known = self._open.get(key)
        if known is not None:
            self._open[key] = approval = replace(
                known,
                amount_nanos=max(known.amount_nanos, word.amount_nanos),
                refused_calls=known.refused_calls + 1,
                last_refused_at=asking.at,
            )
            self._unsaved.add(key)
            if self._clock.monotonic() - self._saved_at.get(key, 0.0) >= SAVE_EVERY_S:
                self._save(key)
            return approval
        self._tidy(asking.at)
        self._open[key] = approval = Approval(
            approval_id=new_id("ap"),
            budget_id=word.budget.budget_id,
            period=window.period,
            window_start=window.start,
            window_end=window.end,
            state="pending",
            asked_at=asking.at,
            component=facts.component,
            provider=facts.provider,
            model=facts.model,
            request_id=asking.request_id,
            amount_nanos=word.amount_nanos,
            refused_calls=1,
            last_refused_at=asking.at,
        )
        self._save(key)
        self._announce(approval)
        return approval

    def _save(self, key: WindowKey) -> None:
        self._unsaved.discard(key)
        self._saved_at[key] = self._clock.monotonic()
        let_run(self._ledger.save_approval(self._open[key]))

    def _tidy(self, now: datetime) -> None:
        if len(self._open) >= CROWDED:
            self.flush()
            for key, approval in list(self._open.items()):
                if approval.state_at(now) == "lapsed":
                    self._forget(key)

    def _forget(self, key: WindowKey) -> None:
        self._open.pop(key, None)
        self._unsaved.discard(key)
        self._saved_at.pop(key, None)


def _key(approval: Approval) -> WindowKey:
    return WindowKey(approval.budget_id, approval.period, approval.window_start)
