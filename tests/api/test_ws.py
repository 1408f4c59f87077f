"""The live feed over real WebSockets."""

import asyncio
import socket
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import orjson
import pytest
from aiohttp import ClientSession, ClientWebSocketResponse, WSMsgType, WSServerHandshakeError, web
from aiohttp.test_utils import TestServer

from penia_proxy.api.live import LiveSocket, TransportLine
from penia_proxy.api.services import Services
from penia_proxy.clock import iso
from penia_proxy.errors import StoreUnavailable
from penia_proxy.watch.live import LiveHub, LiveLimits
from penia_proxy.watch.shapes import BudgetStates
from penia_proxy.watch.standing import Turns, open_alerts
from tests.api.client import Api, MovedClock

ALL = ["budget_updates", "alerts", "usage"]
PATIENCE_S = 10


async def heard(live: ClientWebSocketResponse) -> dict[str, Any]:
    """Return the next message."""
    message: dict[str, Any] = await live.receive_json(loads=orjson.loads, timeout=PATIENCE_S)
    return message


async def subscribed(api: Api, **members: Any) -> tuple[ClientWebSocketResponse, dict[str, Any]]:
    """Return a live client and its snapshot."""
    live = await api.listen()
    await live.send_json({"type": "subscribe", "channels": ALL, **members})
    assert (await heard(live))["type"] == "subscribed"
    return live, await heard(live)


async def test_a_snapshot_and_then_what_happens(api: Api) -> None:
    """A subscriber sees where its budgets stand, then the record, then the new state, with growing seqs."""
    budget_id = await api.budget(daily_limit=5, weekly_limit=25)
    live, snapshot = await subscribed(api)
    state = {"spent": 0.0, "held": 0.0, "limit": 5.0, "window_end": "2026-11-24T00:00:00.000000Z"}
    assert snapshot["type"] == "snapshot"
    assert snapshot["data"]["budgets"][0]["budget_id"] == budget_id
    assert snapshot["data"]["budgets"][0]["daily"] == state

    record = await api.record(cost=2)
    usage, update = await heard(live), await heard(live)

    assert (usage["type"], usage["data"]) == ("usage", record)
    assert (update["type"], update["data"]["name"]) == ("budget_update", "Default")
    assert update["data"]["daily"] == {**state, "spent": 2.0}
    assert update["data"]["weekly"]["limit"] == 25.0
    assert snapshot["seq"] < usage["seq"] < update["seq"]
    assert {message["epoch"] for message in (snapshot, usage, update)} == {snapshot["epoch"]}


async def test_a_changed_budget_is_told(api: Api) -> None:
    """Creating, changing and deactivating a budget are updates, too."""
    live, _ = await subscribed(api)
    budget_id = await api.budget(daily_limit=5)
    created = await heard(live)
    await api.put(f"/budgets/{budget_id}", {"daily_limit": 6})
    changed = await heard(live)
    await api.delete(f"/budgets/{budget_id}")
    gone = await heard(live)

    assert [one["data"]["daily"]["limit"] for one in (created, changed, gone)] == [5.0, 6.0, 6.0]
    assert [one["data"]["is_active"] for one in (created, changed, gone)] == [True, True, False]


async def test_a_burst_is_merged_and_ends_with_the_latest_state(api: Api) -> None:
    """Fifty records are fifty usage events, far fewer updates, and the last update has it all."""
    await api.budget(daily_limit=100)
    live, _ = await subscribed(api)
    await asyncio.gather(*(api.record(cost=1) for _ in range(50)))
    usage = updates = 0
    spent = 0.0
    while usage < 50 or spent < 50:
        message = await heard(live)
        usage += message["type"] == "usage"
        if message["type"] == "budget_update":
            updates += 1
            spent = message["data"]["daily"]["spent"]

    assert (usage, spent) == (50, 50.0)
    assert updates < 50


