"""
Run the gateway for an hour at half of what it can do, and see what grows.

Its one job: a steady mix of calls, API reads and a live client; a look at the process every ten seconds; and at the end
the books against what the provider has seen. Exit code 1 where something grew, was held or was lost.
Run: make soak MINUTES=60, or python -m benchmarks.soak MINUTES
"""

import asyncio
import json
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import uvloop

from benchmarks.mixed import Mixed
from benchmarks.servers import Server, penia, pin, provider

SATURATION_S = 10.0
SATURATION_CONNECTIONS = 32
CONNECTIONS = 128
"""At half the rate a handful is in use; streams that take their time need more."""
LOOK_S = 10.0
WARM_S = 300.0
"""Until caches, pools and the allocator have what they need."""
JUDGED_S = 600.0
"""A slope over less says nothing: one page that the allocator gives back is a megabyte."""
SLOPE_MB_MAX = 1.0
"""In ten minutes."""
SETTLED_S = 30.0


@dataclass(frozen=True)
class Look:
    """The gateway at one moment."""

    at_s: float
    rss_mb: float
    files: int
    holds: int
    records: int


@dataclass
class Soak:
    """What a run has seen."""

    per_s: float
    looks: list[Look] = field(default_factory=list)
    reads_s: dict[str, float] = field(default_factory=dict)
    """By path: the slowest."""
    live: dict[str, int] = field(default_factory=dict)
    calls: int = 0
    rate: float = 0.0
    cpu: float = 0.0
    wrong: dict[str, int] = field(default_factory=dict)
    holds: int = 0
    seen: int = 0
    records: int = 0
    verified: str = ""
    misses: list[str] = field(default_factory=list)


class Watch:
    """Looks at a gateway while it works, and reads its API as a dashboard does."""

    def __init__(self, server: Server, db: Path, session: aiohttp.ClientSession, soak: Soak) -> None:
        self._server = server
        self._db = db
        self._session = session
        self._soak = soak
        self._url = f"http://127.0.0.1:{server.port}"

    async def read(self, path: str, asked: dict[str, Any] | None = None) -> Any:
        """Read the API, with a body where the question needs one."""
        began = time.perf_counter()
        async with self._session.request("POST" if asked else "GET", self._url + path, json=asked) as answer:
            answer.raise_for_status()
            found = await answer.json()
        took = time.perf_counter() - began
        where = "summary of a budget" if path.startswith("/api/v1/budgets/") else path
        self._soak.reads_s[where] = max(took, self._soak.reads_s.get(where, 0.0))
        return found

    async def look(self, at_s: float) -> Look:
        """Look once."""
        health = await self.read("/health")
        return Look(
            at_s, self._server.rss_mb(), self._server.open_files(), health["holds_open"], await self._records_so_far()
        )

    async def keep_looking(self, every_s: float) -> None:
        """Look, and read what a dashboard shows, for ever."""
        (budget,) = (await self.read("/api/v1/budgets"))["items"]
        summary = f"/api/v1/budgets/{budget['budget_id']}/summary"
        started = time.perf_counter()
        while True:
            await asyncio.sleep(every_s)
            self._soak.looks.append(look := await self.look(time.perf_counter() - started))
            said = f"{look.at_s / 60:6.1f} min  {look.rss_mb:7.2f} MB  {look.files} files  {look.holds} held"
            print(f"{said}  {look.records:,} records", file=sys.stderr, flush=True)
            await self.read(summary)
            await self.read("/api/v1/usage/summary", {"period": "daily"})
            await self.read("/api/v1/usage/records?limit=50")

    async def listen(self) -> None:
        """Be a live client."""
        async with self._session.ws_connect(f"{self._url}/ws") as socket:
            await socket.send_json({"type": "subscribe", "channels": ["budget_updates", "usage"]})
            async for message in socket:
                kind = json.loads(message.data)["type"]
                self._soak.live[kind] = self._soak.live.get(kind, 0) + 1
        raise RuntimeError("the live client was sent away")

    async def settled(self) -> int:
        """Wait until nothing is held and nothing is queued; return what is held after all."""
        deadline = time.monotonic() + SETTLED_S
        while True:
            health = await self.read("/health")
            if not (health["holds_open"] or health["ledger_queue"]) or time.monotonic() > deadline:
                return int(health["holds_open"])
            await asyncio.sleep(0.2)

    async def _records_so_far(self) -> int:
        with reading(self._db) as connection:
            return int(connection.execute("SELECT coalesce(max(rowid), 0) FROM usage_records").fetchone()[0])


@contextmanager
def reading(db: Path) -> Iterator[sqlite3.Connection]:
    """Read a ledger beside its gateway."""
    connection = sqlite3.connect(f"{db.as_uri()}?mode=ro", uri=True)
    try:
        yield connection
    finally:
        connection.close()


