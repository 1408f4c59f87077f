"""Requests on one connection: calls and the API's, one after another, sent early, badly framed, or left half way."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest

from penia_proxy.sandbox.faults import Behaviour
from tests.gateways import KEYS, Start
from tests.lines import connected

TALK = json.dumps({"model": "gpt-4o-mini", "max_tokens": 5, "messages": [{"role": "user", "content": "hi"}]}).encode()
CHAT = b"POST /openai/v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer x\r\n"
CALL = CHAT + b"Content-Length: %d\r\n\r\n%b" % (len(TALK), TALK)
READY = b"GET /ready HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"


async def test_both_planes_on_one_connection(start: Start) -> None:
    """As a client with one pool has it: whoever answered the last request is not the next one's business."""
    penia = await start()
    async with connected(penia.url) as line:
        for _ in range(50):
            assert [await line.ask(one) for one in (CALL, READY, READY, CALL)] == [200, 200, 200, 200]

    assert len(penia.sandbox.calls) == 100


async def test_requests_sent_early_are_answered_in_turn(start: Start) -> None:
    """Of both planes, in one piece and in many; each call is made once."""
    penia = await start()
    sent = CALL + READY + CALL + CALL + READY + READY + CALL
    for step in (len(sent), 97, 7):
        async with connected(penia.url) as line:
            for at in range(0, len(sent), step):
                line.writer.write(sent[at : at + step])
                await asyncio.sleep(0)
            kinds = ["id" in json.loads((await line.hear())[2]) for _ in range(7)]

        assert kinds == [True, False, True, True, False, False, True]
    assert len(penia.sandbox.calls) == 12


async def test_much_that_is_sent_early_waits(start: Start) -> None:
    """Whoever sends a thousand calls and reads nothing yet does not make us hold them all."""
    penia = await start(script=Behaviour(first_byte_delay_s=0.3))
    padded = TALK[:-1] + b" " * 60_000 + b"}"
    call = CHAT + b"Content-Length: %d\r\n\r\n%b" % (len(padded), padded)
    async with connected(penia.url) as line:
        line.writer.write(call * 100)
        while not penia.sandbox.calls:
            await asyncio.sleep(0.005)
        await asyncio.sleep(0.05)
        (inbound,) = penia.gateway._listener._lines
        assert len(inbound._buffer) < 1_000_000
        assert await line.ask(b"") == 200


async def test_an_answer_may_be_the_last(start: Start) -> None:
    """Where the caller says so: the answer says it as well, and the connection ends."""
    penia = await start()
    for request in (CALL, READY):
        async with connected(penia.url) as line:
            line.writer.write(request.replace(b"Host: 127.0.0.1\r\n", b"Host: 127.0.0.1\r\nConnection: close\r\n"))
            status, headers, _ = await line.hear()
            assert (status, headers["connection"]) == (200, "close")
            assert await line.is_closed()


@pytest.mark.parametrize("ends", [b"0\r\n\r\n", b"0\r\nX-Trailer: a\r\n\r\n"])
async def test_a_body_in_chunks(start: Start, ends: bytes) -> None:
    """However it is cut; its trailers are nobody's, and another request may follow."""
    penia = await start()
    chunks = b"".join(b"%x;name=value\r\n%b\r\n" % (len(part), part) for part in (TALK[:7], TALK[7:])) + ends
    sent = CHAT + b"Transfer-Encoding: chunked\r\n\r\n" + chunks
    async with connected(penia.url) as line:
        for step in (len(sent), 11, 1):
            for at in range(0, len(sent), step):
                line.writer.write(sent[at : at + step])
                await asyncio.sleep(0)
            assert (await line.hear())[0] == 200
        assert await line.ask(CALL) == 200

    assert len(penia.sandbox.calls) == 4


async def test_what_comes_with_the_end_of_chunks_is_sent_again(start: Start) -> None:
    """Where one request ends and the next begins cannot be told there: the answer is the connection's last."""
    penia = await start()
    async with connected(penia.url) as line:
        line.writer.write(CHAT + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(TALK), TALK) + CALL)
        status, headers, _ = await line.hear()
        assert (status, headers["connection"]) == (200, "close")
        assert await line.is_closed()

    assert len(penia.sandbox.calls) == 1


@pytest.mark.parametrize(
    "chunks", [b"5\r\nabcdefg\r\n0\r\n\r\n", b"zz\r\nab\r\n0\r\n\r\n", b"5\nabcde\n0\n\n", b"ffffffffffffffffff\r\n"]
)
async def test_chunks_that_are_none(start: Start, chunks: bytes) -> None:
    """The call is refused, and the connection ends."""
    penia = await start()
    async with connected(penia.url) as line:
        assert await line.ask(CHAT + b"Transfer-Encoding: chunked\r\n\r\n" + chunks) == 400
        assert await line.is_closed()

    assert penia.sandbox.calls == []


