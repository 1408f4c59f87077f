"""
What a provider can do to a call, byte by byte, with a whole gateway between it and the caller.

Rule: of each fault it is said what the caller gets, what the record is, and that nothing stays held.
"""

import asyncio
import gzip
import io
import json
import socket
import sqlite3
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, closing
from pathlib import Path
from typing import Any

import aiohttp
import brotli
import pytest
import zstandard

from tests.faults.scripted import BILL, BILL_NANOS, END, WORDS, Accepted, Play, chunked, event, head, playing, word
from tests.faults.table import Rounds
from tests.gateways import KEYS, Running, Start
from tests.tls import behind_tls

TALK: dict[str, Any] = {
    "model": "gpt-4o-mini",
    "max_tokens": 50,
    "messages": [{"role": "user", "content": "hi"}],
    "stream": True,
    "stream_options": {"include_usage": True},
}
CHAT = "openai/v1/chat/completions"
RECORDED = Path(__file__).parents[1] / "replay" / "small.jsonl"


class Scripted:
    """A gateway before a provider that plays what is asked of it."""

    def __init__(self, penia: Running) -> None:
        self.penia = penia
        self.plays: dict[str, Play] = {}

    async def play(self, line: Accepted) -> None:
        """Play what the request names in its last message."""
        asked = json.loads(await line.request())
        await self.plays[asked["messages"][-1]["content"]](line)

    async def call(self, name: str, play: Play, path: str = CHAT, **members: Any) -> tuple[int, bytes, bool]:
        """Make a call that is answered so; return status, what came of the answer, and whether it came whole."""
        self.plays[name] = play
        body = {**TALK, **members, "messages": [{"role": "user", "content": name}]}
        headers = {**KEYS, "X-Penia-Request-Id": name.replace(" ", "-"), "Accept-Encoding": "identity"}
        came = b""
        async with self.penia.session.post(
            f"{self.penia.url}/{path}", json=body, headers=headers, allow_redirects=False
        ) as answer:
            try:
                async for piece in answer.content.iter_any():
                    came += piece
            except aiohttp.ClientPayloadError:
                return answer.status, came, False
            return answer.status, came, True

    async def kept(self) -> dict[str, tuple[str, int, int]]:
        """Wait until nothing is held; return basis, cost and hold of every record."""
        ledger = self.penia.gateway.ledger
        while ledger.holds_open or ledger.queue_depth:
            await asyncio.sleep(0.005)
        with closing(sqlite3.connect(self.penia.gateway.config.ledger.url.removeprefix("sqlite:///"))) as file:
            rows = file.execute("SELECT record_id, cost_basis, cost_nanos, estimated_nanos FROM usage_records")
            return {name.replace("-", " "): (basis, cost, held) for name, basis, cost, held in rows}


@pytest.fixture
async def scripted(start: Start) -> AsyncIterator[Scripted]:
    """Run a gateway whose providers are one raw socket."""

    async def play(line: Accepted) -> None:
        await found.play(line)

    async with playing(play) as url:
        settings = {"base_url": url, "timeout_seconds": {"idle": 5, "first_byte": 5}}
        found = Scripted(await start(providers={"openai": settings, "anthropic": settings}))
        yield found


def saying(answer: bytes, pieces: int = 0) -> Play:
    """Play: answer with these bytes, in pieces of so many."""

    async def play(line: Accepted) -> None:
        for at in range(0, len(answer), pieces or len(answer)):
            await line.say(answer[at : at + (pieces or len(answer))])
            await asyncio.sleep(0)

    return play


def resetting(answer: bytes) -> Play:
    """Play: answer with these bytes, then reset the connection."""

    async def play(line: Accepted) -> None:
        if answer:
            await line.say(answer)
        await asyncio.sleep(0.001)
        line.reset()

    return play


def recorded(name: str) -> tuple[dict[str, Any], bytes]:
    """Return a recorded exchange, and its answer as bytes, an event a chunk."""
    row = next(row for line in RECORDED.read_text().splitlines() if (row := json.loads(line))["id"] == name)
    events = [f"{said}\n\n".encode() for said in row["response"]["body"].split("\n\n") if said]
    return row, chunked(*events)


