"""Following a gateway's live feed from Python, over a network that fails."""

from dataclasses import replace

import pytest

from penia_proxy.app import Gateway
from penia_proxy.clock import SystemClock
from penia_proxy.following import RETRY_S_MAX, Live, Lost, Missed, Refused, Snapshot, follow, retry_s
from tests.followers import following
from tests.gateways import Running, Start
from tests.wire import wire

BUDGETS = ({"name": "Default", "daily_limit": 5.0},)


async def called(penia: Running, component: str = "rhetor") -> str:
    return (await penia.chat({"X-Penia-Component": component})).headers["X-Penia-Request-Id"]


async def test_it_begins_with_where_everything_stands(start: Start) -> None:
    """A snapshot, that it is live, and then what happens; a filter is passed on."""
    penia = await start(budgets=BUDGETS)
    async with following(penia, penia.url, components=["apollo"]) as follower:
        await called(penia)
        wanted = await called(penia, "apollo")
        await follower.until(lambda _: bool(follower.calls))

    assert isinstance(first := follower.events[0], Snapshot)
    assert first.budgets is not None
    assert [one["name"] for one in first.budgets] == ["Default"]
    assert first.alerts == []
    assert follower.events[1] == Live()
    assert follower.calls == [wanted]


async def test_it_comes_back_without_losing_anything(start: Start) -> None:
    """What happened while the line was cut is told afterwards, once, without a snapshot."""
    penia = await start(budgets=BUDGETS)
    async with wire(int(penia.url.rsplit(":", 1)[1])) as line, following(penia, line.url) as follower:
        before = await called(penia)
        await follower.until(lambda _: follower.calls == [before])
        line.taking = False
        line.cut()
        await follower.until(lambda events: isinstance(events[-1], Lost))
        missed = [await called(penia) for _ in range(3)]
        line.taking = True
        await follower.until(lambda _: len(follower.calls) == 4)

        assert follower.calls == [before, *missed]
        assert (follower.count(Snapshot), follower.count(Live), follower.count(Missed)) == (1, 2, 0)


async def test_a_restart_is_told_and_so_is_what_is_missing(start: Start) -> None:
    """Another gateway has another snapshot, and nobody knows how many calls there were in between."""
    penia = await start(budgets=BUDGETS)
    async with wire(int(penia.url.rsplit(":", 1)[1])) as line, following(penia, line.url) as follower:
        await penia.gateway.stop()
        await follower.until(lambda events: isinstance(events[-1], Lost))
        penia.gateway = again = await Gateway(penia.gateway.config, SystemClock()).start()
        line.leads_to = int(again.url.rsplit(":", 1)[1])
        await follower.until(lambda _: follower.count(Live) == 2)
        made = await called(penia)
        await follower.until(lambda _: follower.calls == [made])
        await again.stop()

    assert (follower.count(Snapshot), follower.events.count(Missed(None))) == (2, 1)
    assert {event.why for event in follower.events if isinstance(event, Lost)} <= {
        "the gateway has ended",
        "no gateway answers",
    }


async def test_what_was_dropped_is_counted(start: Start) -> None:
    """Who is too slow hears how many calls it missed; of alerts it asks for all that are open."""
    penia = await start(budgets=BUDGETS)
    hub = penia.gateway.hub
    for ring in hub._rings.values():
        ring._events_max = 2
    async with following(penia, penia.url) as follower:
        for number in range(10):  # in one go, so that nobody can have read any of it
            hub.usage({"record_id": f"r_{number}"}, [], "rhetor")
            hub.alert({"alert_id": f"a_{number}"}, None)
        await follower.until(lambda _: follower.calls[-1:] == ["r_9"] and follower.count(Snapshot) == 2)

    assert follower.events.count(Missed(8)) == 1
    snapshots = [event for event in follower.events if isinstance(event, Snapshot)]
    assert snapshots[1] == Snapshot(None, [])


async def test_an_objection_ends_it(start: Start) -> None:
    """A subscription that the gateway does not understand will not be understood later."""
    penia = await start()

    with pytest.raises(Refused, match="channels"):
        await anext(follow(penia.url, ["nothing"], session=penia.session))


async def test_a_full_gateway_is_tried_again(start: Start) -> None:
    """Where every place is taken, that is said, and later there is one."""
    penia = await start()
    penia.gateway.hub.limits = replace(penia.gateway.hub.limits, clients_max=0)
    events = follow(penia.url, session=penia.session)
    lost = await anext(events)
    penia.gateway.hub.limits = replace(penia.gateway.hub.limits, clients_max=1)

    assert isinstance(lost, Lost)
    assert lost.why == "the gateway answers 503"
    assert isinstance(await anext(events), Snapshot)
    await events.aclose()  # type: ignore[attr-defined]


def test_waits_grow_and_differ() -> None:
    """Between half and all of what has doubled with each failure, within a bound."""
    assert [retry_s(failures, 1) for failures in (0, 1, 2, 9, 999)] == [0.5, 1, 2, RETRY_S_MAX, RETRY_S_MAX]
    assert retry_s(1, 0) == 0.5
