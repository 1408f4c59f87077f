"""Where two things go wrong at once, and what a provider or a caller does that nobody should."""

import asyncio
import gzip
import json
import logging
import socket
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest

from penia_proxy.sandbox.faults import Behaviour
from tests.gateways import KEYS, Running, Start

CHAT = "openai/v1/chat/completions"
TALK: dict[str, Any] = {"model": "gpt-4o-mini", "max_tokens": 50, "messages": [{"role": "user", "content": "hi"}]}


@asynccontextmanager
async def saying(answer: bytes) -> AsyncIterator[str]:
    """Run a provider that answers any request with these bytes and hangs up."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
        await reader.readexactly(length)
        writer.write(answer)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


def chunked(body: bytes, *headers: str) -> bytes:
    head = "".join(f"{header}\r\n" for header in ("HTTP/1.1 200 OK", "Transfer-Encoding: chunked", *headers))
    return head.encode() + b"\r\n" + b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)


EVENTS = b"".join(
    b"data: " + json.dumps({"choices": [{"index": 0, "delta": {"content": f"word{n} "}}]}).encode() + b"\n\n"
    for n in range(200)
)


async def ended(penia: Running) -> None:
    while penia.gateway.ledger.holds_open or penia.gateway.ledger.queue_depth:
        await asyncio.sleep(0.005)


async def test_a_duplicate_that_hangs_up_does_not_take_the_first_calls_hold(start: Start) -> None:
    """The id stays taken, and the first call is settled, whatever its duplicate does during its commit."""
    penia = await start(script=Behaviour(first_byte_delay_s=0.6))
    headers = {"X-Penia-Request-Id": "twice"}
    first = asyncio.create_task(penia.chat(headers))
    while not penia.sandbox.calls:
        await asyncio.sleep(0.005)
    locked = sqlite3.connect(penia.gateway.config.ledger.url.removeprefix("sqlite:///"), isolation_level=None)
    locked.execute("BEGIN IMMEDIATE")

    duplicate = asyncio.create_task(penia.session.post(f"{penia.url}/{CHAT}", json=TALK, headers={**KEYS, **headers}))
    while not penia.gateway.ledger.queue_depth:
        await asyncio.sleep(0.005)
    duplicate.cancel()
    await asyncio.sleep(0.05)
    locked.execute("ROLLBACK")
    third = await penia.chat(headers)

    assert third.status == 409
    assert (await first).status == 200
    assert (await penia.record("twice") or {})["cost_basis"] == "reported"
    assert len(penia.sandbox.calls) == 1


@pytest.mark.fault("C1")
async def test_leaving_while_still_connecting_costs_nothing(start: Start) -> None:
    """The call was never sent."""
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        port = full.getsockname()[1]
        # Linux accepts backlog + 1 connections that nobody takes, and leaves further ones waiting.
        fillers = [socket.create_connection(("127.0.0.1", port), timeout=1) for _ in range(1)]
        penia = await start(providers={"openai": {"base_url": f"http://127.0.0.1:{port}"}})
        call = asyncio.create_task(penia.session.post(f"{penia.url}/{CHAT}", json=TALK, headers=KEYS))
        while not penia.gateway.ledger.holds_open:
            await asyncio.sleep(0.005)
        await asyncio.sleep(0.05)
        call.cancel()
        await ended(penia)
        for filler in fillers:
            filler.close()

    assert await penia.records() == []


@pytest.mark.fault("C2")
async def test_a_caller_that_does_not_read_is_let_go(start: Start) -> None:
    """It cannot keep its hold, or our memory, for ever."""
    penia = await start(
        script=Behaviour(output_tokens=150_000), providers={"openai": {"timeout_seconds": {"idle": 0.3}}}
    )
    host, port = penia.url.removeprefix("http://").split(":")
    body = json.dumps({**TALK, "max_tokens": 150_000, "stream": True}).encode()
    with socket.socket() as deaf:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        deaf.connect((host, int(port)))
        head = (
            f"POST /{CHAT} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer x\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        deaf.sendall(head.encode() + body)
        while not penia.sandbox.calls:
            await asyncio.sleep(0.005)
        await ended(penia)

    (record,) = await penia.records()
    assert (record["status"], record["cost_basis"]) == ("disconnected", "partial")
    assert record["output_tokens"] < 150_000


@pytest.mark.parametrize(
    "members",
    [
        {"modalities": 7},
        {"tools": [{"type": {"x": 1}}]},
        {"tools": 5},
        {"messages": [{"content": [{"type": ["a"]}]}]},
        {"messages": [{"content": [{"type": "image_url", "image_url": 5}]}]},
        {"messages": [[], 5, None]},
        {"prediction": 5},
        {"response_format": []},
    ],
)
async def test_odd_types_are_the_providers_to_judge(start: Start, members: dict[str, Any]) -> None:
    """They are no failure of ours."""
    penia = await start()

    answer = await penia.chat(**members)

    assert answer.status in (200, 400)


@pytest.mark.fault("U10")
async def test_a_stream_of_broken_compression_is_cut(start: Start) -> None:
    """Decoded to take our usage chunk out, it must not end as if it were whole."""
    damaged = bytearray(gzip.compress(EVENTS))
    damaged[len(damaged) // 2] ^= 0xFF
    for body in (bytes(damaged), gzip.compress(EVENTS)[:-20]):
        answer = chunked(body, "Content-Type: text/event-stream", "Content-Encoding: gzip")
        async with saying(answer) as url:
            penia = await start(providers={"openai": {"base_url": url}})
            with pytest.raises(aiohttp.ClientPayloadError):
                await penia.chat(stream=True)
            await ended(penia)
            (record,) = await penia.records()
            assert record["output_tokens"] > 0


@pytest.mark.fault("U10")
async def test_an_answer_in_an_unknown_coding_is_passed_on_and_estimated(start: Start) -> None:
    """What cannot be read was made all the same."""
    body = gzip.compress(gzip.compress(EVENTS))
    answer = chunked(body, "Content-Type: text/event-stream", "Content-Encoding: gzip, gzip")
    async with saying(answer) as url, aiohttp.ClientSession(auto_decompress=False) as session:
        penia = await start(providers={"openai": {"base_url": url}})
        async with session.post(f"{penia.url}/{CHAT}", json={**TALK, "stream": True}, headers=KEYS) as passed:
            assert await passed.read() == body

        (record,) = await penia.records()
    assert record["cost_basis"] == "estimated"
    assert record["output_tokens"] == 50


@pytest.mark.fault("U11")
async def test_switching_protocols_is_no_answer(start: Start) -> None:
    """Nobody asked for it."""
    async with saying(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n") as url:
        penia = await start(providers={"openai": {"base_url": url}})

        assert (await penia.chat()).status == 502


async def test_a_key_in_a_malformed_request_is_not_logged(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    """Not by us, and not by the server under us."""
    penia = await start()
    caplog.set_level(logging.DEBUG)
    caplog.set_level(logging.DEBUG, logger="penia_proxy")
    host, port = penia.url.removeprefix("http://").split(":")
    for line in ("Authorization: Bearer sk-CANARY\x7f", "Authorization : Bearer sk-CANARY", "sk-CANARY"):
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(f"GET /openai/v1/models HTTP/1.1\r\nHost: {host}\r\n{line}\r\n\r\n".encode("latin-1"))
        await reader.read()
        writer.close()

    assert "CANARY" not in caplog.text
    assert "a request could not be handled" in caplog.text


async def test_near_a_limit_the_text_is_counted_before_a_warning(start: Start) -> None:
    """A byte bound alone makes no warning."""
    words = "The quick brown fox jumps over the lazy dog. " * 180
    penia = await start(budgets=({"name": "Small", "daily_limit": 0.001},))

    answer = await penia.chat(messages=[{"role": "user", "content": words}])

    assert answer.headers["X-Penia-Verdict"] == "allow"
    assert "X-Penia-Budget-Warning" not in answer.headers


async def test_a_calendar_does_not_change_under_a_call_that_holds_nothing(start: Start) -> None:
    """An unpriced call in flight has an amount of 0 and counts in its windows all the same."""
    penia = await start(budgets=({"name": "Default", "daily_limit": 5.0},), script=Behaviour(first_byte_delay_s=0.3))
    (budget,) = penia.gateway.book.active
    call = asyncio.create_task(penia.chat(model="nobody-knows"))
    while not penia.sandbox.calls:
        await asyncio.sleep(0.005)

    status, _ = await penia.api("PUT", f"/api/v1/budgets/{budget.budget_id}", {"timezone": "Asia/Kathmandu"})

    assert status == 409
    await call
    status, _ = await penia.api("PUT", f"/api/v1/budgets/{budget.budget_id}", {"timezone": "Asia/Kathmandu"})
    assert status == 200


@pytest.mark.parametrize("path", ["/", "/health", "/api/v1/budgets", "/api/v1/nothing", "/nobody/v1/models"])
async def test_it_says_no_more_of_itself_than_its_name(start: Start, path: str) -> None:
    """What serves it, and in which version, is nobody's business."""
    penia = await start()
    async with penia.session.get(penia.url + path) as answer:
        assert answer.headers.getall("Server") == ["Penia"]
