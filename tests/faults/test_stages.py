"""
kill -9 at each stage of a call, by whoever is at the other end of it.

The provider is a raw socket that kills the gateway at a byte of its choosing, so no hook in the product decides when.
"""

import asyncio
import contextlib
import json
import signal
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import aiohttp
import pytest

from penia_proxy.ledger.verify import examine
from tests.faults.forked import CHAT, TALK, Home, Process, dice
from tests.faults.scripted import BILL, BILL_NANOS, END, WORDS, Accepted, Play, chunked, playing
from tests.faults.table import Rounds
from tests.gateways import KEYS

STREAM = {**TALK, "stream": True, "stream_options": {"include_usage": True}}
ANSWER = chunked(WORDS, BILL, END)

Record = tuple[str, int, int]


class Killing:
    """A gateway that is killed by its provider, or by its caller."""

    def __init__(self, folder: Path, upstream: str, session: aiohttp.ClientSession) -> None:
        self.home = Home(folder, upstream)
        self.session = session
        self.play: Play
        self._process: Process

    def kill(self) -> None:
        """End it in this very step."""
        self._process.kill()
        self._process.join()

    async def times(self, count: int, do: Callable[[], Awaitable[None]]) -> list[Record]:
        """Start, let something kill it, and start on what that left; return basis, cost and hold of each record."""
        for turn in range(count + 1):
            with self.home.started() as self._process:
                await self.home.ready(self.session)
                findings = await asyncio.to_thread(examine, self.home.ledger_url)
                assert (findings.differences, findings.holds_open) == ([], 0)
                if turn < count:
                    await do()
                    await asyncio.to_thread(self._process.join)
                    assert self._process.exitcode == -signal.SIGKILL
        with contextlib.closing(sqlite3.connect(self.home.ledger)) as file:
            return file.execute("SELECT cost_basis, cost_nanos, estimated_nanos FROM usage_records").fetchall()

    async def call(self) -> bool:
        """Make a call; return whether its answer came whole."""
        try:
            async with self.session.post(f"{self.home.url}/{CHAT}", json=STREAM, headers=KEYS) as answer:
                return (await answer.read()).endswith(END)
        except aiohttp.ClientError:
            return False

    async def cut(self) -> None:
        """Make a call whose answer must break off."""
        assert not await self.call()


@pytest.fixture
async def killing(tmp_path: Path) -> AsyncIterator[Killing]:
    """Run a provider that does to the gateway what the test has written into ``play``."""

    async def play(line: Accepted) -> None:
        await found.play(line)

    async with playing(play) as upstream, aiohttp.ClientSession() as session:
        found = Killing(tmp_path, upstream, session)
        yield found


@pytest.mark.fault("K0")
async def test_before_anything_is_held(killing: Killing, rounds: Rounds) -> None:
    """Killed with half a request read: there was no call."""

    async def do() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", killing.home.port)
        body = json.dumps(STREAM).encode()
        head = f"POST /{CHAT} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body[: len(body) // 2])
        await writer.drain()
        killing.kill()
        with contextlib.suppress(ConnectionError):
            assert await reader.read() == b""
        writer.close()

    assert await killing.times(2, do) == []
    rounds(2)


@pytest.mark.fault("K1")
async def test_when_the_provider_accepts(killing: Killing, rounds: Rounds) -> None:
    """The hold was on disk before there was a connection: it is charged."""

    async def play(_line: Accepted) -> None:
        killing.kill()

    killing.play = play
    charged(await killing.times(2, killing.cut), 2)
    rounds(2)


@pytest.mark.fault("K2")
async def test_when_the_provider_has_the_request(killing: Killing, rounds: Rounds) -> None:
    """It may be at work, and may bill."""

    async def play(line: Accepted) -> None:
        await line.request()
        killing.kill()

    killing.play = play
    charged(await killing.times(2, killing.cut), 2)
    rounds(2)


@pytest.mark.fault("K3")
async def test_after_any_byte_of_a_stream(killing: Killing, rounds: Rounds) -> None:
    """How much had passed died with the process: what was held is charged."""
    moments = dice()

    async def play(line: Accepted) -> None:
        await line.request()
        await line.say(ANSWER[: moments.randrange(1, len(ANSWER))])
        await asyncio.sleep(moments.uniform(0, 0.01))
        killing.kill()

    killing.play = play
    charged(await killing.times(8, killing.cut), 8)
    rounds(8)


def charged(records: list[Record], count: int) -> None:
    """Each call was booked at what was held, which is no less than its bill."""
    assert [basis for basis, _, _ in records] == ["unconfirmed"] * count
    assert all(cost == held > BILL_NANOS for _, cost, held in records)


@pytest.mark.fault("K4")
@pytest.mark.parametrize("by", ["the provider", "the caller"])
async def test_after_the_last_byte(killing: Killing, by: str, rounds: Rounds) -> None:
    """Settled or not, it is one record, and of no less than the bill."""

    async def play(line: Accepted) -> None:
        await line.request()
        await line.say(ANSWER)
        if by == "the provider":
            killing.kill()

    async def do() -> None:
        whole = await killing.call()
        if by == "the caller":
            assert whole
            killing.kill()

    killing.play = play
    records = await killing.times(4, do)
    assert len(records) == 4
    for basis, cost, held in records:
        assert (basis, cost) in {("reported", BILL_NANOS), ("unconfirmed", held)}
    rounds(4)


@pytest.mark.fault("K5")
async def test_as_the_live_feed_tells_of_it(killing: Killing, rounds: Rounds) -> None:
    """What somebody was told is on disk."""

    async def play(line: Accepted) -> None:
        await line.request()
        await line.say(ANSWER)

    async def do() -> None:
        async with killing.session.ws_connect(f"{killing.home.url}/ws") as live:
            await live.send_json({"type": "subscribe", "channels": ["usage"]})
            assert (await live.receive_json())["type"] == "subscribed"
            calling = asyncio.create_task(killing.call())
            while (await live.receive_json())["type"] != "usage":
                pass
            killing.kill()
            await calling

    killing.play = play
    records = await killing.times(3, do)
    assert [(basis, cost) for basis, cost, _ in records] == [("reported", BILL_NANOS)] * 3
    rounds(3)
