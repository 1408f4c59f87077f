"""
Show numbers to a monitoring system.

Its one job: `/metrics` in Prometheus' text format: what calls came to and cost, what is held and under way, how near
budgets are to their limits, and whether anything waits that should not.
Rules: everything is read when it is asked for; no call pays for it but by `watch.totals`. The number of series is
bounded, whoever names what: of budgets the windows that are nearest to their limits are shown, and the others counted.
The text is made in a thread. Names end with their unit, and docs/metrics.md lists every one.
"""

import asyncio
import heapq
import platform
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from prometheus_client import ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from sqlalchemy.exc import SQLAlchemyError

from penia_proxy import __version__
from penia_proxy.api.endpoint import Call, Endpoint, Written
from penia_proxy.api.fields import Nothing
from penia_proxy.api.services import Services
from penia_proxy.budget.budget import Budget
from penia_proxy.budget.money import usd
from penia_proxy.budget.windows import Window, WindowKey
from penia_proxy.export.courtesy import calls_first
from penia_proxy.ledger.file import path_of

BUDGET_WINDOWS_MAX = 250
"""Shown; four series each."""
BUDGETS_AT_ONCE = 200
"""Looked at in one step of the event loop: about a millisecond."""
CAPTURED_MAX = 50
"""Providers whose reconciliations are shown."""
CAPTURE_DAYS = 14
"""Of each, the newest days."""

_READABLE = "Whether the ledger's file could be read just now."

Series = Iterable[tuple[tuple[str, ...], float]]


class _Window(NamedTuple):
    """A budget's window, and how it stands."""

    ratio: float
    budget: Budget
    window: Window
    limit_nanos: int
    spent_nanos: int
    held_nanos: int


async def metrics(call: Call[Nothing, Nothing]) -> Written:
    """Show numbers to a monitoring system, in Prometheus' text format."""
    services = call.services
    windows, omitted = await _nearest(services)
    families = [*_of_calls(services), *_of_now(services), *_of_budgets(windows, omitted)]
    families += [*await _of_the_file(services), *_of_the_ledger(services)]
    families += [*_of_captures(services), *_of_the_process(services)]
    with calls_first():
        text = await asyncio.to_thread(generate_latest, _Families(families))
    return Written(text, CONTENT_TYPE_PLAIN_0_0_4)