@pytest.mark.fault("U5")
@pytest.mark.timeout(180)
@pytest.mark.parametrize(
    ("name", "path", "usage", "step"),
    [("small-11", "anthropic/v1/messages", b'"message_delta"', 1), ("small-01", CHAT, b'"prompt_tokens"', 23)],
)
async def test_a_reset_after_every_byte(
    scripted: Scripted, name: str, path: str, usage: bytes, step: int, rounds: Rounds
) -> None:
    """The caller has exactly what came, visibly cut; the bill is exact only where it had come."""
    row, answer = recorded(name)
    request = {key: value for key, value in json.loads(row["request"]["body"]).items() if key != "messages"}
    begun = answer.index(b"\r\n\r\n") + 4
    told = answer.index(b"\n\n", answer.index(usage))
    cuts = iter(range(0, len(answer), step))

    async def caller() -> None:
        for cut in cuts:
            status, came, whole = await scripted.call(str(cut), resetting(answer[:cut]), path, **request)
            assert (status, whole) == ((200, False) if cut >= begun else (502, True)), cut
            assert cut < begun or row["response"]["body"].encode().startswith(came)

    await asyncio.gather(*(caller() for _ in range(8)))
    kept = await scripted.kept()

    assert len(kept) == len(range(0, len(answer), step))
    exact = int(float(row["expected"]["best_cost_usd"]) * 1e9 + 0.5)
    for cut, (basis, cost, held) in ((int(name), one) for name, one in kept.items()):
        if cut < begun:
            assert (basis, cost) == ("unconfirmed", held), cut
        elif cut < told:
            assert basis == "partial", cut
            assert 0 < cost <= held, cut
        else:
            assert (basis, cost) in {("reported", exact), ("partial", cost)}, cut
    rounds(len(kept))


@pytest.mark.fault("U1")
@pytest.mark.parametrize("what", ["no such name", "a certificate that nobody vouches for"])
async def test_a_provider_that_is_not_there(start: Start, certificate: Path, what: str) -> None:
    """Nothing of the call has left: 502, no record, and the hold is released."""
    async with AsyncExitStack() as stack:
        url = "http://nobody.invalid"
        if what.startswith("a cert"):
            url, _ = await stack.enter_async_context(behind_tls("http://127.0.0.1:9", certificate))
        penia = await start(providers={"openai": {"base_url": url}})
        answer = await penia.chat()

    assert answer.status == 502
    assert (await answer.json())["error"]["code"] == "upstream_unreachable"
    assert await penia.records() == []
    assert penia.gateway.ledger.holds_open == 0


@pytest.mark.fault("U2")
async def test_a_connection_that_never_opens(start: Start) -> None:
    """Nobody answers our SYN: 504 when the time to connect is over, and the call was never sent."""
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        port = full.getsockname()[1]
        # Linux accepts backlog + 1 connections that nobody takes, and leaves further ones waiting.
        with socket.create_connection(("127.0.0.1", port), timeout=1):
            base = {"base_url": f"http://127.0.0.1:{port}", "timeout_seconds": {"connect": 0.3}}
            penia = await start(providers={"openai": base})
            answers = await asyncio.gather(*(penia.chat(stream=stream) for stream in (True, False) for _ in range(5)))

    assert {answer.status for answer in answers} == {504}
    assert await penia.records() == []
    assert penia.gateway.ledger.holds_open == 0


NULL = event(usage=None, choices=[{"index": 0, "delta": {}}])


def bill(**usage: Any) -> bytes:
    return event(usage=usage)


