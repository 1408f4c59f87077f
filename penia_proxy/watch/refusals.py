"""
Keep what was refused.

Its one job: each refusal by a budget → a row that explains it, without content.
Rules: nobody waits for it. A storm may not harm: so many are kept in a second and so many may be on their way to the
disk, and the rest are counted; the next row that is kept says how many were not. Rows are kept for REFUSALS_AGE and up
to REFUSALS_MAX (`ledger.rulings`).
"""

from asyncio import Future  # noqa: TC003 - an annotation, evaluated

from penia_proxy.budget.engine import Verdict
from penia_proxy.budget.words import Refusal, text_of
from penia_proxy.clock import Clock
from penia_proxy.ledger.ledger import Ledger, let_run
from penia_proxy.watch.approvals import Asking

KEPT_PER_S = 50
ON_THEIR_WAY_MAX = 200
TIDY_EVERY = 1_000
"""Kept refusals, the first of a process included."""


class Refusals:
    """The way of refusals into the ledger."""

    def __init__(self, ledger: Ledger, clock: Clock) -> None:
        self._ledger = ledger
        self._clock = clock
        self._second = -1
        self._in_second = 0
        self._on_their_way = 0
        self._until_tidy = 0
        self.not_kept = 0
        """Since the last one that was."""

    def keep(self, verdict: Verdict, code: str, asking: Asking, approval_id: str | None) -> None:
        """Keep a refusal, if there is room for it."""
        second = int(self._clock.monotonic())
        if second != self._second:
            self._second, self._in_second = second, 0
        if self._in_second >= KEPT_PER_S or self._on_their_way >= ON_THEIR_WAY_MAX:
            self.not_kept += 1
            return
        self._in_second += 1
        decided = next(word for word in verdict.words if word.kind == "block" and word.code == verdict.code)
        refusal = Refusal(
            request_id=asking.request_id,
            at=asking.at,
            component=asking.facts.component,
            provider=asking.facts.provider,
            model=asking.facts.model,
            code=code,
            message=verdict.reason,
            budget_id=decided.budget.budget_id,
            amount_nanos=verdict.amount_nanos,
            words=text_of(verdict),
            approval_id=approval_id,
            not_kept=self.not_kept,
        )
        self.not_kept = 0
        self._on_their_way += 1
        self._ledger.keep_refusal(refusal).add_done_callback(lambda done: self._kept(done, refusal))
        self._tidy()

    def _kept(self, done: "Future[None]", refusal: Refusal) -> None:
        self._on_their_way -= 1
        if done.cancelled() or done.exception() is not None:
            self.not_kept += 1 + refusal.not_kept

    def _tidy(self) -> None:
        if self._until_tidy == 0:
            self._until_tidy = TIDY_EVERY
            let_run(self._ledger.forget_refusals())
        self._until_tidy -= 1