async def test_endless_trailers_are_no_body(start: Start) -> None:
    """What is not body is bounded as well."""
    penia = await start()
    async with connected(penia.url) as line:
        line.writer.write(CHAT + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n" + b"X: aaaaaaaa\r\n" * 20_000)
        assert (await line.hear())[0] == 400


async def test_a_caller_may_wait_to_be_asked_for_its_body(start: Start) -> None:
    """It is told to go on once the call is let in, and only then."""
    penia = await start()
    async with connected(penia.url) as line:
        line.writer.write(CHAT + b"Content-Length: %d\r\nExpect: 100-continue\r\n\r\n" % len(TALK))
        assert await line.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        assert await line.ask(TALK) == 200
        unknown = CHAT.replace(b"/openai/", b"/nobody/") + b"Content-Length: 5\r\nExpect: 100-continue\r\n\r\n"
        line.writer.write(unknown)
        status, headers, _ = await line.hear()
        assert (status, headers["connection"]) == (404, "close")


async def test_a_refused_body_is_heard_out(start: Start) -> None:
    """The answer is not taken back by closing on what its caller still sends; then the connection ends."""
    penia = await start(server={"max_body_mb": 0.1})
    async with connected(penia.url) as line:
        line.writer.write(CHAT + b"Content-Length: 400000\r\n\r\n" + b"a" * 200_000)
        status, headers, _ = await line.hear()
        line.writer.write(b"a" * 200_000)
        await line.writer.drain()
        assert (status, headers["connection"]) == (413, "close")
        assert await line.is_closed()


async def test_a_session_after_calls(start: Start) -> None:
    """A connection that has carried calls can become a WebSocket."""
    penia = await start()
    upgrade = READY.replace(b"/ready", b"/ws")[:-2] + b"Connection: Upgrade\r\nUpgrade: websocket\r\n"
    async with connected(penia.url) as line:
        assert await line.ask(CALL) == 200
        line.writer.write(upgrade + b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n")
        assert (await line.reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 ")


@pytest.mark.parametrize("method", ["HEAD", "GET"])
async def test_an_answer_without_a_body(start: Start, method: str) -> None:
    """A path that costs nothing may be asked for its head alone; what follows is read as the next answer."""
    penia = await start(providers={"openai": {"free_routes": ["HEAD /v1/models", "GET /v1/models"]}})
    async with penia.session.request(method, f"{penia.url}/openai/v1/models", headers=KEYS) as answer:
        body = await answer.read()
        assert bool(body) == (method == "GET")
    async with connected(penia.url) as line:
        line.writer.write(
            b"%b /openai/v1/models HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer x\r\n\r\n" % method.encode()
        )
        await line.reader.readuntil(b"\r\n\r\n")
        if method == "HEAD":
            assert await line.ask(READY) == 200


async def test_a_caller_that_sends_half_a_body_and_leaves(start: Start) -> None:
    """No call is made, and nothing of it is kept."""
    penia = await start()
    async with connected(penia.url) as line:
        line.writer.write(CALL[:-3])
        while not penia.gateway._proxy._door.carried_bytes:
            await asyncio.sleep(0.005)
    while penia.gateway._proxy._door.carried_bytes or penia.gateway._proxy._door.calls:
        await asyncio.sleep(0.005)

    assert penia.sandbox.calls == []


async def test_an_api_body_in_chunks_ends_its_connection(start: Start) -> None:
    """Only aiohttp frames it, so that only aiohttp knows where it ends."""
    penia = await start()

    async def pieces() -> AsyncIterator[bytes]:
        yield b'{"component":"c",'
        yield b'"estimated_cost":1}'

    for _ in range(3):
        async with penia.session.post(f"{penia.url}/api/v1/check", data=pieces()) as answer:
            assert (answer.status, answer.headers.get("Connection")) == (200, "close")
        assert (await penia.chat()).status == 200


async def test_a_stream_leaves_in_pieces_as_it_comes(start: Start) -> None:
    """What is written together leaves together, and nothing waits for what comes later."""
    penia = await start(script=Behaviour(chunk_delay_s=0.1))
    body = {"model": "gpt-4o-mini", "max_tokens": 5, "stream": True, "messages": [{"role": "user", "content": "hi"}]}
    async with penia.session.post(f"{penia.url}/openai/v1/chat/completions", json=body, headers=KEYS) as answer:
        pieces = [piece async for piece in answer.content.iter_any()]

    assert len(pieces) >= 4
    assert [b"[DONE]" in piece for piece in pieces].index(True) == len(pieces) - 1


REFUSED = CALL.replace(b"/openai/", b"/nobody/")


async def test_who_asks_and_reads_nothing_is_not_answered_for_ever(start: Start) -> None:
    """Also where each answer is short and at once: answers and requests wait at their sender, not here."""
    penia = await start()
    async with connected(penia.url) as line:
        line.writer.transport.pause_reading()
        (inbound,) = penia.gateway._listener._lines
        quiet = 0
        before = -1
        while quiet < 50:
            line.writer.write(REFUSED * 100)
            with suppress(TimeoutError):
                async with asyncio.timeout(0.01):
                    await line.writer.drain()
            now = inbound.transport.get_write_buffer_size()
            assert now < 1_000_000
            assert len(inbound._buffer) < 1_000_000
            quiet = quiet + 1 if 0 < now == before else 0
            before = now
        line.writer.transport.abort()


async def test_who_reads_nothing_does_not_keep_a_connection(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that is closed has a while to take what was sent, and is gone then."""
    monkeypatch.setattr("penia_proxy.gateway.inbound.ENDING_S", 0.2)
    penia = await start(server={"keepalive_s": 0.2})
    async with connected(penia.url) as line:
        line.writer.transport.pause_reading()
        while penia.gateway._listener.connections:
            with suppress(ConnectionError, TimeoutError):
                line.writer.write(REFUSED * 100)
                async with asyncio.timeout(0.01):
                    await line.writer.drain()
            await asyncio.sleep(0.01)
        line.writer.transport.abort()


async def test_requests_sent_early_are_all_answered(start: Start) -> None:
    """However many: reading is held back and taken up again, also where a head or a body is only half there."""
    penia = await start()
    padded = TALK[:-1] + b" " * 5_000 + b"}"
    call = CHAT + b"Content-Length: %d\r\n\r\n%b" % (len(padded), padded)
    async with connected(penia.url) as line:
        for _ in range(100):
            line.writer.write(call + READY)
        for _ in range(200):
            assert (await line.hear())[0] == 200
