"""
Move a budget to another calendar.

Its one job: a budget whose time zone, week start or month start changes gets its counters made anew.
Rules: the ledger recounts in the same transaction; the counters take its figures in the same step in which the book
takes the budget. That is exact only while nothing of the budget is in flight, because a hold is in the windows it was
admitted to; while something is, the change is refused.
"""

from collections.abc import Mapping
from typing import Any

from penia_proxy.api.services import Services
from penia_proxy.budget.budget import Budget
from penia_proxy.budget.record import Tally
from penia_proxy.budget.windows import EPOCH, WindowKey
from penia_proxy.errors import Conflict

ATTEMPTS_MAX = 10


async def move_windows(services: Services, before: Budget, after: Budget, audit: Mapping[str, Any]) -> None:
    """
    Write the changed budget and reload its counters; the caller must put it in the book without awaiting in between.

    Raises Conflict, with nothing changed, while calls of the budget are in flight.
    """
    if await services.counters.in_flight(after.budget_id):
        raise _in_flight()
    await services.ledger.save_budget(after, audit)
    for _ in range(ATTEMPTS_MAX):
        seen = await _total(services, after)
        await services.ledger.caught_up()
        now = services.clock.now()
        tallies = await services.ledger.tallies(now)
        # Every calendar has the same total: where it has not moved, the ledger's figures are of this very moment.
        if not await services.counters.in_flight(after.budget_id) and await _total(services, after) == seen:
            present = (WindowKey(after.budget_id, one.period, one.start) for one in after.calendar.windows(now))
            own = {key: tally for key, tally in tallies.items() if key.budget_id == after.budget_id}
            services.counters.load({**dict.fromkeys(present, Tally()), **own})
            return
    await services.ledger.save_budget(before, {**audit, "action": "undo"})
    raise _in_flight()


async def _total(services: Services, budget: Budget) -> Tally:
    return (await services.counters.read([WindowKey(budget.budget_id, "total", EPOCH)]))[0]


def _in_flight() -> Conflict:
    return Conflict("The budget's calendar cannot change while calls of it are in flight; try again when none is.")
