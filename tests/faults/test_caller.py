"""
What a caller can do to a call: leave at any byte of it, close half of its connection, ask in ways that differ.

Rule: what was made is billed once, what was not forwarded costs nothing, and nothing stays held.
"""

import asyncio
import json
import sqlite3
from contextlib import AsyncExitStack, closing
from typing import Any

import aiohttp
import pytest

from penia_proxy.sandbox.faults import Behaviour
from tests.faults.scripted import BILL, BILL_NANOS, END, WORDS, Accepted, chunked, playing
from tests.faults.table import Rounds
from tests.gateways import KEYS, Running, Start, billed_nanos
from tests.lines import connected

CHAT = "/openai/v1/chat/completions"
TALK: dict[str, Any] = {
    "model": "gpt-4o-mini",
    "max_tokens": 50,
    "messages": [{"role": "user", "content": "hi"}],
    "stream": True,
    "stream_options": {"include_usage": True},
}
BODY = json.dumps(TALK).encode()
ANSWER = chunked(WORDS, BILL, END)
TOLD = ANSWER.index(BILL) + len(BILL) - 2
EVERY = 29


def post(name: str, *, path: str = CHAT) -> bytes:
    lines = (f"POST {path} HTTP/1.1", "Host: 127.0.0.1", f"X-Penia-Request-Id: {name}", "Connection: close")
    return "\r\n".join((*lines, f"Content-Length: {len(BODY)}", "", "")).encode() + BODY


async def kept(penia: Running) -> dict[str, tuple[str, str, int, int]]:
    """Wait until nothing is held; return how each call ended, its basis, cost and hold."""
    ledger = penia.gateway.ledger
    while ledger.holds_open or ledger.queue_depth:
        await asyncio.sleep(0.005)
    with closing(sqlite3.connect(penia.gateway.config.ledger.url.removeprefix("sqlite:///"))) as file:
        rows = file.execute("SELECT record_id, status, cost_basis, cost_nanos, estimated_nanos FROM usage_records")
        return {name: (status, basis, cost, held) for name, status, basis, cost, held in rows}


class Leaving:
    """A provider that sends some of an answer, and the rest when its caller has left."""

    def __init__(self) -> None:
        self.cut = 0
        self.begun, self.left = asyncio.Event(), asyncio.Event()

    async def play(self, line: Accepted) -> None:
        await line.request()
        if self.cut:
            await line.say(ANSWER[: self.cut])
        self.begun.set()
        await self.left.wait()
        await line.say(ANSWER[self.cut :])


@pytest.mark.fault("C1")
@pytest.mark.parametrize("policy", ["cancel", "drain"])
async def test_a_caller_that_leaves_at_any_byte(start: Start, policy: str, rounds: Rounds) -> None:
    """Read on to the provider's own count, or hung up on and counted as far as it came; never free, never twice."""
    leaving = Leaving()
    async with playing(leaving.play) as url:
        penia = await start(providers={"openai": {"base_url": url, "on_disconnect": policy}})
        cuts = range(0, len(ANSWER) + 1, EVERY)
        for leaving.cut in cuts:
            leaving.begun.clear()
            leaving.left.clear()
            async with connected(penia.url) as line:
                await line.say(post(f"at-{leaving.cut}"))
                await leaving.begun.wait()
                if leaving.cut == len(ANSWER):
                    await line.reader.readuntil(b"[DONE]")
                elif leaving.cut > ANSWER.index(b"word0"):
                    await line.reader.readuntil(b"word0")
                line.reset()
            if policy == "cancel":
                while penia.gateway.ledger.holds_open:
                    await asyncio.sleep(0.002)
            leaving.left.set()
            found = await kept(penia)
            status, basis, cost, held = found[f"at-{leaving.cut}"]
            if policy == "drain" or leaving.cut >= TOLD:
                assert (basis, cost) == ("reported", BILL_NANOS), leaving.cut
            else:
                assert (status, basis) == ("disconnected", "partial"), leaving.cut
                assert 0 < cost <= held, leaving.cut
    assert len(found) == len(cuts)
    rounds(len(cuts))


@pytest.mark.fault("C1")
async def test_a_caller_that_closes_half(start: Start) -> None:
    """It has said all that it has to say: that is no reason to bill it twice, or never."""
    penia = await start(script=Behaviour(first_byte_delay_s=0.2))
    for number, name in enumerate(("at once", "as the call is made")):
        async with connected(penia.url) as line:
            await line.say(post(name.replace(" ", "-")))
            while number and len(penia.sandbox.calls) < number:
                await asyncio.sleep(0.005)
            line.writer.write_eof()
            await line.reader.read()

    found = await kept(penia)
    assert len(found) == len(penia.sandbox.calls) > 0
    assert all(cost > 0 for _, _, cost, _ in found.values())


SMUGGLED = post("inner")


def framed(*headers: str, body: bytes = b"") -> bytes:
    lines = (f"POST {CHAT} HTTP/1.1", "Host: 127.0.0.1", *headers)
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


