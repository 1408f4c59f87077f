"""A session is carried as it is, and whatever happens to either side, each of its turns has one ending."""

import asyncio
import base64
import json
import logging
import sqlite3
from contextlib import closing
from decimal import Decimal
from typing import Any

import aiohttp
import pytest
from aiohttp import WSMsgType, web

from penia_proxy.gateway import sockets
from penia_proxy.sandbox.faults import Behaviour
from tests.gateways import KEYS, Running, Start
from tests.peers import speaking

REALTIME = "/openai/v1/realtime?model=gpt-realtime"
RESPONSES = "/openai/v1/responses"
LIVE = "/google/ws/google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent"
BLOCK = {"name": "Block", "daily_limit": 5, "enforcement": "block"}
DATA = (WSMsgType.TEXT, WSMsgType.BINARY)


def opened(penia: Running, path: str, **options: Any) -> Any:
    headers = {**KEYS, **options.pop("headers", {})}
    return penia.session.ws_connect(f"{penia.url}{path}", headers=headers, max_msg_size=0, **options)


async def tell(socket: Any, kind: str, **members: Any) -> None:
    await socket.send_str(json.dumps({"type": kind, **members}))


async def create(socket: Any, **members: Any) -> None:
    await tell(socket, "response.create", **{"model": "gpt-4o-mini", "input": "hi", "max_output_tokens": 20, **members})


async def until(socket: Any, *kinds: str) -> dict[str, Any]:
    """Return the first event of one of these kinds."""
    while True:
        message = await socket.receive()
        assert message.type in DATA, message
        event: dict[str, Any] = json.loads(message.data)
        if event.get("type") in kinds:
            return event


async def records_of(penia: Running, count: int) -> list[dict[str, Any]]:
    """Return the records once there are so many: what ends when a side leaves has nobody to wait for it."""
    while len(records := await penia.records()) < count:
        await asyncio.sleep(0.01)
    assert len(records) == count
    return records


async def released(penia: Running) -> None:
    """Wait until nothing is held."""
    while penia.gateway.ledger.holds_open or penia.gateway.ledger.queue_depth:
        await asyncio.sleep(0.01)


async def echo(socket: web.WebSocketResponse) -> None:
    """Send everything back as it came: pings as pongs, and a close with its code and reason."""
    async for message in socket:
        if message.type is WSMsgType.TEXT:
            await socket.send_str(message.data)
        elif message.type is WSMsgType.BINARY:
            await socket.send_bytes(message.data)
        elif message.type is WSMsgType.PING:
            await socket.pong(message.data)


async def test_frames_pass_as_they_are_and_in_order(start: Start) -> None:
    """Text and binary, empty space and odd characters inside, pings and pongs with what they hold."""
    async with speaking(echo) as peer:
        penia = await start(providers={"openai": {"base_url": peer.url}})
        async with opened(penia, REALTIME, autoping=False) as socket:
            sent = [f'{{ "type": "x",\n "n": {n}, "text": "é\\u0000{"ü" * n}"}}' for n in range(50)]
            for n, text in enumerate(sent):
                await (socket.send_bytes(text.encode()) if n % 2 else socket.send_str(text))
            await socket.ping(b"mine")
            await socket.pong(b"nobody asked")
            for n, text in enumerate(sent):
                message = await socket.receive()
                assert message.type is DATA[n % 2]
                assert message.data == (text.encode() if n % 2 else text)
            pong = await socket.receive()
            assert (pong.type, pong.data) == (WSMsgType.PONG, b"mine")