async def test_filters_narrow_what_is_heard(api: Api) -> None:
    """A client of one budget and one component hears nothing of others."""
    ours = await api.budget(name="ours", scope={"components": ["apollo"]})
    await api.budget(name="theirs", scope={"components": ["rhetor"]})
    live, snapshot = await subscribed(api, budgets=[ours], components=["apollo"])
    await api.record(component="rhetor")
    record = await api.record(component="apollo")
    messages = [await heard(live), await heard(live)]

    assert [state["budget_id"] for state in snapshot["data"]["budgets"]] == [ours]
    assert sorted(message["type"] for message in messages) == ["budget_update", "usage"]
    assert next(one for one in messages if one["type"] == "usage")["data"] == record


async def test_a_client_that_comes_back_hears_what_it_missed(api: Api) -> None:
    """With epoch and seq of the last message, a reconnecting client gets what came in between, without a snapshot."""
    live, snapshot = await subscribed(api)
    await live.close()
    missed = await api.record()

    again = await api.listen()
    since = {"epoch": snapshot["epoch"], "seq": snapshot["seq"]}
    await again.send_json({"type": "subscribe", "channels": ["usage"], "since": since})
    welcome, usage = await heard(again), await heard(again)

    assert (welcome["type"], welcome["replayed"]) == ("subscribed", True)
    assert (usage["type"], usage["data"]) == ("usage", missed)


async def until(live: ClientWebSocketResponse, kind: str) -> dict[str, Any]:
    """Return the next message of a type."""
    while (message := await heard(live))["type"] != kind:
        pass
    return message


async def test_open_alerts_are_shown_and_what_becomes_of_them_is_told(api: Api) -> None:
    """An alert is told when it is raised, is in the snapshot of who comes later, and is told when it is dismissed."""
    budget_id = await api.budget(daily_limit=10)
    early, nothing = await subscribed(api)
    await api.record(cost=6)
    await api.services.alerts.look()
    told = (await until(early, "alert"))["data"]
    late, shown = await subscribed(api)
    _, of_another = await subscribed(api, budgets=["b_other"])

    assert nothing["data"]["alerts"] == []
    assert shown["data"]["alerts"] == [told]
    assert of_another["data"]["alerts"] == []
    assert (told["budget_id"], told["threshold_percent"], told["is_dismissed"]) == (budget_id, 50, False)
    await api.put(f"/alerts/{told['alert_id']}/dismiss", {})
    assert (await until(late, "alert"))["data"] == {**told, "is_dismissed": True}
    assert (await subscribed(api))[1]["data"]["alerts"] == []


async def test_alerts_of_windows_that_have_ended_are_not_open(api: Api) -> None:
    """Tomorrow nobody is shown what was the matter today."""
    await api.budget(daily_limit=10)
    await api.record(cost=6)
    await api.services.alerts.look()
    await api.services.ledger.caught_up()
    assert len((await subscribed(api))[1]["data"]["alerts"]) == 1

    api.clock.move(timedelta(days=1))

    assert (await subscribed(api))[1]["data"]["alerts"] == []


async def test_a_snapshot_shows_what_was_asked_for(api: Api) -> None:
    """Who asks for usage alone is shown neither budgets nor alerts."""
    await api.budget(daily_limit=10)
    live = await api.listen()
    await live.send_json({"type": "subscribe", "channels": ["usage"]})
    await heard(live)

    assert (await heard(live))["data"] == {}


