"""
Hold ten thousand live clients and two thousand streams in one process.

Its one job: what each takes of the gateway's memory, and what a call and a live event take meanwhile. Exit code 1 where
one of them failed.
Run: make crowd, or python -m benchmarks.crowd [SOCKETS] [STREAMS] [SECONDS]
"""

import asyncio
import gc
import json
import resource
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import uvloop

from benchmarks.idle import join
from benchmarks.load import PATH, Ask, load, request_bytes
from benchmarks.servers import Server, penia, pin, provider

SOCKETS, STREAMS, SECONDS = 10_000, 2_000, 45
"""Long enough for a heartbeat of every client, which comes after 30 s."""
EVERY_S = 0.05
EVENT_S_MAX = 30.0
"""After which an event that has not come will not come."""
PROBED = 7
"""The component whose calls are timed; component 1, which has a budget of its own, never calls."""
GROUP = 100
"""Streams that begin at a time."""


@dataclass
class Row:
    """The gateway while it holds something."""

    holds: str
    rss_mb: float
    calls_s: list[float] = field(default_factory=list)
    events_s: list[float] = field(default_factory=list)


class Probe:
    """Makes a plain call now and then, and waits for its live event."""

    def __init__(self, port: int, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._port = port
        self._socket = socket
        self._payload = request_bytes(Ask(), PATH, PROBED)
        self._arrived: asyncio.Queue[float] = asyncio.Queue()

    async def listen(self) -> None:
        """Note when events come; all the time, as who does not read answers no heartbeat."""
        async for message in self._socket:
            if json.loads(message.data)["type"] == "usage":
                self._arrived.put_nowait(time.perf_counter())

    async def run(self, row: Row, seconds: float) -> None:
        """Fill in a row's times."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            began = time.perf_counter()
            writer.write(self._payload)
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            if b" 200 " not in head[:20]:
                raise RuntimeError(f"not answered: {head[:200]!r}")
            await reader.readexactly(int(head.partition(b"content-length:")[2].split(b"\r\n", 1)[0]))
            row.calls_s.append(time.perf_counter() - began)
            row.events_s.append(await asyncio.wait_for(self._arrived.get(), EVENT_S_MAX) - began)
            await asyncio.sleep(max(0.0, began + EVERY_S - time.perf_counter()))
        writer.close()


class Crowd:
    """One run."""

    def __init__(self, server: Server, upstream: Server, session: aiohttp.ClientSession) -> None:
        self.rows: list[Row] = []
        self.wrong: list[str] = []
        self.opening: dict[str, float] = {}
        """Seconds until all were there."""
        self._server = server
        self._upstream = upstream
        self._session = session
        self._url = f"http://127.0.0.1:{server.port}"

    async def run(self, sockets: int, streams: int, seconds: float) -> None:
        """Fill the gateway step by step, and look at it at each."""
        async with self._session.ws_connect(f"{self._url}/ws") as socket:
            await socket.send_json({"type": "subscribe", "channels": ["usage"], "components": [f"c{PROBED}"]})
            self._probe = Probe(self._server.port, socket)
            listening = asyncio.create_task(self._probe.listen())
            await self._look("nothing else", seconds / 3)
            began = time.perf_counter()
            clients, refused = await join(self._server.port, sockets, await self._quiet())
            self.opening["WebSockets"] = time.perf_counter() - began
            if refused:
                self.wrong.append(f"{refused} WebSockets were refused")
            await self._look(f"{sockets:,} idle WebSockets", seconds / 3)
            await self._stream(streams, seconds, f"and {streams:,} streams")
            if lost := sum(client.lost for client in clients):
                self.wrong.append(f"{lost} WebSockets were closed")
            if told := sum(client.messages > 1 for client in clients):  # the acknowledgement is one
                self.wrong.append(f"{told} idle WebSockets were told what they had not asked for")
            listening.cancel()
            for client in clients:
                client.hang_up()
        await self._agree()

    async def _look(self, what: str, seconds: float) -> None:
        await asyncio.sleep(0.5)
        self.rows.append(row := Row(what, self._server.rss_mb()))
        await self._probe.run(row, seconds)

    async def _stream(self, streams: int, seconds: float, what: str) -> None:
        """Hold streams of a chunk a second, and look once all of them are there."""
        # They begin one group after another, and are to be there together for so long.
        ask = Ask(chunks=int(seconds) + 1 + streams // 100, delay_ms=1000)
        began = time.perf_counter()
        groups = []
        for at in range(0, streams, GROUP):
            size = min(GROUP, streams - at)
            groups.append(asyncio.create_task(load(self._server.port, ask, connections=size, calls=size)))
            await asyncio.sleep(0.05)
        there = await self._until_held(streams, ask.chunks / 2)
        self.opening["streams"] = time.perf_counter() - began
        if there < streams:
            self.wrong.append(f"only {there} of {streams} streams were there together")
        await self._look(what, seconds)
        for ended in await asyncio.gather(*groups, return_exceptions=True):
            if isinstance(ended, BaseException):
                self.wrong.append(f"a stream failed: {type(ended).__name__}: {str(ended)[:200]}")

    async def _until_held(self, count: int, seconds: float) -> int:
        """Wait until so much is held, or for so long; return how much is."""
        deadline = time.monotonic() + seconds
        while (held := int((await self._health())["holds_open"])) < count and time.monotonic() < deadline:  # noqa: ASYNC110 - another process
            await asyncio.sleep(0.2)
        return held

    async def _quiet(self) -> dict[str, Any]:
        """Return the subscription of who watches a budget that nothing happens to."""
        async with self._session.get(f"{self._url}/api/v1/budgets") as answer:
            budgets = {budget["name"]: budget["budget_id"] for budget in (await answer.json())["items"]}
        return {"type": "subscribe", "channels": ["budget_updates", "usage"], "budgets": [budgets["B1"]]}

    async def _agree(self) -> None:
        """Hold what the gateway has booked against what the provider has seen."""
        while (health := await self._health())["holds_open"] or health["ledger_queue"]:  # noqa: ASYNC110 - another's
            await asyncio.sleep(0.2)
        async with self._session.get(f"http://127.0.0.1:{self._upstream.port}/seen") as answer:
            seen = json.loads(await answer.read())["calls"]
        async with self._session.get(f"{self._url}/api/v1/usage/records?limit=1") as answer:
            records = (await answer.json())["total"]
        if seen != records:
            self.wrong.append(f"the provider has seen {seen} calls, and there are {records} records")

    async def _health(self) -> dict[str, Any]:
        async with self._session.get(f"{self._url}/health") as answer:
            return dict(await answer.json())


def times(seconds: list[float]) -> str:
    """Return p50 and p99 in milliseconds, as cells."""
    if len(seconds) < 2:
        return "– | –"
    return f"{1000 * statistics.median(seconds):.2f} | {1000 * statistics.quantiles(seconds, n=100)[98]:.2f}"


def table(crowd: Crowd, counts: list[int]) -> None:
    """Print what docs/benchmarks.md quotes."""
    print("\n| held | RSS MB | kB each | call p50 ms | p99 ms | live event p50 ms | p99 ms |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    for at, row in enumerate(crowd.rows):
        grown = row.rss_mb - crowd.rows[at - 1].rss_mb
        each = f"{1024 * grown / counts[at - 1]:.1f}" if at and counts[at - 1] else ""
        print(f"| {row.holds} | {row.rss_mb:.1f} | {each} | {times(row.calls_s)} | {times(row.events_s)} |")
    opened = ", ".join(f"{what} {seconds:.1f} s" for what, seconds in crowd.opening.items())
    print(f"\nErrors: {len(crowd.wrong)}. Until all were there: {opened}.")


async def gather(server: Server, upstream: Server, counts: list[int], seconds: float) -> Crowd:
    """Run once."""
    async with aiohttp.ClientSession() as session:
        crowd = Crowd(server, upstream, session)
        await crowd.run(*counts, seconds)
        return crowd


def main() -> None:
    """Gather, print, judge."""
    asked = [int(number) for number in sys.argv[1:]]
    sockets, streams, seconds = [*asked, *(SOCKETS, STREAMS, SECONDS)[len(asked) :]]
    pin(1)
    gc.disable()  # twelve thousand connections here, too: looking through them would be taken for the gateway's pause
    _, files = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
    limits = {"max_connections": sockets + streams + 100, "max_live_clients": sockets + 100}
    limits["max_calls"] = streams + 100
    with tempfile.TemporaryDirectory(prefix="penia-crowd-") as folder, provider() as upstream:
        url = f"http://127.0.0.1:{upstream.port}"
        with penia("penia", Path(folder) / "crowd.db", url, budgets=2, limits=limits) as server:
            crowd = uvloop.run(gather(server, upstream, [sockets, streams], seconds))
    table(crowd, [sockets, streams])
    if crowd.wrong:
        sys.exit("\n".join(["", *crowd.wrong]))


if __name__ == "__main__":
    main()
