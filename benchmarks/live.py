"""
Let a thousand live clients watch five hundred calls a second.

Its one job: what the live feed takes while calls are made, how old is what its clients are shown, and whether those
that drop and come back know in the end what those know that never did. Ten of the clients never read, ten watch all
there is; each of the others watches the budget over everything, its component's own, and its component's calls. Exit
code 1 where a claim of docs/benchmarks.md does not hold; with --lenient not for matters of time or memory.
Run: make live, or python -m benchmarks.live [CLIENTS] [CALLS A SECOND] [SECONDS] [--lenient]
"""

import asyncio
import gc
import json
import random
import resource
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import uvloop

from benchmarks.idle import CONNECTING_MAX, TEXT, UPGRADE, Idle, frame
from benchmarks.load import PATH, Ask, request_bytes
from benchmarks.servers import Server, penia, pin, provider

CLIENTS, RATE, SECONDS = 1_000, 500, 60
STALLED = 10
"""Never read,"""
DROPPING = 20
"""drop and come back, each beside one of the same component that does not,"""
WATCHING = 10
"""and watch everything, of the clients."""
COMPONENTS = 20
CONNECTIONS = 32
"""Calls under way at most."""
ALL = ["budget_updates", "alerts", "usage"]
DELAY_MS_MAX = 250
RSS_MB_MAX = 8.0
"""Grown in the second half of the run."""
SETTLING_S = 30
USAGE = b'{"type":"usage"'


@dataclass
class Clock:
    """When which call was answered, by its number."""

    answered: list[float] = field(default_factory=list)
    cost: float = 0.0
    """Of one call: all cost the same, so that what is spent says how many are in it."""
    began: float = 0.0


class Watcher(Idle):
    """A client that keeps what it is told as docs/live.md says."""

    def __init__(self, subscription: dict[str, Any], clock: Clock | None = None) -> None:
        """With a ``clock`` it measures how old is what it is shown."""
        super().__init__(json.dumps(subscription).encode())
        self.subscription = subscription
        self.budgets: dict[str, Any] = {}
        self.alerts: dict[str, Any] = {}
        self.records: set[bytes] = set()
        self.gaps = 0
        self.snapshots = 0
        self.since: dict[str, Any] = {}
        self.delays: list[float] = []
        self._clock = clock
        self._shown = 0

    def heard(self, text: bytes) -> None:
        """Take a message."""
        self.messages += 1
        if text.startswith(USAGE):
            at = text.index(b'"record_id":"') + 13
            self.records.add(text[at : text.index(b'"', at)])
            at = text.index(b'"seq":') + 6
            self.since["seq"] = int(text[at : text.index(b",", at)])
            return
        said = orjson.loads(text)
        self.since = {"epoch": said["epoch"], "seq": said["seq"]}
        match said["type"]:
            case "subscribed" if said["replayed"]:
                self._began()
            case "snapshot":
                self.snapshots += 1
                self.budgets = {one["budget_id"]: one for one in said["data"]["budgets"]}
                self.alerts = {one["alert_id"]: one for one in said["data"]["alerts"]}
                self._began()
            case "budget_update":
                self.budgets[said["data"]["budget_id"]] = said["data"]
                if said["data"]["name"] == "Default":
                    self._seen(said["data"]["daily"]["spent"])
            case "alert":
                self.alerts[said["data"]["alert_id"]] = said["data"]
            case "gap":
                self.gaps += said["data"]["missed"]

    def _began(self) -> None:
        if not self.listening.done():
            self.listening.set_result(None)

    def _seen(self, spent: float) -> None:
        """Note how long ago the oldest call was answered that is shown now and was not before."""
        clock = self._clock
        if clock is None or not clock.cost:
            return
        shown = round(spent / clock.cost)
        if self._shown < len(clock.answered) and clock.answered[self._shown] >= clock.began:
            self.delays.append(time.perf_counter() - clock.answered[self._shown])
        self._shown = max(shown, self._shown)