@pytest.mark.fault("C5")
@pytest.mark.parametrize(
    "said",
    [
        framed("Content-Length: 5", "Transfer-Encoding: chunked", body=b"0\r\n\r\n" + SMUGGLED),
        framed("Transfer-Encoding: chunked", "Content-Length: 5", body=b"0\r\n\r\n" + SMUGGLED),
        framed("Content-Length: 0", f"Content-Length: {len(BODY)}", body=BODY),
        framed(f"Content-Length: +{len(BODY)}", body=BODY),
        framed(f"Content-Length: {len(BODY)}, {len(BODY)}", body=BODY),
        framed("Transfer-Encoding: xchunked", body=b"0\r\n\r\n" + SMUGGLED),
        framed("Transfer-Encoding: chunked", "Transfer-Encoding: identity", body=b"0\r\n\r\n" + SMUGGLED),
        framed("Transfer-Encoding : chunked", body=b"0\r\n\r\n" + SMUGGLED),
        framed("X: a\r\n b", f"Content-Length: {len(BODY)}", body=BODY),
        framed("X: a\0b", f"Content-Length: {len(BODY)}", body=BODY),
        framed("Host: elsewhere", f"Content-Length: {len(BODY)}", body=BODY),
        framed("Transfer-Encoding: chunked", body=b"-1\r\n" + BODY),
        framed("Transfer-Encoding: chunked", body=b"fffffffffffffffff\r\n" + BODY),
        post("bare").replace(b"\r\n", b"\n"),
        post("absolute", path=f"http://127.0.0.1{CHAT}"),
        post("authority", path=f"//evil.example{CHAT}"),
    ],
)
async def test_what_parsers_read_differently(start: Start, said: bytes) -> None:
    """Refused and closed; neither it nor what is hidden in it is forwarded."""
    penia = await start()
    async with connected(penia.url) as line:
        await line.say(said)
        heard = await line.reader.read()

    assert heard.split(b" ")[1] in {b"400", b"404", b"421"}
    assert heard.count(b"\r\nDate: ") == 1
    assert penia.sandbox.calls == []
    assert (await penia.chat()).status == 200


ASKED_AHEAD = 1_000
QUIET = 20
"""Looks in a row at which nothing has changed."""


async def test_who_asks_ahead_and_reads_nothing_is_not_answered_for_ever(start: Start) -> None:
    """Answers wait for their reader in the system's own buffers, and no more calls are made than fit there."""
    penia = await start(script=Behaviour(output_tokens=4_000))
    body = json.dumps({**TALK, "max_tokens": 4_000, "stream": False, "stream_options": None}).encode()
    key = f"Authorization: {KEYS['Authorization']}"
    lines = (f"POST {CHAT} HTTP/1.1", "Host: 127.0.0.1", key, f"Content-Length: {len(body)}", "", "")
    call = "\r\n".join(lines).encode() + body
    async with connected(penia.url) as line:
        line.writer.write(call * ASKED_AHEAD)
        seen = quiet = 0
        while quiet < QUIET:
            await asyncio.sleep(0.05)
            before, seen = seen, len(penia.sandbox.calls)
            quiet = quiet + 1 if seen == before and seen else 0
        answer = await line.reader.readuntil(b"\r\n\r\n")

    assert b"200 OK" in answer
    assert seen < ASKED_AHEAD / 2


@pytest.mark.fault("C7")
async def test_streams_and_live_clients_at_once(start: Start, rounds: Rounds) -> None:
    """Every stream comes whole, every live client hears of every call, and it adds up to the provider's bill."""
    streams, listeners = 300, 100
    penia = await start(script=Behaviour(chunk_delay_s=0.02, output_tokens=20))
    async with AsyncExitStack() as stack:
        session = await stack.enter_async_context(
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), timeout=aiohttp.ClientTimeout(total=50))
        )
        lives = [await stack.enter_async_context(session.ws_connect(f"{penia.url}/ws")) for _ in range(listeners)]
        for live in lives:
            await live.send_json({"type": "subscribe", "channels": ["usage"]})
            assert (await live.receive_json())["type"] == "subscribed"

        async def call() -> bytes:
            async with session.post(penia.url + CHAT, json=TALK, headers=KEYS) as answer:
                return await answer.read()

        async def listen(live: aiohttp.ClientWebSocketResponse) -> set[str]:
            heard: set[str] = set()
            while len(heard) < streams:
                message = await live.receive_json()
                if message["type"] == "usage":
                    heard.add(message["data"]["record_id"])
            return heard

        listening = [asyncio.create_task(listen(live)) for live in lives]
        answers = await asyncio.gather(*(call() for _ in range(streams)))
        heard = await asyncio.gather(*listening)

    assert all(answer.endswith(END) for answer in answers)
    found = await kept(penia)
    assert all(one == found.keys() for one in heard)
    assert {basis for _, basis, _, _ in found.values()} == {"reported"}
    assert sum(cost for _, _, cost, _ in found.values()) == billed_nanos(penia)
    rounds(streams + listeners)