@pytest.mark.fault("U8")
async def test_usage_of_any_kind(scripted: Scripted, rounds: Rounds) -> None:
    """What can be believed is the bill, the last of it; everything else is counted, and never free."""
    believed = {
        "at the end": WORDS + BILL,
        "twice": WORDS + BILL + BILL,
        "in the middle": word(0) + BILL + WORDS,
        "with a null behind it": WORDS + BILL + NULL,
        "after another": WORDS + bill(prompt_tokens=1, completion_tokens=1, total_tokens=2) + BILL,
    }
    counted = {
        "none": WORDS,
        "null": WORDS + NULL,
        "negative": WORDS + bill(prompt_tokens=-9, completion_tokens=12, total_tokens=3),
        "absurd": WORDS + bill(prompt_tokens=1e30, completion_tokens=12, total_tokens=1e30),
        "infinite": WORDS + BILL.replace(b"12", b"Infinity"),
        "text": WORDS + bill(prompt_tokens="9", completion_tokens="12"),
        "a list": WORDS + event(usage=[9, 12]),
        "nothing in it": WORDS + event(usage={}),
        "half of it": WORDS + bill(prompt_tokens=9),
    }
    for name, said in (believed | counted).items():
        status, came, whole = await scripted.call(name, saying(chunked(said, END)))
        assert (status, came, whole) == (200, said + END, True), name
    kept = await scripted.kept()

    for name in believed:
        assert kept[name][:2] == ("reported", BILL_NANOS), name
    for name in counted:
        basis, cost, held = kept[name]
        assert basis == "estimated", name
        assert 0 < cost <= held, name
    rounds(len(kept))


