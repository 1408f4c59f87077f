"""
Calls at moments at which calendars, and programs that know them, go wrong.

A gateway whose wall clock a test sets; the waits go by the machine's own.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path

import aiohttp
import pytest

from penia_proxy.app import Gateway
from penia_proxy.clock import SystemClock
from penia_proxy.config import load_config
from penia_proxy.sandbox import running_sandbox
from penia_proxy.sandbox.faults import Behaviour
from tests.gateways import KEYS, Running, balanced
from tests.processes import configure

CHAT = "/openai/v1/chat/completions"
TALK = {"model": "gpt-4o-mini", "max_tokens": 30, "stream": True, "messages": [{"role": "user", "content": "hi"}]}
SECOND = timedelta(seconds=1)


class Wall(SystemClock):
    """A wall clock that stands where a test puts it."""

    def __init__(self) -> None:
        self.instant = datetime(2026, 1, 1, tzinfo=UTC)

    def now(self) -> datetime:
        return self.instant


At = Callable[[str, datetime], Awaitable[tuple[Running, Wall]]]


@pytest.fixture
async def at(tmp_path: Path) -> AsyncIterator[At]:
    """Give tests a function that runs a gateway with a budget of some zone, at an instant."""
    started: list[Running] = []
    async with AsyncExitStack() as stack:

        async def begin(zone: str, instant: datetime) -> tuple[Running, Wall]:
            wall = Wall()
            wall.instant = instant
            slow = Behaviour(chunk_delay_s=0.01, output_tokens=15)
            sandbox = await stack.enter_async_context(running_sandbox(slow))
            session = await stack.enter_async_context(aiohttp.ClientSession())
            budget = f"{{name: Local, daily_limit: 5, hourly_limit: 5, monthly_limit: 5, timezone: '{zone}'}}"
            url = f"url: 'sqlite:///{tmp_path}/penia.db'"
            path = configure(tmp_path, sandbox.url, ledger=url, budgets=budget)
            gateway = await Gateway(load_config(path, {}), wall).start()
            stack.push_async_callback(gateway.stop)
            started.append(Running(gateway, sandbox, session))
            return started[-1], wall

        yield begin
    for one in started:
        await balanced(one)


async def windows(penia: Running) -> dict[str, tuple[datetime, datetime, float, float]]:
    """Return start, end, spent and held of each window of now."""
    (budget,) = penia.gateway.book.active
    _, summary = await penia.api("GET", f"/api/v1/budgets/{budget.budget_id}/summary")
    return {
        one["period"]: (
            datetime.fromisoformat(one["start_time"]),
            datetime.fromisoformat(one["end_time"]),
            one["spent"],
            one["held"],
        )
        for one in summary
    }


@pytest.mark.fault("T2")
@pytest.mark.parametrize(
    ("zone", "instant", "new"),
    [
        ("UTC", "2026-11-24T00:00:00Z", {"hourly", "daily"}),
        ("UTC", "2027-01-01T00:00:00Z", {"hourly", "daily", "monthly"}),
        ("UTC", "2028-02-29T00:00:00Z", {"hourly", "daily"}),
        ("UTC", "2028-03-01T00:00:00Z", {"hourly", "daily", "monthly"}),
        ("Europe/Berlin", "2026-03-29T01:00:00Z", {"hourly"}),
        ("Europe/Berlin", "2026-10-25T01:00:00Z", {"hourly"}),
        ("Asia/Beirut", "2026-03-28T22:00:00Z", {"hourly", "daily"}),
        ("America/Havana", "2026-11-01T05:00:00Z", {"hourly"}),
        ("Pacific/Apia", "2011-12-30T10:00:00Z", {"hourly", "daily"}),
        ("Asia/Kathmandu", "2026-11-24T18:15:00Z", {"hourly", "daily"}),
    ],
)
async def test_a_stream_over_the_end_of_a_window(at: At, zone: str, instant: str, new: set[str]) -> None:
    """It counts where it was admitted, and only there; the windows after the moment begin at it, and empty."""
    moment = datetime.fromisoformat(instant)
    penia, wall = await at(zone, moment - SECOND)
    before = await windows(penia)
    async with penia.session.post(penia.url + CHAT, json=TALK, headers=KEYS) as stream:
        await stream.content.readany()
        wall.instant = moment
        held_now = await windows(penia)
        assert (await stream.content.read()).endswith(b"data: [DONE]\n\n")
    after = await windows(penia)
    wall.instant = moment - SECOND
    then = await windows(penia)
    wall.instant = moment

    cost = then["daily"][2]
    assert cost > 0
    for period in ("hourly", "daily", "monthly"):
        assert then[period] == (*before[period][:2], cost, 0), period
        if period in new:
            assert after[period][0] == before[period][1] == moment, period
            assert after[period][2:] == held_now[period][2:] == (0, 0), period
        else:
            assert after[period] == then[period], period


@pytest.mark.fault("T3")
@pytest.mark.parametrize(
    "instant",
    [
        "2016-12-31T23:59:59Z",  # and again, as clocks said through the last leap second
        "2038-01-19T03:14:08Z",
        "2106-02-07T06:28:16Z",
        "8999-12-30T12:00:00Z",
    ],
)
async def test_seconds_like_any_other(at: At, instant: str) -> None:
    """A second that comes twice, and those at which counters of 32 bits overflow, are nothing."""
    moment = datetime.fromisoformat(instant)
    penia, wall = await at("UTC", moment - SECOND)
    for now in (moment - SECOND, moment, moment - SECOND / 2, moment):
        wall.instant = now
        assert (await penia.chat()).status == 200
    records = await penia.records()

    assert [record["cost_basis"] for record in records] == ["reported"] * 4
    assert (await windows(penia))["monthly"][2] == pytest.approx(sum(record["cost"] for record in records))


@pytest.mark.fault("T3")
async def test_a_clock_beyond_the_calendar(at: At) -> None:
    """In a year that no window has, calls are refused before they cost anything; back in time, they pass."""
    today = datetime(2026, 11, 24, 12, tzinfo=UTC)
    penia, wall = await at("UTC", today)
    statuses = []
    for now in (datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC), datetime(1969, 7, 20, tzinfo=UTC), today):
        wall.instant = now
        statuses.append((await penia.chat()).status)

    assert statuses[0] >= 400
    assert statuses[1] >= 400
    assert statuses[2] == 200
    assert len(penia.sandbox.calls) == 1