async def test_alerts_that_cannot_be_read_are_not_none(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the ledger cannot be read the snapshot says that nothing is known of alerts, and the rest is there."""

    async def unreadable(_count: int) -> list[dict[str, Any]]:
        raise StoreUnavailable("away")

    await api.budget(daily_limit=10)
    monkeypatch.setattr(api.services.hub, "_open_alerts", unreadable)
    _, snapshot = await subscribed(api)

    assert snapshot["data"]["alerts"] is None
    assert len(snapshot["data"]["budgets"]) == 1


async def test_a_window_that_turns_is_told(api: Api) -> None:
    """At midnight the day begins at 0, although nobody spends: of the budgets whose window turned, and no others."""
    budget_id = await api.budget(daily_limit=10)
    await api.budget(name="Monthly", monthly_limit=10)
    await api.record(cost=6)
    turns = Turns(api.services.book, api.clock, api.services.announcer.touched)
    live, _ = await subscribed(api)
    api.clock.move(timedelta(hours=11, minutes=59))
    await turns.look()
    api.clock.move(timedelta(minutes=1))
    await turns.look()
    await live.send_json({"type": "ping"})
    update = await until(live, "budget_update")

    assert (update["data"]["budget_id"], update["data"]["daily"]["spent"]) == (budget_id, 0)
    await live.send_json({"type": "ping"})
    assert (await heard(live))["type"] == "pong"


async def test_a_grant_that_expires_is_told(api: Api) -> None:
    """The limit goes back at that instant, and whoever looks sees it."""
    budget_id = await api.budget(daily_limit=10)
    expires = iso(api.clock.now() + timedelta(minutes=7))
    body = {"period": "daily", "amount": 5, "reason": "a run", "expires_at": expires}
    assert (await api.post(f"/budgets/{budget_id}/grants", body)).status == 201
    turns = Turns(api.services.book, api.clock, api.services.announcer.touched)
    live, snapshot = await subscribed(api)
    assert snapshot["data"]["budgets"][0]["daily"]["limit"] == 15
    api.clock.move(timedelta(minutes=7))
    await turns.look()
    while (update := await until(live, "budget_update"))["data"]["daily"]["limit"] == 15:
        pass

    assert update["data"]["daily"]["limit"] == 10


async def test_after_a_restart_a_client_gets_a_snapshot(api: Api) -> None:
    """Another epoch means another process: nothing of the old one can be replayed."""
    _, snapshot = await subscribed(api, since={"epoch": "live_of_yesterday", "seq": 3})

    assert snapshot["type"] == "snapshot"
    assert snapshot["epoch"] != "live_of_yesterday"


@pytest.mark.fault("W2")
async def test_a_wrong_message_is_answered_and_the_line_stays(api: Api) -> None:
    """Nonsense and binary get an `error` each; ping still gets pong."""
    live = await api.listen()
    await live.send_str("nonsense")
    assert (await heard(live))["type"] == "error"
    await live.send_bytes(b'{"type": "ping"}')
    assert (await heard(live))["type"] == "error"
    await live.send_json({"type": "ping"})
    assert (await heard(live))["type"] == "pong"


@pytest.mark.fault("W2")
async def test_too_many_wrong_messages_close_the_line(api: Api) -> None:
    """A client that only talks nonsense is closed with 1008."""
    live = await api.listen()
    for _ in range(50):
        await live.send_str("nonsense")
    message = await live.receive(timeout=PATIENCE_S)
    while message.type is WSMsgType.TEXT:
        message = await live.receive(timeout=PATIENCE_S)

    assert message.data == 1008


@pytest.mark.fault("W2")
async def test_a_message_that_is_too_large_closes_the_line(api: Api) -> None:
    """Above 4 kB a message is not read: 1009."""
    live = await api.listen()
    await live.send_str("x" * 4096)
    assert (await live.receive_json(timeout=PATIENCE_S))["type"] == "error"
    await live.send_str("x" * 4097)

    assert (await live.receive(timeout=PATIENCE_S)).data == 1009


@pytest.mark.fault("W2")
@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1:1"])
async def test_another_sites_page_may_not_listen(api: Api, origin: str) -> None:
    """A socket opened by another site's page is refused before it is one."""
    with pytest.raises(WSServerHandshakeError) as refused:
        await api.listen(headers={"Origin": origin})

    assert refused.value.status == 403
    assert api.services.hub.client_count == 0


async def test_our_own_page_may_listen(api: Api) -> None:
    """The page that we served has our own origin."""
    live = await api.listen(headers={"Origin": api.url})
    await live.send_json({"type": "ping"})

    assert (await heard(live))["type"] == "pong"


async def test_a_plain_request_is_told_what_this_is(api: Api) -> None:
    """GET /ws without an upgrade is a 400, and takes no place."""
    answer = await api.get("/ws")

    assert (answer.status, answer.code) == (400, "invalid_request")
    assert api.services.hub.client_count == 0


async def test_a_client_that_leaves_is_forgotten(api: Api) -> None:
    """After a close, and after a connection that just broke, the place is free."""
    live = await api.listen()
    await live.close()
    broken = await api.listen()
    transport = broken._response.connection.transport  # type: ignore[union-attr]
    transport.abort()  # type: ignore[union-attr]
    async with asyncio.timeout(PATIENCE_S):
        while api.services.hub.client_count:
            await asyncio.sleep(0.001)


async def test_one_client_too_many_is_refused(api: Api) -> None:
    """Where every place is taken, the handshake is a 503 with Retry-After."""
    api.services.hub.limits = LiveLimits(clients_max=1)
    await api.listen()

    with pytest.raises(WSServerHandshakeError) as refused:
        await api.listen()

    assert refused.value.status == 503
    assert refused.value.headers is not None
    assert refused.value.headers["Retry-After"] == "5"


@pytest.fixture
async def impatient(services: Services, clock: MovedClock) -> AsyncIterator[tuple[TestServer, Services]]:
    """Serve a live feed whose clock moves by a second a round."""
    states = BudgetStates(services.book, services.counters, services.clock)

    async def moved(_seconds: float) -> None:
        clock.move(timedelta(seconds=1))
        await asyncio.sleep(0.001)

    alerts = open_alerts(services.ledger, services.clock)
    services.hub = LiveHub(states.of, states.ids, alerts, services.clock, sleep=moved)
    app = web.Application()
    app.router.add_get("/ws", LiveSocket(services, close_s=0.05).handle)
    async with TestServer(app) as server:
        yield server, services
    await services.hub.close()


@pytest.mark.fault("W1")
async def test_a_client_that_does_not_read_is_sent_away(impatient: tuple[TestServer, Services]) -> None:
    """When a send blocks for too long, that client is closed and forgotten, and another one hears everything."""
    server, services = impatient
    deaf = socket.create_connection(("127.0.0.1", server.port or 0))
    deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    deaf.sendall(
        b"GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n" + _masked(_SUBSCRIBE)
    )
    async with ClientSession() as session, session.ws_connect(server.make_url("/ws")) as quick:
        await quick.send_str(_SUBSCRIBE)
        assert (await heard(quick))["type"] == "subscribed"
        await heard(quick)
        count = 0
        async with asyncio.timeout(PATIENCE_S):
            while services.hub.client_count == 2 or count < 100:
                services.hub.usage({"metadata": "x" * 60_000}, [], "rhetor")
                assert (await heard(quick))["type"] == "usage"
                count += 1
        assert services.hub.client_count == 1
    deaf.close()


class DeafTransport:
    """A transport whose bytes nobody takes."""

    def is_closing(self) -> bool:
        return False

    def write(self, _data: bytes) -> None:
        pass

    def get_write_buffer_size(self) -> int:
        return 1


@pytest.mark.fault("W1")
async def test_the_code_says_try_again_later(impatient: tuple[TestServer, Services]) -> None:
    """A client that is sent away for not reading is closed with 1013, and was written nothing meanwhile."""
    hub = impatient[1].hub
    line = TransportLine(DeafTransport())  # type: ignore[arg-type]
    client = hub.join(line)
    await hub.hear(client, _SUBSCRIBE)
    async with asyncio.timeout(PATIENCE_S):
        assert await line.ended == 1013


_SUBSCRIBE = '{"type":"subscribe","channels":["usage"]}'


def _masked(text: str) -> bytes:
    """Return a client's text frame (RFC 6455 §5.2) with a mask of zeros."""
    return bytes([0x81, 0x80 | len(text)]) + bytes(4) + text.encode()
