"""
Pass on what happens.

Its one job: everybody who follows calls is told by one name: the live feed, the alerts and what is counted.
Rules: no method waits or raises. What is told of a record is told once it is on disk.
"""

from collections.abc import Iterable

from penia_proxy.budget.engine import Verdict
from penia_proxy.budget.grants import Approval
from penia_proxy.budget.record import UsageRecord
from penia_proxy.watch.alerts import Alerts
from penia_proxy.watch.live import LiveHub
from penia_proxy.watch.shapes import record_json
from penia_proxy.watch.totals import Totals


class Announcer:
    """Who tells them."""

    def __init__(self, hub: LiveHub, alerts: Alerts) -> None:
        self._hub = hub
        self._alerts = alerts
        self.totals = Totals()

    def judged(self, verdict: Verdict) -> None:
        """Take the verdict on a call, and the figures at that moment."""
        if verdict.kind == "block":
            self._alerts.refused(verdict.words)
        else:
            self._alerts.admitted(verdict.words)

    def asked(self, approval: Approval) -> None:
        """Take that a budget waits for somebody's approval; once for each request."""
        self.touched([approval.budget_id])
        self._alerts.asked(approval)

    def touched(self, budget_ids: Iterable[str]) -> None:
        """Take that the figures, limits or names of budgets have changed."""
        ids = tuple(budget_ids)
        self._hub.touch(ids)
        self._alerts.touched(ids)

    def published(self, record: UsageRecord) -> None:
        """Take a record that is on disk."""
        self.totals.recorded(record)
        if self._hub.listening:
            self._hub.usage(record_json(record), record.budget_ids, record.component)
        self._alerts.recorded(record)