class Dropper:
    """A client that drops again and again, and comes back to where it was."""

    def __init__(self, port: int, subscription: dict[str, Any]) -> None:
        self._port = port
        self.subscription = subscription
        self.drops = 0
        self.watcher = Watcher(subscription)

    async def come(self) -> None:
        """Connect; what is known is kept."""
        known = self.watcher
        since = {"since": known.since} if known.since else {}
        self.watcher = Watcher({**self.subscription, **since})
        for name in ("budgets", "alerts", "records", "gaps", "snapshots", "since"):
            setattr(self.watcher, name, getattr(known, name))
        await connected(self._port, self.watcher)

    async def run(self, until: float, seed: int) -> None:
        """Drop and come back until an instant, and be there then."""
        chance = random.Random(seed)
        while time.monotonic() < until:
            await asyncio.sleep(chance.uniform(0.5, 4))
            self.watcher.hang_up()
            self.drops += 1
            await asyncio.sleep(chance.choice([0, 0.2, chance.uniform(0, 3)]))
            await self.come()


async def connected(port: int, watcher: Watcher) -> Watcher:
    """Connect a client, and wait until it listens."""
    await asyncio.get_running_loop().create_connection(lambda: watcher, "127.0.0.1", port)
    await watcher.listening
    return watcher


