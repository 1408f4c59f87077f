"""The wall clock jumps a day, or stands still, under calls: nothing is lost, counted twice or waited for."""

import asyncio
import logging
import signal
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from penia_proxy.app import Gateway
from penia_proxy.clock import SystemClock
from penia_proxy.config import load_config
from penia_proxy.sandbox import running_sandbox
from penia_proxy.sandbox.faults import Asked, Behaviour
from tests.api.client import NOON
from tests.followers import following
from tests.gateways import KEYS, Running, balanced
from tests.processes import configure, listening, running

TALK: dict[str, Any] = {"model": "gpt-4o-mini", "max_tokens": 30, "messages": [{"role": "user", "content": "hi"}]}
DAY = timedelta(days=1)


class Wall(SystemClock):
    """A wall clock that began at noon and that tests move; waits go by the machine's own."""

    def __init__(self) -> None:
        self.ahead = timedelta()
        self.stands_at: datetime | None = None
        self._began = self.monotonic()

    def now(self) -> datetime:
        return self.stands_at or NOON + timedelta(seconds=self.monotonic() - self._began) + self.ahead


def slow_streams(asked: Asked) -> Behaviour:
    return Behaviour(chunk_delay_s=0.03, output_tokens=30) if asked.body.get("stream") else Behaviour()


@pytest.fixture
async def penia(tmp_path: Path) -> AsyncIterator[tuple[Running, Wall]]:
    """Run a gateway whose wall clock can be moved."""
    wall = Wall()
    async with running_sandbox(slow_streams) as sandbox, aiohttp.ClientSession() as session:
        path = configure(tmp_path, sandbox.url, ledger=f"url: 'sqlite:///{tmp_path}/penia.db'")
        gateway = await Gateway(load_config(path, {}), wall).start()
        penia = Running(gateway, sandbox, session)
        yield penia, wall
        await gateway.stop()
        await balanced(penia)


async def spent(penia: Running) -> tuple[str, float]:
    """Return the present day's start and what it has cost."""
    _, page = await penia.api("GET", "/api/v1/budgets")
    _, summary = await penia.api("GET", f"/api/v1/budgets/{page['items'][0]['budget_id']}/summary")
    assert summary[0]["held"] == 0
    return summary[0]["start_time"], summary[0]["spent"]


async def jumped(penia: Running, count: int) -> float:
    """Wait until so many jumps have been noticed; return the last."""
    while True:
        _, health = await penia.api("GET", "/health")
        if health["clock_jumps"] >= count:
            return float(health["clock_jump_seconds"])
        await asyncio.sleep(0.05)


@pytest.mark.fault("T1", "T2")
async def test_a_day_back_and_a_day_ahead(penia: tuple[Running, Wall], caplog: pytest.LogCaptureFixture) -> None:
    """Windows follow the wall; streams under way are neither cut nor lost, and count where they were admitted."""
    gateway, wall = penia
    caplog.set_level(logging.WARNING)
    today = NOON.date()
    found: list[tuple[str, float]] = []
    for count, ahead in enumerate((timedelta(), -DAY, DAY, timedelta())):
        url = f"{gateway.url}/openai/v1/chat/completions"
        wall.ahead = ahead
        if count:
            await jumped(gateway, count)
        async with gateway.session.post(url, json={**TALK, "stream": True}, headers=KEYS) as stream:
            await stream.content.readany()
            wall.ahead = ahead + 30 * DAY  # and back, before the end
            await stream.content.readany()
            wall.ahead = ahead
            assert (await stream.content.read()).endswith(b"data: [DONE]\n\n")
        found.append(await spent(gateway))

    assert [datetime.fromisoformat(start).date() - today for start, _ in found] == [0 * DAY, -DAY, DAY, 0 * DAY]
    first, back, ahead_, again = (cost for _, cost in found)
    assert 0 < back == ahead_ == first == again / 2
    records = await gateway.records()
    assert {(record["status"], record["cost_basis"]) for record in records} == {("ok", "reported")}
    assert all(0 < record["ttft_ms"] <= record["latency_ms"] < 60_000 for record in records)
    assert "the wall clock has jumped by" in caplog.text
    with closing(sqlite3.connect(gateway.gateway.config.ledger.url.removeprefix("sqlite:///"))) as file:
        written = [at for (at,) in file.execute("SELECT timestamp FROM usage_records ORDER BY seq")]
    ahead_of = [(datetime.fromisoformat(at).date() - today).days for at in written]
    assert ahead_of == [0, -1, 1, 0]  # in the order of writing, whatever the clock said