@pytest.mark.parametrize("code", [1000, 1001, 1011, 3000, 4999])
async def test_a_farewell_is_passed_on(start: Start, code: int) -> None:
    """Its code and its reason, whoever says it."""
    heard: asyncio.Queue[Any] = asyncio.Queue()

    async def says(socket: web.WebSocketResponse) -> None:
        await socket.close(code=code, message=b"goodbye")

    async def hears(socket: web.WebSocketResponse) -> None:
        heard.put_nowait(await socket.receive())
        await socket.close(code=heard._queue[0].data)

    async with speaking(says) as peer:
        penia = await start(providers={"openai": {"base_url": peer.url}})
        async with opened(penia, REALTIME, autoclose=False) as socket:
            message = await socket.receive()
            assert (message.type, message.data, message.extra) == (WSMsgType.CLOSE, code, "goodbye")
    async with speaking(hears) as peer:
        penia = await start(providers={"openai": {"base_url": peer.url}})
        async with opened(penia, REALTIME) as socket:
            await socket.close(code=code, message=b"goodbye")
            message = await heard.get()
            assert (message.type, message.data, message.extra) == (WSMsgType.CLOSE, code, "goodbye")
            assert socket.close_code == code


async def test_a_handshake_is_the_callers_own(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    """Headers and subprotocols reach the provider, what it chose comes back, and no key of either is logged."""
    caplog.set_level(logging.DEBUG)
    offered = ("realtime", "openai-insecure-api-key.sk-made-up", "openai-beta.realtime-v1")
    for known in (("realtime",), ()):
        async with speaking(echo, protocols=known) as peer:
            penia = await start(providers={"openai": {"base_url": f"{peer.url}/base"}})
            own = {"OpenAI-Beta": "realtime=v1", "X-Penia-Component": "voice"}
            async with opened(penia, f"{REALTIME}&x=%20y", protocols=offered, headers=own) as socket:
                (request,) = peer.requests
                assert socket.protocol == (known[0] if known else None)
                assert socket._response.headers["x-request-id"] == "req_made-up"
                assert socket._response.headers["X-Penia-Request-Id"].startswith("r_")
                assert socket._response.headers["X-Penia-Estimated-Cost"] > "0.06"
        assert request.raw_path == "/base/v1/realtime?model=gpt-realtime&x=%20y"
        assert request.headers["Authorization"] == KEYS["Authorization"]
        assert request.headers["OpenAI-Beta"] == "realtime=v1"
        assert request.headers["Sec-WebSocket-Protocol"] == ",".join(offered)
        assert len(request.headers.getall("Sec-WebSocket-Key")) == 1
        assert "X-Penia-Component" not in request.headers
    ours = [record for record in caplog.records if record.name.startswith(("penia", "aiohttp.websocket"))]
    assert "sk-made-up" not in "".join(record.getMessage() for record in ours)


@pytest.mark.parametrize(
    ("status", "headers"),
    [(401, {}), (404, {}), (429, {"Retry-After": "7"}), (302, {"Location": "http://evil.example"})],
)
async def test_a_providers_refusal_is_passed_on(start: Start, status: int, headers: dict[str, str]) -> None:
    """Status, headers and body as they are; a redirect is not followed; nothing stays held."""
    answer = web.Response(
        status=status, headers=headers, body=b'{"error": {"message": "no"}}', content_type="application/json"
    )
    async with speaking(answer=answer) as peer:
        penia = await start(providers={"openai": {"base_url": peer.url}}, budgets=(BLOCK,))
        handshake = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13"}
        handshake |= {"Sec-WebSocket-Key": base64.b64encode(bytes(16)).decode(), **KEYS}
        async with penia.session.get(f"{penia.url}{REALTIME}", headers=handshake, allow_redirects=False) as got:
            assert got.status == status
            assert await got.read() == answer.body
            assert got.content_type == "application/json"
            assert all(got.headers[name] == value for name, value in headers.items())
            assert got.headers["X-Penia-Verdict"] == "allow"
        assert len(peer.requests) == 1
        await released(penia)
        assert await penia.records() == []


async def refused(penia: Running, path: str, **options: Any) -> tuple[int, str]:
    """Return status and code of a refused handshake."""
    handshake = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13"}
    handshake |= {"Sec-WebSocket-Key": base64.b64encode(bytes(16)).decode(), **KEYS}
    method = options.pop("method", "GET")
    async with penia.session.request(method, f"{penia.url}{path}", headers=handshake, **options) as answer:
        assert answer.headers["Connection"] == "close"
        error = (await answer.json())["error"]
        return answer.status, error["penia"]["code"]


async def test_what_is_no_socket_is_not_opened_and_a_socket_is_nothing_else(start: Start) -> None:
    """Nothing of it reaches the provider."""
    penia = await start(providers={"openai": {}, "google": {}})
    for path in (
        "/openai/v1/models",
        "/openai/v1/realtime/translations?model=gpt-realtime-translate",
        "/openai/v1/live/sessions",
        "/google/ws/google.ai.generativelanguage.v1alpha.GenerativeService.BidiGenerateContentConstrained",
        "/google/ws/google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateMusic",
    ):
        assert await refused(penia, path) == (404, "unmetered_route")
    chat = {"model": "gpt-4o-mini", "messages": []}
    assert await refused(penia, "/openai/v1/chat/completions", method="POST", json=chat) == (404, "unmetered_route")
    assert await refused(penia, RESPONSES, method="POST", json=chat) == (404, "unmetered_route")
    assert await refused(penia, "/openai/v1/realtime") == (400, "invalid_request")
    assert await refused(penia, f"{REALTIME}&call_id=rtc_1") == (400, "invalid_request")
    for path in (REALTIME, RESPONSES, LIVE):
        async with penia.session.get(f"{penia.url}{path}", headers=KEYS) as answer:
            assert answer.status == 404
            assert "WebSocket" in await answer.text()
    for path in ("/openai/v1/realtime/client_secrets", "/openai/v1/realtime/calls", "/google/v1alpha/auth_tokens"):
        async with penia.session.post(f"{penia.url}{path}", json={}, headers=KEYS) as answer:
            assert answer.status == 404
    assert penia.sandbox.calls == []


async def test_other_upgrades_are_answered_as_they_are(start: Start) -> None:
    """A client that offers HTTP/2 with every request (Java's does) is not refused for it."""
    penia = await start()
    answer = await penia.chat(headers={"Upgrade": "h2c", "Connection": "Upgrade, HTTP2-Settings"})
    assert answer.status == 200


async def test_a_provider_that_cannot_be_reached(start: Start) -> None:
    """Or that opens no WebSocket: 502 before anything has begun, and nothing stays held."""
    async with speaking(answer=web.Response(text="hello")) as peer:
        penia = await start(
            providers={"openai": {"base_url": peer.url}, "azure": {"base_url": "http://127.0.0.1:9"}}, budgets=(BLOCK,)
        )
        assert await refused(penia, REALTIME) == (502, "upstream_unreachable")
    (status, code) = await refused(penia, "/azure/openai/v1/realtime?model=gpt-realtime")
    assert (status, code) == (502, "upstream_unreachable")
    await released(penia)


async def test_a_caller_that_leaves_pays_for_what_passed(start: Start) -> None:
    """In the middle of an answer: partial, counted, and the provider is hung up on."""
    penia = await start(budgets=(BLOCK,), script=Behaviour(output_tokens=5000, chunk_delay_s=0.005))
    async with opened(penia, RESPONSES) as socket:
        await create(socket, max_output_tokens=None)
        for _ in range(5):
            await until(socket, "response.output_text.delta")
        socket._response.connection.transport.abort()

    (record,) = await records_of(penia, 1)
    assert (record["status"], record["cost_basis"]) == ("disconnected", "partial")
    assert 5 <= record["output_tokens"] < 1000
    assert record["cost"] > 0
    (call,) = penia.sandbox.calls
    while call.ending == "running":
        await asyncio.sleep(0.01)
    assert call.ending == "client_gone"
    await released(penia)


async def test_an_answer_that_speaks_by_itself_is_billed_when_its_caller_leaves(start: Start) -> None:
    """Its sound by its length, which is twenty tokens a second, and its words on top."""

    async def speak(socket: web.WebSocketResponse) -> None:
        of = {"response_id": "resp_1"}
        sound = base64.b64encode(bytes(48_000)).decode()
        for event in (
            {"type": "response.created", "response": {"id": "resp_1", "conversation_id": "conv_1"}},
            {"type": "response.output_audio.delta", "delta": sound, **of},
            {"type": "response.output_audio_transcript.delta", "delta": "Hello there, my friend.", **of},
        ):
            await socket.send_str(json.dumps(event))
        await socket.receive()

    async with speaking(speak) as peer:
        penia = await start(providers={"openai": {"base_url": peer.url}}, budgets=(BLOCK,))
        async with opened(penia, REALTIME) as socket:
            await until(socket, "response.output_audio_transcript.delta")
            await socket.close()
        (record,) = await records_of(penia, 1)
    assert (record["status"], record["cost_basis"]) == ("disconnected", "partial")
    # Six tokens of text, and a tenth of headroom on them.
    assert record["output_tokens"] == 20 + 7
    assert record["output_cost"] == pytest.approx(20 * 64e-6 + 7 * 16e-6)
    await released(penia)


async def test_an_answer_that_was_not_begun_costs_nothing(start: Start) -> None:
    """The provider refuses a second one while one runs; its hold is kept for the next, and given back in the end."""
    penia = await start(budgets=(BLOCK,), script=[Behaviour(output_tokens=20, chunk_delay_s=0.02)])
    async with opened(penia, REALTIME) as socket:
        await tell(socket, "response.create")
        await until(socket, "response.created")
        await tell(socket, "response.create")
        await until(socket, "error")
        assert penia.gateway.ledger.holds_open == 2
        await until(socket, "response.done")
    await released(penia)
    (record,) = await penia.records()
    assert record["cost_basis"] == "reported"


async def test_a_session_in_which_nothing_began_costs_nothing(start: Start) -> None:
    """What was held for its next answer is given back."""
    penia = await start(providers={"openai": {}, "google": {}}, budgets=(BLOCK,))
    async with opened(penia, REALTIME) as socket:
        await until(socket, "session.created")
        assert penia.gateway.ledger.holds_open == 1
    await released(penia)
    async with opened(penia, LIVE) as socket:
        await socket.send_str(json.dumps({"setup": {"model": "models/gemini-live-2.5-flash"}}))
        assert "setupComplete" in json.loads((await socket.receive()).data)
        assert penia.gateway.ledger.holds_open == 1
    await released(penia)
    assert await penia.records() == []


async def test_a_provider_that_breaks_off(start: Start) -> None:
    """In the middle of an answer: the caller's side ends as ours did, without a goodbye, and what passed is booked."""
    heard = asyncio.Event()

    async def speak(socket: web.WebSocketResponse) -> None:
        await socket.receive()
        await socket.send_str(json.dumps({"type": "response.created", "response": {"id": "resp_1", "model": "gpt-4o"}}))
        await socket.send_str(json.dumps({"type": "response.output_text.delta", "delta": "Hello there"}))
        await heard.wait()
        assert socket._req is not None
        assert socket._req.transport is not None
        socket._req.transport.abort()

    async with speaking(speak) as peer:
        penia = await start(providers={"openai": {"base_url": peer.url}}, budgets=(BLOCK,))
        async with opened(penia, RESPONSES, autoclose=False) as socket:
            await create(socket)
            await until(socket, "response.output_text.delta")
            heard.set()
            message = await socket.receive()
            assert message.type in (WSMsgType.CLOSED, WSMsgType.ERROR, WSMsgType.CLOSING)
            assert socket.close_code != 1000 or message.type is not WSMsgType.CLOSE
        (record,) = await records_of(penia, 1)
    assert (record["status"], record["cost_basis"], record["model"]) == ("cut", "partial", "gpt-4o")
    await released(penia)


async def test_a_request_that_the_provider_refuses_costs_nothing(start: Start) -> None:
    """Its error is passed on, its hold given back, and the connection goes on."""
    penia = await start(budgets=(BLOCK,), script=[Behaviour(status=400)])
    async with opened(penia, RESPONSES) as socket:
        await create(socket)
        assert (await until(socket, "error"))["status"] == 400
        await released(penia)
        await create(socket)
        await until(socket, "response.completed")
    assert len(await penia.records()) == 1


@pytest.mark.parametrize("asked", [{}, {"stream": True}])
async def test_a_budget_that_truncates_caps_the_frame(start: Start, asked: dict[str, Any]) -> None:
    """What fits is what the response may be long, whether or not a stream is asked for: no event would end it."""
    budget = {**BLOCK, "daily_limit": 0.0005, "overrun": "truncate"}
    penia = await start(budgets=(budget,), script=Behaviour(output_tokens=5000))
    async with opened(penia, RESPONSES) as socket:
        await create(socket, max_output_tokens=None, **asked)
        answer = (await until(socket, "response.completed"))["response"]
    assert 16 <= answer["usage"]["output_tokens"] < 5000
    (record,) = await penia.records()
    assert record["output_tokens"] == answer["usage"]["output_tokens"]
    assert 0.0001 < record["cost"] <= 0.0005


async def test_exactly_the_responses_whose_holds_fit_are_asked_for(start: Start) -> None:
    """
    Forty at once over eight connections against room for ten.

    None is answered before all have been judged; the others are refused in-band, and their connections live.
    """
    probe = await start(budgets=({**BLOCK, "overrun": "never"},))
    async with opened(probe, RESPONSES) as socket:
        await create(socket, stream_id="lane-0")
        await until(socket, "response.completed")
    (record,) = await probe.records()
    one = Decimal(repr(record["estimated_cost"]))
    penia = await start(
        budgets=({**BLOCK, "daily_limit": float(one * Decimal("10.5")), "overrun": "never"},),
        script=Behaviour(first_byte_delay_s=500),
    )
    connections = [await opened(penia, RESPONSES) for _ in range(8)]
    for lane in range(5):
        await asyncio.gather(*(create(socket, stream_id=f"lane-{lane}") for socket in connections))
    errors = 0
    pending = {asyncio.ensure_future(until(socket, "error")): socket for socket in connections}
    while errors + len(penia.sandbox.calls) < 40:
        done, _ = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            event, socket = task.result(), pending.pop(task)
            assert (event["status"], event["error"]["code"]) == (429, "budget_busy")
            errors += 1
            pending[asyncio.ensure_future(until(socket, "error"))] = socket
    assert len(penia.sandbox.calls) == 10
    for task in pending:
        task.cancel()
    await asyncio.gather(*pending, return_exceptions=True)
    await asyncio.gather(*(socket.close() for socket in connections))
    records = await records_of(penia, 10)
    assert {record["status"] for record in records} == {"disconnected"}
    await released(penia)


async def test_exactly_the_sessions_whose_holds_fit_are_opened(start: Start) -> None:
    """Thirty at once against room for five; the others are refused before the provider hears of them."""
    penia = await start(budgets=({**BLOCK, "daily_limit": 0.35},))

    async def attempt() -> Any:
        try:
            return await opened(penia, REALTIME)
        except aiohttp.WSServerHandshakeError as error:
            return error.status

    attempts = await asyncio.gather(*(attempt() for _ in range(30)))

    connections = [attempt for attempt in attempts if not isinstance(attempt, int)]
    assert len(connections) == 5
    assert {attempt for attempt in attempts if isinstance(attempt, int)} == {429}
    await asyncio.gather(*(socket.close() for socket in connections))
    await released(penia)
    assert await penia.records() == []


async def test_what_began_by_itself_and_was_not_held_is_counted(start: Start) -> None:
    """A response that nobody asked for here, without room for it: the connection ends, and what passed is booked."""

    async def speak(socket: web.WebSocketResponse) -> None:
        await socket.receive()
        response = {"id": "resp_1", "model": "gpt-4o", "status": "in_progress"}
        delta = {"type": "response.output_text.delta", "delta": "word " * 100, "response": response}
        await socket.send_str(json.dumps(delta))
        await socket.receive()

    budget = {**BLOCK, "overrun": "never"}
    async with speaking(speak) as peer:
        penia = await start(providers={"openai": {"base_url": peer.url}}, budgets=(budget,))
        async with opened(penia, RESPONSES) as socket:
            await socket.ping()
            while (await socket.receive()).type is not WSMsgType.CLOSE:
                pass
        (record,) = await records_of(penia, 1)
    assert (record["cost_basis"], record["model"]) == ("partial", "gpt-4o")
    assert record["output_tokens"] >= 100
    assert record["cost"] > 0


async def test_a_transcript_is_billed_once(start: Start) -> None:
    """However often its last word is said; and as the bill of its own model, beside the answers."""

    async def speak(socket: web.WebSocketResponse) -> None:
        await socket.receive()
        usage = {"type": "duration", "seconds": 60}
        for _ in range(3):
            kind = "conversation.item.input_audio_transcription.completed"
            said = {"type": kind, "item_id": "item_1", "content_index": 0, "transcript": "hi", "usage": usage}
            await socket.send_str(json.dumps(said))
        await socket.receive()

    async with speaking(speak) as peer:
        penia = await start(providers={"openai": {"base_url": peer.url}}, budgets=(BLOCK,))
        async with opened(
            penia, REALTIME, headers={"X-Penia-Component": "voice", "X-Penia-Request-Id": "mine"}
        ) as socket:
            await tell(socket, "session.update", session={"input_audio_transcription": {"model": "whisper-1"}})
            for _ in range(3):
                await until(socket, "conversation.item.input_audio_transcription.completed")
    (record,) = await records_of(penia, 1)
    assert (record["model"], record["component"], record["cost_basis"]) == ("whisper-1", "voice", "reported")
    assert record["cost"] == pytest.approx(0.006)
    assert record["metadata"] == {"session": "mine"}
    _, summary = await penia.api("GET", f"/api/v1/budgets/{record['budget_id']}/summary")
    assert summary[0]["spent"] == pytest.approx(0.006)


async def test_what_began_unasked_is_booked_where_it_cannot_be_held(start: Start) -> None:
    """A provider that begins what nobody asked for: the session ends with the refusal, and the bill is not lost."""

    async def speak(socket: web.WebSocketResponse) -> None:
        await socket.send_str(json.dumps({"type": "response.created", "response": {"id": "resp_1", "model": "gpt-4o"}}))
        await socket.receive()

    async with speaking(speak) as peer:
        penia = await start(providers={"openai": {"base_url": peer.url}}, budgets=({**BLOCK, "daily_limit": 0.000001},))
        async with opened(penia, RESPONSES) as socket:
            await until(socket, "response.created")
            assert (await until(socket, "error"))["error"]["code"] == "budget_exceeded"
            assert (await socket.receive()).type is WSMsgType.CLOSE
            assert socket.close_code == 1008
        (record,) = await records_of(penia, 1)
    assert (record["model"], record["cost_basis"]) == ("gpt-4o", "partial")


async def test_a_stop_lets_what_runs_end_and_opens_nothing_new(start: Start) -> None:
    """An answer under way comes whole, then both sides are told goodbye."""
    penia = await start(budgets=(BLOCK,), script=Behaviour(output_tokens=20, chunk_delay_s=0.02))
    async with opened(penia, RESPONSES) as socket, opened(penia, REALTIME) as idle:
        await until(idle, "session.created")
        await create(socket)
        await until(socket, "response.output_text.delta")
        stopping = asyncio.ensure_future(penia.gateway.stop())
        message = await idle.receive()
        assert (message.type, message.data) == (WSMsgType.CLOSE, 1001)
        await until(socket, "response.completed")
        message = await socket.receive()
        assert (message.type, message.data, message.extra) == (WSMsgType.CLOSE, 1001, "Penia is stopping")
        await stopping


async def test_a_stop_that_cannot_wait_books_what_passed(start: Start) -> None:
    """Beyond the drain the session is cut: no hold survives it."""
    penia = await start(
        budgets=(BLOCK,), server={"drain_seconds": 0.1}, script=Behaviour(output_tokens=9, chunk_delay_s=5)
    )
    async with opened(penia, RESPONSES) as socket:
        await create(socket)
        await until(socket, "response.created")
        await penia.gateway.stop()
    assert penia.gateway.ledger.holds_open == 0
    with closing(sqlite3.connect(penia.gateway.config.ledger.url.removeprefix("sqlite:///"))) as ledger:
        assert ledger.execute("SELECT status, cost_basis FROM usage_records").fetchall() == [("cut", "partial")]


async def test_a_caller_that_does_not_read_is_sent_away(start: Start) -> None:
    """It is not read for without end: the provider is held back meanwhile, and hung up on in the end."""
    gone = asyncio.Event()

    async def flood(socket: web.WebSocketResponse) -> None:
        try:
            while True:
                await socket.send_bytes(bytes(1_000_000))
        finally:
            gone.set()

    async with speaking(flood) as peer:
        settings = {"base_url": peer.url, "timeout_seconds": {"idle": 0.3}}
        penia = await start(providers={"openai": settings}, budgets=(BLOCK,))
        host, port = penia.url.removeprefix("http://").split(":")
        _, writer = await asyncio.open_connection(host, int(port), limit=1024)
        key = base64.b64encode(bytes(16)).decode()
        lines = [f"GET {REALTIME} HTTP/1.1", f"Host: {host}", "Upgrade: websocket", "Connection: Upgrade"]
        lines += ["Sec-WebSocket-Version: 13", f"Sec-WebSocket-Key: {key}", "Authorization: Bearer made-up", "", ""]
        writer.write("\r\n".join(lines).encode())
        await gone.wait()
        await released(penia)
        writer.close()


async def test_silence_in_the_middle_of_an_answer_ends_the_session(start: Start) -> None:
    """As an answer over HTTP that stalls: booked by what passed."""

    async def speak(socket: web.WebSocketResponse) -> None:
        await socket.receive()
        await socket.send_str(json.dumps({"type": "response.created", "response": {"id": "resp_1", "model": "gpt-4o"}}))
        await socket.receive()

    async with speaking(speak) as peer:
        settings = {"base_url": peer.url, "timeout_seconds": {"idle": 0.2}}
        penia = await start(providers={"openai": settings}, budgets=(BLOCK,))
        async with opened(penia, RESPONSES) as socket:
            await create(socket)
            await until(socket, "response.created")
            assert (await socket.receive()).type is WSMsgType.CLOSE
            assert socket.close_code == 1001
        (record,) = await records_of(penia, 1)
    assert (record["status"], record["cost_basis"], record["output_tokens"]) == ("timeout", "partial", 0)


async def test_a_message_beyond_the_limit_ends_the_session(start: Start) -> None:
    """As a body over HTTP: 1009, and nothing of it reaches the provider."""
    penia = await start(server={"max_body_mb": 0.01}, budgets=(BLOCK,))
    async with opened(penia, REALTIME) as socket:
        await until(socket, "session.created")
        await tell(socket, "input_audio_buffer.append", audio="A" * 20_000)
        assert (await socket.receive()).type is WSMsgType.CLOSE
        assert socket.close_code == 1009
    await released(penia)
    assert await penia.records() == []


async def test_a_response_that_is_fetched_again_is_billed_once(start: Start) -> None:
    """It was stated over the WebSocket; what is read of it over HTTP says the same again."""
    usage = {"input_tokens": 9, "output_tokens": 3, "total_tokens": 12}
    response = {"id": "resp_1", "object": "response", "model": "gpt-4o", "status": "completed", "usage": usage}

    async def speak(socket: web.WebSocketResponse) -> None:
        await socket.receive()
        await socket.send_str(json.dumps({"type": "response.completed", "response": response}))
        await socket.receive()

    async with speaking(speak, answer=web.json_response(response)) as peer:
        penia = await start(providers={"openai": {"base_url": peer.url}})
        async with opened(penia, RESPONSES) as socket:
            await create(socket)
            await until(socket, "response.completed")
        async with penia.session.get(f"{penia.url}/openai/v1/responses/resp_1", headers=KEYS) as answer:
            assert (await answer.json())["usage"] == usage
        (record,) = await penia.records()
    assert (record["input_tokens"], record["output_tokens"]) == (9, 3)


@pytest.mark.parametrize("deaf", ["caller", "provider"])
async def test_a_side_that_answers_no_ping_is_taken_for_gone(
    start: Start, monkeypatch: pytest.MonkeyPatch, deaf: str
) -> None:
    """Neither side says anything, and one of them not even that it is there."""
    monkeypatch.setattr(sockets, "KEEPALIVE_S", 1.0)
    pinged = asyncio.Event()
    gone = asyncio.Event()

    async def speak(socket: web.WebSocketResponse) -> None:
        try:
            while (message := await socket.receive()).type is WSMsgType.PING:
                pinged.set()
                if deaf != "provider":
                    await socket.pong(message.data)
        finally:
            gone.set()

    async with speaking(speak) as peer:
        penia = await start(providers={"openai": {"base_url": peer.url}}, budgets=(BLOCK,))
        async with opened(penia, REALTIME, autoping=False) as socket:
            while (message := await socket.receive()).type is WSMsgType.PING:
                assert message.data == b"penia"
                if deaf != "caller":
                    await socket.pong(message.data)
            assert message.type is not WSMsgType.TEXT
        await gone.wait()
        assert pinged.is_set()
        await released(penia)


async def test_there_are_so_many_sessions(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond that no further one is opened, until one has ended."""
    monkeypatch.setattr(sockets, "SESSIONS_MAX", 1)
    penia = await start()
    async with opened(penia, RESPONSES):
        assert await refused(penia, RESPONSES) == (503, "too_many_clients")
    while True:
        try:
            async with opened(penia, RESPONSES):
                break
        except aiohttp.WSServerHandshakeError:
            await asyncio.sleep(0.01)


async def test_a_turn_says_whose_it_is_before_it_ends(start: Start) -> None:
    """The ledger has the response's name while it is being made, so that a crash leaves a record its bill corrects."""

    async def begins(socket: web.WebSocketResponse) -> None:
        await socket.receive()
        response = {"id": "resp_1", "object": "response", "status": "in_progress", "model": "gpt-4o-mini"}
        await socket.send_str(json.dumps({"type": "response.created", "response": response}))
        await gone.wait()

    gone = asyncio.Event()
    async with speaking(begins) as peer:
        penia = await start(providers={"openai": {"base_url": peer.url}})
        async with opened(penia, RESPONSES) as socket:
            await create(socket)
            await until(socket, "response.created")
            await penia.gateway.ledger.caught_up()
            with closing(sqlite3.connect(penia.gateway.config.ledger.url.removeprefix("sqlite:///"))) as beside:
                found = beside.execute("SELECT once_key FROM holds").fetchall()
            gone.set()
    await records_of(penia, 1)

    assert found == [("openai:resp_1",)]