async def stalled(port: int) -> asyncio.StreamWriter:
    """Subscribe to everything, and never read."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=4096)
    writer.write(UPGRADE + frame(TEXT, json.dumps({"type": "subscribe", "channels": ALL}).encode()))
    await reader.readuntil(b"\r\n\r\n")
    return writer


class Calls:
    """Calls at a steady rate, as far as they are answered that fast."""

    def __init__(self, port: int, clock: Clock) -> None:
        self._port = port
        self._clock = clock
        self._payloads = [request_bytes(Ask(), PATH, number) for number in range(1, COMPONENTS + 1)]
        self._due = 0.0
        self.seconds = 0.0
        self.latencies: list[float] = []

    async def run(self, rate: float, count: int) -> None:
        """Make so many calls."""
        self._due = began = time.perf_counter()
        numbers = iter(range(count))
        await asyncio.gather(*(self._worker(numbers, 1 / rate) for _ in range(CONNECTIONS)))
        self.seconds = time.perf_counter() - began

    async def _worker(self, numbers: Any, every_s: float) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        for number in numbers:
            # Behind time nothing is caught up on in a burst: the rate is what it can be, and is said.
            self._due = max(self._due + every_s, time.perf_counter() - every_s)
            if (wait := self._due - time.perf_counter()) > 0:
                await asyncio.sleep(wait)
            began = time.perf_counter()
            writer.write(self._payloads[number % COMPONENTS])
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            if b" 200 " not in head[:20]:
                raise RuntimeError(f"not answered: {head[:200]!r}")
            await reader.readexactly(int(head.partition(b"content-length:")[2].split(b"\r\n", 1)[0]))
            now = time.perf_counter()
            self._clock.answered.append(now)
            self.latencies.append(now - began)
        writer.close()


class Run:
    """One run."""

    def __init__(self, server: Server, session: aiohttp.ClientSession, clients: int, *, lenient: bool) -> None:
        self.clock = Clock()
        self.wrong: list[str] = []
        self.late: list[str] = []
        """What is a matter of time or memory."""
        self.rss: list[float] = []
        self.cpu = 0.0
        self.watchers: list[Watcher] = []
        self.droppers: list[Dropper] = []
        self.calls = Calls(server.port, self.clock)
        self.closed_after: float | None = None
        self._server = server
        self._session = session
        self._url = f"http://127.0.0.1:{server.port}"
        self._clients = clients
        self._lenient = lenient

    async def run(self, rate: int, seconds: int) -> None:
        """Watch, and hold what was seen against what should be."""
        deaf = await self._come()
        await self._learn_cost()
        self.clock.began, cpu = time.perf_counter(), self._server.cpu_s()
        sampling = asyncio.create_task(self._sample(self._clients - STALLED))
        until = time.monotonic() + seconds
        dropping = [asyncio.create_task(one.run(until, seed)) for seed, one in enumerate(self.droppers)]
        await self.calls.run(rate, rate * seconds)
        self.cpu = (self._server.cpu_s() - cpu) / self.calls.seconds
        await asyncio.gather(*dropping)
        await self._settled()
        sampling.cancel()
        self._judge()
        for one in (*self.watchers, *(dropper.watcher for dropper in self.droppers)):
            one.hang_up()
        for writer in deaf:
            writer.transport.abort()

    async def _come(self) -> list[asyncio.StreamWriter]:
        async with self._session.get(f"{self._url}/api/v1/budgets?limit=100") as answer:
            budgets = {one["name"]: one["budget_id"] for one in (await answer.json())["items"]}
        deaf = [await stalled(self._server.port) for _ in range(STALLED)]
        places = asyncio.Semaphore(CONNECTING_MAX)

        async def come(watcher: Watcher) -> Watcher:
            async with places:
                return await connected(self._server.port, watcher)

        def wish(number: int) -> dict[str, Any]:
            component = number % COMPONENTS + 1
            return {
                "type": "subscribe",
                "channels": ALL,
                "budgets": [budgets["Default"], budgets[f"B{component}"]],
                "components": [f"c{component}"],
            }

        everything = {"type": "subscribe", "channels": ALL}
        wishes = [wish(number) for number in range(self._clients - STALLED - DROPPING - WATCHING)]
        coming = [come(Watcher(one, self.clock)) for one in wishes]
        self.watchers = await asyncio.gather(*coming, *(come(Watcher(everything, self.clock)) for _ in range(WATCHING)))
        self.droppers = [Dropper(self._server.port, wish(number)) for number in range(DROPPING)]
        await asyncio.gather(*(dropper.come() for dropper in self.droppers))
        return deaf

    async def _learn_cost(self) -> None:
        """Make one call, and see what it costs."""
        await self.calls.run(100, 1)
        while (await self._health())["ledger_queue"]:  # noqa: ASYNC110 - another process
            await asyncio.sleep(0.05)
        async with self._session.get(f"{self._url}/api/v1/usage/records?limit=1") as answer:
            self.clock.cost = (await answer.json())["items"][0]["cost"]
        self.calls.latencies.clear()

    async def _sample(self, healthy: int) -> None:
        """Look at the memory each second, and at when the stalled are gone; some are away when others have dropped."""
        while True:
            self.rss.append(self._server.rss_mb())
            await asyncio.sleep(1)
            if self.closed_after is None and (await self._health())["websocket_clients"] <= healthy:
                self.closed_after = time.perf_counter() - self.clock.began

    async def _settled(self) -> None:
        """Wait until everybody knows everything, or nobody learns any more."""
        deadline = time.monotonic() + SETTLING_S
        spent = len(self.clock.answered) * self.clock.cost
        everyone = [*self.watchers, *(dropper.watcher for dropper in self.droppers)]
        while time.monotonic() < deadline:
            await asyncio.sleep(0.1)
            knowing = all(abs(_spent(one) - spent) < self.clock.cost / 2 for one in everyone)
            there = (await self._health())["websocket_clients"]
            if knowing and (self._lenient or there <= len(everyone)):  # few calls do not fill what is not read
                break
        await asyncio.sleep(0.5)
        if (there := (await self._health())["websocket_clients"]) != len(everyone):
            self.late.append(f"{there} clients are there, and {len(everyone)} should be: the stalled stay")

    def _judge(self) -> None:
        spent = len(self.clock.answered) * self.clock.cost
        if behind := sum(abs(_spent(one) - spent) >= self.clock.cost / 2 for one in self.watchers):
            self.wrong.append(f"{behind} clients do not know the last state")
        if lost := sum(one.lost for one in self.watchers):
            self.wrong.append(f"{lost} healthy clients were closed")
        for dropper in self.droppers:
            self._compare(dropper)
        if (delay := percentile(self.delays(), 99)) * 1000 > DELAY_MS_MAX:
            self.late.append(f"p99 of what clients are shown is {1000 * delay:.0f} ms old")
        if (grown := self.grown_mb()) > RSS_MB_MAX:
            self.late.append(f"the gateway has grown by {grown:.1f} MB in the second half")

    def _compare(self, dropper: Dropper) -> None:
        """Hold one that dropped against one that watched the same and never did."""
        came = dropper.watcher
        components = dropper.subscription["components"]
        stayed = next(one for one in self.watchers if one.subscription.get("components") == components)
        if came.budgets != stayed.budgets or came.alerts != stayed.alerts:
            self.wrong.append(f"after {dropper.drops} drops a client knows another state than one that never dropped")
        told_missing = came.gaps or came.snapshots > 1
        if came.records - stayed.records or (stayed.records - came.records and not told_missing):
            self.wrong.append(f"after {dropper.drops} drops a client knows other calls, and was not told so")

    def delays(self) -> list[float]:
        """Return the delays of all healthy clients."""
        return [delay for one in self.watchers for delay in one.delays]

    def grown_mb(self) -> float:
        """Return by how much the memory of the last quarter is more than that of the second."""
        quarter = len(self.rss) // 4
        if not quarter:
            return 0.0
        return statistics.median(self.rss[-quarter:]) - statistics.median(self.rss[quarter : 2 * quarter])

    async def _health(self) -> dict[str, Any]:
        async with self._session.get(f"{self._url}/health") as answer:
            return dict(await answer.json())


def _spent(watcher: Watcher) -> float:
    return next((one["daily"]["spent"] for one in watcher.budgets.values() if one["name"] == "Default"), 0.0)


def percentile(values: list[float], percent: int) -> float:
    """Return a percentile; 0 of nothing."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, len(ordered) * percent // 100)] if ordered else 0.0