@pytest.mark.fault("T1")
async def test_a_clock_that_stands_still(penia: tuple[Running, Wall]) -> None:
    """Every call is one record, and pages of them are in the order of writing: none twice, none missing."""
    gateway, wall = penia
    wall.stands_at = wall.now()
    made = [(await gateway.chat()).headers["X-Penia-Request-Id"] for _ in range(12)]
    listed, cursor = [], ""
    while True:
        _, page = await gateway.api("GET", f"/api/v1/usage/records?limit=5{cursor}")
        listed += [record["record_id"] for record in page["items"]]
        if not page.get("next_cursor"):
            break
        cursor = f"&cursor={page['next_cursor']}"

    assert listed == made[::-1]
    assert await jumped(gateway, 1) < 0


def faketime() -> Path | None:
    """Return the library that moves a process's clock, if it is installed."""
    return next(iter(sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))), None)


@pytest.mark.fault("T1")
async def test_a_process_whose_clock_is_moved(tmp_path: Path) -> None:
    """For real: the system's own clock says another day, and calls, windows and the end of the process are unmoved."""
    library = faketime()
    if library is None:
        pytest.skip("libfaketime is not installed (Debian: apt install faketime)")
    moved = tmp_path / "moved"
    moved.write_text("+0\n")
    env = {
        "LD_PRELOAD": str(library),
        "FAKETIME_TIMESTAMP_FILE": str(moved),
        "FAKETIME_NO_CACHE": "1",
        "DONT_FAKE_MONOTONIC": "1",
    }
    seconds, today = [], SystemClock().now().date()
    async with running_sandbox(slow_streams) as sandbox, aiohttp.ClientSession() as session:
        configure(tmp_path, sandbox.url)
        async with running(tmp_path, "serve", env=env) as process:
            url = await listening(process)
            for count, ahead in enumerate(("+0", "-1d", "+1d")):
                chat = f"{url}/openai/v1/chat/completions"
                async with session.post(chat, json={**TALK, "stream": True}, headers=KEYS) as stream:
                    await stream.content.readany()
                    moved.write_text(f"{ahead}\n")
                    assert (await stream.content.read()).endswith(b"data: [DONE]\n\n")
                while count:
                    async with session.get(f"{url}/health") as answer:
                        health = await answer.json()
                    if health["clock_jumps"] >= count:
                        seconds.append(round(health["clock_jump_seconds"] / 86_400))
                        break
                    await asyncio.sleep(0.05)
                async with session.post(chat, json=TALK, headers=KEYS) as answer:
                    assert answer.status == 200
            process.signal(signal.SIGTERM)
            code, _, errors = await process.end()

    assert seconds == [-1, 2]
    assert code == 0
    assert errors.count("the wall clock has jumped by") == 2
    with closing(sqlite3.connect(tmp_path / "penia.db")) as file:
        assert file.execute("SELECT count(*) FROM holds").fetchone() == (0,)
        rows = file.execute("SELECT timestamp, cost_basis FROM usage_records ORDER BY seq").fetchall()
    assert {basis for _, basis in rows} == {"reported"}
    assert [(datetime.fromisoformat(at).date() - today).days for at, _ in rows] == [0, 0, 0, -1, -1, 1]


async def test_live_clients_see_a_day_begin(penia: tuple[Running, Wall]) -> None:
    """At midnight the day is at 0 for whoever watches, although nobody has spent anything since."""
    gateway, wall = penia
    await gateway.chat()
    async with following(gateway, gateway.url, channels=["budget_updates"]) as follower:
        (before,) = follower.budgets.values()
        wall.ahead += DAY
        await follower.until(lambda _: all(one["daily"]["spent"] == 0 for one in follower.budgets.values()))
        (after,) = follower.budgets.values()

    assert before["daily"]["spent"] > 0
    assert after["daily"]["window_end"] > before["daily"]["window_end"]