async def soaked(server: Server, upstream: Server, db: Path, seconds: float) -> Soak:
    """Find how much the gateway can do, then ask half of it for so long."""
    mixed = Mixed(server.port)
    spell_s, used_s = min(SATURATION_S, seconds / 4), server.cpu_s()
    rate = await mixed.run(spell_s, connections=SATURATION_CONNECTIONS)
    busy = (server.cpu_s() - used_s) / spell_s
    print(
        f"{rate:,.0f} calls/s at {busy:.0%} of a core; now half, for {seconds / 60:g} min", file=sys.stderr, flush=True
    )
    soak = Soak(per_s=rate / 2)
    async with aiohttp.ClientSession() as session:
        watch = Watch(server, db, session, soak)
        beside = [
            asyncio.create_task(watch.listen()),
            asyncio.create_task(watch.keep_looking(min(LOOK_S, seconds / 12))),
        ]
        before, started = server.cpu_s(), time.perf_counter()
        soak.rate = await mixed.run(seconds, connections=CONNECTIONS, per_s=soak.per_s)
        soak.cpu = (server.cpu_s() - before) / (time.perf_counter() - started)
        for task in beside:
            if task.done():
                task.result()
            task.cancel()
        with suppress(asyncio.CancelledError):
            await asyncio.gather(*beside)
        soak.holds = await watch.settled()
        soak.looks.append(await watch.look(time.perf_counter() - started))
        async with session.get(f"http://127.0.0.1:{upstream.port}/seen") as answer:
            seen = json.loads(await answer.read())
    soak.calls, soak.wrong = mixed.done.total(), dict(mixed.wrong)
    soak.seen = seen["calls"] - seen["errors"]  # an error bills nothing, and is no record
    return soak


def slope(soak: Soak, warm_s: float) -> float:
    """Return by how many megabytes the process grew in ten minutes, once it was warm (least squares)."""
    looks = [look for look in soak.looks if look.at_s >= warm_s]
    if len(looks) < 2:
        return 0.0
    return 600 * statistics.linear_regression([look.at_s for look in looks], [look.rss_mb for look in looks]).slope


def audit(soak: Soak, db: Path) -> None:
    """Hold the ledger of a gateway that has ended against what its provider has seen, and against itself."""
    with reading(db) as connection:
        soak.records = int(connection.execute("SELECT count(*) FROM usage_records").fetchone()[0])
    command = [sys.executable, "-m", "penia_proxy", "verify", "-c", str(db.with_suffix(".yaml"))]
    verified = subprocess.run(command, capture_output=True, text=True, check=False)
    soak.verified = "clean" if verified.returncode == 0 else "differs"
    if verified.returncode:
        soak.misses.append(f"penia verify: {(verified.stdout + verified.stderr)[:500]}")
    if soak.holds:
        soak.misses.append(f"{soak.holds} holds are open at the end")
    if soak.records != soak.seen:
        soak.misses.append(f"the provider has seen {soak.seen:,} calls, and there are {soak.records:,} records")
    soak.misses += [f"{count} calls did not end as they should: {end}" for end, count in soak.wrong.items()]


def table(soak: Soak, seconds: float, growth: float, warm: Look) -> None:
    """Print what docs/benchmarks.md quotes."""
    last = soak.looks[-1]
    kinds = {"minutes": f"{seconds / 60:g}", "calls": f"{soak.calls:,}"}
    kinds |= {"calls/s (half of saturation)": f"{soak.rate:,.0f}", "of a core": f"{soak.cpu:.0%}"}
    kinds |= {f"RSS MB at {warm.at_s / 60:.0f} min": f"{warm.rss_mb:.1f}", "at the end": f"{last.rss_mb:.1f}"}
    kinds |= {"MB in 10 min": f"{growth:+.2f}", "open files": f"{warm.files} → {last.files}"}
    kinds |= {"held at the end": f"{soak.holds}", "billed by the provider": f"{soak.seen:,}"}
    kinds |= {"records": f"{soak.records:,}", "penia verify": soak.verified}
    kinds |= {f"slowest read of {path}": f"{1000 * took:,.0f} ms" for path, took in soak.reads_s.items()}
    kinds |= {"live messages": f"{sum(soak.live.values()):,} ({soak.live.get('gap', 0)} gaps)"}
    print("\n| | |\n|---|---:|")
    for name, value in kinds.items():
        print(f"| {name} | {value} |")


def main() -> None:
    """Soak, print, judge."""
    seconds = 60 * float(sys.argv[1] if len(sys.argv) > 1 else 60)
    pin(1)
    with tempfile.TemporaryDirectory(prefix="penia-soak-") as folder, provider() as upstream:
        db = Path(folder) / "soak.db"
        with penia("penia", db, f"http://127.0.0.1:{upstream.port}") as server:
            soak = uvloop.run(soaked(server, upstream, db, seconds))
        audit(soak, db)
    warm_s = min(WARM_S, seconds / 2)
    growth = slope(soak, warm_s)
    if seconds - warm_s >= JUDGED_S and growth >= SLOPE_MB_MAX:
        soak.misses.append(f"memory grew by {growth:.2f} MB in ten minutes")
    table(soak, seconds, growth, next(look for look in soak.looks if look.at_s >= warm_s))
    if soak.misses:
        sys.exit("\n".join(["", *soak.misses]))


if __name__ == "__main__":
    main()