class _Families:
    """What is shown, as prometheus_client asks for it; and what its process says, which takes reading files."""

    def __init__(self, families: Sequence[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterator[Metric]:
        yield from self._families
        yield from ProcessCollector(registry=None).collect()


def _gauge(name: str, text: str, labels: Sequence[str], series: Series) -> Metric:
    family = GaugeMetricFamily(f"penia_{name}", text, labels=labels)
    for values, value in series:
        family.add_metric(values, value)
    return family


def _counter(name: str, text: str, labels: Sequence[str], series: Series) -> Metric:
    family = CounterMetricFamily(f"penia_{name}", text, labels=labels)
    for values, value in series:
        family.add_metric(values, value)
    return family


def _number(name: str, text: str, value: float) -> Metric:
    return _gauge(name, text, (), [((), value)])


def _of_calls(services: Services) -> Iterator[Metric]:
    totals = services.announcer.totals
    by_provider = ("provider",)
    yield _counter("calls", "Calls by how they ended.", ("provider", "verdict", "status"), totals.calls().items())
    yield _counter(
        "charged_usd", "What records added to what was spent.", by_provider, _dollars(totals.by_provider("charged"))
    )
    yield _counter(
        "credited_usd", "What corrections took from it again.", by_provider, _dollars(totals.by_provider("credited"))
    )
    unpriced = [((name,), number) for name, number in totals.by_provider("unpriced").items()]
    yield _counter("unpriced_calls", "Records without a price.", by_provider, unpriced)
    text = "Attempts at providers, by what they came to."
    yield _counter("provider_attempts", text, ("provider", "outcome"), services.attempts.totals())


def _dollars(nanos: Mapping[str, int]) -> Series:
    return [((name,), usd(amount)) for name, amount in nanos.items()]


def _of_now(services: Services) -> Iterator[Metric]:
    underway = services.underway()
    yield _number("holds", "Open holds.", services.ledger.holds_open)
    yield _number("calls_underway", "Requests of the data plane that are being answered.", underway.calls)
    yield _number("sessions_underway", "WebSockets to providers.", underway.sessions)
    yield _number("drains_underway", "Answers that are read on without their callers.", underway.drains)
    yield _number("bills_awaited", "Holds whose bill comes with a later answer.", underway.bills_awaited)
    yield _number("body_bytes", "Bodies of calls in memory.", underway.body_bytes)
    yield _number("live_clients", "Clients of the live feed.", services.hub.client_count)
    pending = services.refusing.approvals.pending(services.clock.now())
    yield _number("approvals_pending", "Requests for approval that nobody has answered.", pending)


async def _of_the_file(services: Services) -> list[Metric]:
    """Return what the ledger has; where it cannot be read, the rest is all the more wanted."""
    try:
        standing = await services.ledger.gauges.read(services.clock.now())
    except SQLAlchemyError:
        return [_number("ledger_readable", _READABLE, 0)]
    alerts = standing.alerts.items()
    states = [((state,), standing.notifications.get(state, 0)) for state in ("pending", "dead")]
    return [
        _number("ledger_readable", _READABLE, 1),
        _number("held_usd", "Held by open holds: of each the most that any budget holds.", usd(standing.held_nanos)),
        _number("streams_underway", "Open holds of calls that are answered as a stream.", standing.streams),
        _gauge("alerts_open", "Alerts that are neither resolved nor over.", ("type", "severity"), alerts),
        _gauge("notifications", "What is to be sent of alerts, and what was given up.", ("state",), states),
    ]


async def _nearest(services: Services) -> tuple[list[_Window], int]:
    """Return the limited windows that are nearest to their limits, and how many others there are."""
    nearest: list[_Window] = []
    budgets = list(services.book.active)
    total = 0
    for first in range(0, len(budgets), BUDGETS_AT_ONCE):
        found = await _stand(services, budgets[first : first + BUDGETS_AT_ONCE])
        total += len(found)
        nearest = heapq.nlargest(BUDGET_WINDOWS_MAX, [*nearest, *found], key=lambda one: one.ratio)
        await asyncio.sleep(0)
    return nearest, total - len(nearest)


async def _stand(services: Services, budgets: Iterable[Budget]) -> list[_Window]:
    now = services.clock.now()
    limited = [
        (budget, budget.calendar.window(period, now), limit)
        for budget in budgets
        for period, limit in budget.limits_at(now).items()
    ]
    keys = [WindowKey(budget.budget_id, window.period, window.start) for budget, window, _ in limited]
    return [
        _Window(
            tally.spent_nanos / limit if limit else float(tally.spent_nanos > 0),
            budget,
            window,
            limit,
            tally.spent_nanos,
            tally.held_nanos,
        )
        for (budget, window, limit), tally in zip(limited, await services.counters.read(keys), strict=True)
    ]


def _of_budgets(windows: Sequence[_Window], omitted: int) -> Iterator[Metric]:
    labels = ("budget_id", "name", "period")
    keys = [(one.budget.budget_id, one.budget.name, one.window.period) for one in windows]
    for name, text, values in (
        ("limit_usd", "Limit of the present window, grants included.", [usd(one.limit_nanos) for one in windows]),
        ("spent_usd", "Spent in it.", [usd(one.spent_nanos) for one in windows]),
        ("held_usd", "Held in it.", [usd(one.held_nanos) for one in windows]),
        ("spent_ratio", "Spent ÷ limit.", [one.ratio for one in windows]),
    ):
        yield _gauge(f"budget_{name}", text, labels, zip(keys, values, strict=True))
    yield _number("budget_windows_omitted", "Limited windows that are not shown, further from their limits.", omitted)


def _of_the_ledger(services: Services) -> Iterator[Metric]:
    ledger = services.ledger
    yield _number("ledger_healthy", "Whether the last write succeeded.", float(ledger.healthy))
    yield _number("ledger_queue", "Moves that are not durable yet.", ledger.queue_depth)
    yield _counter("ledger_commits", "Transactions.", (), [((), ledger.commits)])
    path = path_of(services.config.ledger.url)
    files = {"database": path, "log": path.with_name(path.name + "-wal")}
    sizes = [((name,), file.stat().st_size) for name, file in files.items() if file.exists()]
    yield _gauge("ledger_bytes", "Size of the file, and of its write-ahead log.", ("file",), sizes)


def _of_captures(services: Services) -> Iterator[Metric]:
    captured = dict(list(services.captured.items())[:CAPTURED_MAX])
    whole = [((name,), one.rate) for name, one in captured.items() if one.rate is not None]
    days = [
        ((name, str(day)), rate)
        for name, one in captured.items()
        for day, rate in one.days[-CAPTURE_DAYS:]
        if rate is not None
    ]
    yield _gauge("capture_ratio", "Captured ÷ billed, of the newest reconciliation.", ("provider",), whole)
    yield _gauge("capture_day_ratio", "The same, of its newest days.", ("provider", "day"), days)


def _of_the_process(services: Services) -> Iterator[Metric]:
    info = [((__version__, services.prices.version, platform.python_version()), 1.0)]
    yield _gauge("build_info", "What runs; always 1.", ("version", "pricing_version", "python"), info)
    failed = float(services.config_error is not None)
    yield _number("config_reload_failed", "Whether the last reload of the configuration changed nothing.", failed)
    yield _number("draining", "Whether calls are refused because the process ends.", float(services.draining))
    yield _counter("clock_jumps", "Jumps of the machine's clock.", (), [((), services.jumps.count)])


ENDPOINTS: tuple[Endpoint, ...] = (
    Endpoint(
        method="GET",
        path="/metrics",
        handler=metrics,
        tag="health",
        media=("text/plain",),
    ),
)