@pytest.mark.fault("U9")
async def test_bytes_of_any_kind(scripted: Scripted, rounds: Rounds) -> None:
    """Garbage between events, odd ends of lines, and any split: the same bytes, and the same bill."""
    noise = bytes(range(256)) * 40
    said = {
        "garbage before": noise.replace(b"\n", b"") + b"\n\n" + WORDS + BILL + END,
        "garbage in an event": word(0)
        + b"data: "
        + noise.replace(b"\n", b"").replace(b"\r", b"")
        + b"\n\n"
        + BILL
        + END,
        "no UTF-8": WORDS.replace(b"word3", b"\xff\xfe\xc3") + BILL + END,
        "NULs": word(0) + b"\0" * 5_000 + b"\n\n" + BILL + END,
        "CRLF": (WORDS + BILL + END).replace(b"\n", b"\r\n"),
        "CR": (WORDS + BILL + END).replace(b"\n", b"\r"),
        "BOM": b"\xef\xbb\xbf" + WORDS + BILL + END,
        "comments": b": ping\n\n" + WORDS + b": ping\n" + BILL + END,
        "a line of 50 MB": b"data: " + b"x" * 50_000_000 + b"\n\n" + BILL + END,
        "no end of a line": (WORDS + BILL + END).rstrip(b"\n"),
    }
    for name, stream in said.items():
        status, came, whole = await scripted.call(name, saying(chunked(stream)))
        assert (status, came == stream, whole) == (200, True, True), name
    for size in (1, 2, 3, 7, 61, 500):
        answer = chunked(WORDS[: len(WORDS) // 2], WORDS[len(WORDS) // 2 :], BILL, END)
        assert await scripted.call(f"in pieces of {size}", saying(answer, size)) == (200, WORDS + BILL + END, True)
    kept = await scripted.kept()

    assert {name: one[:2] for name, one in kept.items()} == dict.fromkeys(kept, ("reported", BILL_NANOS))
    rounds(len(kept))


@pytest.mark.fault("U10")
async def test_compression_of_any_kind(scripted: Scripted, rounds: Rounds) -> None:
    """What can be decoded within bounds is read; what cannot is passed on as it came, and counted."""
    whole = WORDS + BILL + END
    bomb = gzip.compress(b"data: " + b"0" * 200_000_000 + b"\n\n")
    answers = {
        "gzip": (gzip.compress(whole), "gzip"),
        "br": (brotli.compress(whole), "br"),
        "zstd": (zstandard.compress(whole), "zstd"),
        "of another kind": (whole, "made-up"),
        "twice": (gzip.compress(gzip.compress(whole)), "gzip, gzip"),
        "not at all": (whole, "gzip"),
        "cut": (gzip.compress(whole)[:-30], "gzip"),
        "a bomb": (bomb, "gzip"),
    }
    async with aiohttp.ClientSession(auto_decompress=False) as session:
        scripted.penia.session, before = session, scripted.penia.session
        for name, (body, coding) in answers.items():
            status, came, _ = await scripted.call(name, saying(chunked(body, Content_Encoding=coding)))
            assert (status, came == body) == (200, True), name
        scripted.penia.session = before
    kept = await scripted.kept()

    for name, (basis, cost, held) in kept.items():
        if name in {"gzip", "br", "zstd"}:
            assert (basis, cost) == ("reported", BILL_NANOS), name
        else:
            assert basis in {"estimated", "partial"}, name
            assert 0 < cost <= held, name
    assert kept.keys() == answers.keys()
    rounds(len(kept))


SHORT = json.dumps({"id": "c", "model": "gpt-4o-mini", "choices": [], "usage": json.loads(BILL[6:])["usage"]}).encode()
JSON = {"Content_Type": "application/json"}


@pytest.mark.fault("U11")
async def test_http_of_any_kind(scripted: Scripted, rounds: Rounds) -> None:
    """Redirects are the caller's to follow, what HTTP allows is read, and what lies about its length is never whole."""
    full = head(Content_Length=str(len(SHORT)), **JSON) + SHORT
    moved = head("302 Found", Location="http://127.0.0.1:9/elsewhere", Content_Length="0")
    good = {
        "as it should be": full,
        "interim answers": head("100 Continue") + head("103 Early Hints", Link="</x>") + full,
        "trailers": chunked(SHORT, **JSON)[:-2] + b"X-Late: dropped\r\n\r\n",
        "a byte too many": full + b"x",
    }
    broken = {
        "a length that is too long": head(Content_Length=str(len(SHORT) + 9), **JSON) + SHORT,
        "a chunk that is too long": head(Transfer_Encoding="chunked", **JSON) + b"%x\r\n" % (len(SHORT) + 9) + SHORT,
        "a chunk of no size": head(Transfer_Encoding="chunked", **JSON) + b"zz\r\n" + SHORT,
    }
    refused = {
        "another protocol": head("101 Switching Protocols", Connection="upgrade", Upgrade="x"),
        "two lengths": head(Content_Length="2\r\nContent-Length: 3") + b"ok!",
        "no HTTP": b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
    }
    found = {
        name: await scripted.call(name, saying(answer), stream=False, stream_options=None)
        for name, answer in {**good, **broken, **refused, "moved": moved}.items()
    }
    kept = await scripted.kept()

    for name in good:
        assert found[name] == (200, SHORT, True), name
        assert kept[name][:2] == ("reported", BILL_NANOS), name
    for name in broken:
        assert not found[name][2] or found[name][0] == 502, name
        assert 0 < kept[name][1] <= kept[name][2], name
    for name in refused:
        assert found[name][0] == 502, name
        assert kept[name][0] == "unconfirmed", name
    assert found["moved"] == (302, b"", True)
    rounds(len(found))


@pytest.mark.fault("U12")
async def test_an_answer_before_the_request_was_read(start: Start, rounds: Rounds) -> None:
    """It is passed on, and booked once, whether it is an error or a bill; the connection is not used again."""
    answers = [
        head("413 Content Too Large", Content_Length="2") + b"no",
        head(Content_Length=str(len(SHORT)), **JSON) + SHORT,
    ]

    body = json.dumps({**TALK, "stream": False, "stream_options": None, "padding": "x" * 20_000_000}).encode()

    async def play(line: Accepted) -> None:
        await line.reader.readuntil(b"\r\n\r\n")
        await line.say(answers[0])
        await line.reader.read(1_000_000)
        await asyncio.sleep(0.2)

    async with playing(play) as url:
        penia = await start(providers={"openai": {"base_url": url}})
        found = []
        while answers:
            async with penia.session.post(f"{penia.url}/{CHAT}", data=io.BytesIO(body), headers=KEYS) as answer:
                found.append((answer.status, await answer.read()))
            answers.pop(0)
        (record,) = await penia.records()

    assert found == [(413, b"no"), (200, SHORT)]
    assert record["cost_basis"] == "reported"
    rounds(2)