def table(run: Run) -> None:
    """Print what docs/benchmarks.md quotes."""
    calls, delays = run.calls, run.delays()
    drops = sum(one.drops for one in run.droppers)
    resumed = drops - sum(one.watcher.snapshots - 1 for one in run.droppers)
    messages = sum(one.messages for one in run.watchers)
    print("\n| | |\n|---|---:|")
    for name, value in (
        ("clients, of which never read", f"{len(run.watchers) + DROPPING + STALLED:,}, {STALLED}"),
        ("calls/s", f"{len(calls.latencies) / calls.seconds:.0f}"),
        (
            "call p50, p99 ms",
            f"{1000 * percentile(calls.latencies, 50):.1f}, {1000 * percentile(calls.latencies, 99):.1f}",
        ),
        ("messages/s", f"{messages / calls.seconds:,.0f}"),
        ("what is shown is old, p50 ms", f"{1000 * percentile(delays, 50):.0f}"),
        ("p99 ms", f"{1000 * percentile(delays, 99):.0f}"),
        ("most ms", f"{1000 * max(delays, default=0):.0f}"),
        ("of a core", f"{run.cpu:.0%}"),
        ("RSS MB, second quarter → last", f"{run.rss[len(run.rss) // 4]:.1f}, {run.grown_mb():+.1f}"),
        ("the stalled are gone after s", "–" if run.closed_after is None else f"{run.closed_after:.0f}"),
        ("drops, resumed without a snapshot", f"{drops}, {resumed}"),
        ("gaps told to clients that never dropped", f"{sum(one.gaps for one in run.watchers)}"),
    ):
        print(f"| {name} | {value} |")
    print(f"\nErrors: {len(run.wrong)}.")


async def watch(server: Server, clients: int, rate: int, seconds: int, *, lenient: bool) -> Run:
    """Run once."""
    async with aiohttp.ClientSession() as session:
        run = Run(server, session, clients, lenient=lenient)
        await run.run(rate, seconds)
        return run


def main() -> None:
    """Watch, print, judge."""
    asked = [int(argument) for argument in sys.argv[1:] if argument != "--lenient"]
    lenient = "--lenient" in sys.argv
    clients, rate, seconds = [*asked, *(CLIENTS, RATE, SECONDS)[len(asked) :]]
    if clients < (least := STALLED + DROPPING + WATCHING + COMPONENTS):
        sys.exit(f"there must be {least} clients, so that one watches each component")
    pin(1)
    gc.disable()  # a thousand clients here, too: looking through them would be taken for the gateway's delay
    _, files = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
    limits = {"max_live_clients": clients + 100}
    with tempfile.TemporaryDirectory(prefix="penia-live-") as folder, provider() as upstream:
        url = f"http://127.0.0.1:{upstream.port}"
        with penia("penia", Path(folder) / "live.db", url, budgets=COMPONENTS + 1, limits=limits) as server:
            run = uvloop.run(watch(server, clients, rate, seconds, lenient=lenient))
    table(run)
    found = run.wrong if lenient else run.wrong + run.late
    if found:
        sys.exit("\n".join(["", *found]))


if __name__ == "__main__":
    main()
