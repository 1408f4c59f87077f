"""
A gateway that is killed loses nothing, holds nothing, and bills no less than its provider.

Real processes, real kills, at moments drawn by a seed that is printed. What is true is judged by the provider's own
log and by the ledger's file.
"""

import asyncio
import contextlib
import itertools
import json
import os
import sqlite3
import sys
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from penia_proxy.ledger.verify import examine
from penia_proxy.sandbox import Call
from tests.faults.forked import CHAT, TALK, Home, dice, free_port
from tests.faults.table import Rounds
from tests.gateways import KEYS, bill_of

KILLS = int(os.environ.get("KILLS") or 50)
KILLS_OF_A_LEDGER = 25
"""Then a new one begins: to verify a ledger is to read all of it."""
CONCURRENT = 40


@contextlib.asynccontextmanager
async def sandbox(log: Path) -> AsyncIterator[str]:
    """Run a provider in a process that no kill reaches."""
    port = free_port()
    arguments = ("-m", "penia_proxy.sandbox", "--port", str(port), "--log", str(log))
    process = await asyncio.create_subprocess_exec(sys.executable, *arguments, stdout=PIPE, stderr=DEVNULL)
    assert process.stdout is not None
    await process.stdout.readline()
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        await process.communicate()


async def caller(session: aiohttp.ClientSession, url: str, numbers: "itertools.count[int]") -> None:
    """Call until the gateway is gone."""
    for number in numbers:
        key = f"call-{number}"
        body: dict[str, Any] = {**TALK, "stream": number % 3 == 0}
        if number % 2:
            path, body = CHAT, {**body, "user": key}
        else:
            path, body = "anthropic/v1/messages", {**body, "model": "claude-sonnet-4-6", "metadata": {"user_id": key}}
        try:
            async with session.post(f"{url}/{path}", json=body, headers={**KEYS, "X-Penia-Request-Id": key}) as answer:
                await answer.read()
        except aiohttp.ClientError:
            return


class Provider:
    """What the provider's log says, read on from where it was read to."""

    def __init__(self, log: Path) -> None:
        self._log = log
        self._read = 0

    def seen(self) -> dict[str, Call]:
        """Return the calls that have come since the last time, by key, as they stand; none came twice."""
        with self._log.open() as file:
            file.seek(self._read)
            lines = [json.loads(line) for line in file]
            self._read = file.tell()
        calls: dict[str, Call] = {}
        for line in lines:
            event = line.pop("event")
            del line["finished"]
            if line["user"]:
                assert event == "end" or line["user"] not in calls, "a call was sent twice"
                calls[line["user"]] = Call(**line)
        return calls


class Tally:
    """What was found, over all kills."""

    def __init__(self) -> None:
        self.calls = self.unconfirmed = self.billed = self.charged = 0

    def add(self, home: Home, calls: dict[str, Call]) -> None:
        """Check the calls that a gateway had forwarded before it was killed and started again."""
        assert not examine(home.ledger_url).differences
        with closing(sqlite3.connect(home.ledger)) as file:
            assert file.execute("SELECT count(*) FROM holds").fetchone() == (0,)
            rows = file.execute("SELECT record_id, cost_basis, cost_nanos FROM usage_records").fetchall()
        kept = {name: (basis, nanos) for name, basis, nanos in rows}
        assert calls.keys() <= kept.keys(), "a call was forwarded and has no record"
        for key, call in calls.items():
            basis, nanos = kept[key]
            bill = bill_of(call)
            assert basis in {"reported", "unconfirmed"}, (key, basis)
            assert nanos == bill if basis == "reported" else nanos >= bill, (key, basis, nanos, bill)
            self.calls += 1
            self.unconfirmed += basis == "unconfirmed"
            self.billed += bill
            self.charged += nanos

    def __str__(self) -> str:
        return (
            f"{self.calls:,} calls seen by the provider, without a record 0, below its bill 0, differences found by"
            f" `penia verify` 0; {self.unconfirmed:,} were under way and are booked at what was held, which makes"
            f" {(self.charged - self.billed) / self.billed:.1%} more than the bill"
        )


@pytest.mark.fault("K8")
@pytest.mark.timeout(120 + 20 * KILLS)
async def test_every_call_the_provider_saw_has_one_record_after_any_kill(tmp_path: Path, rounds: Rounds) -> None:
    """Kills under forty concurrent calls; the next start books what was open, and only then calls go on."""
    moments, numbers, tally = dice(), itertools.count(), Tally()
    log = tmp_path / "provider.jsonl"
    provider = Provider(log)
    timeout = aiohttp.ClientTimeout(total=60)
    async with sandbox(log) as upstream, aiohttp.ClientSession(timeout=timeout) as session:
        for first in range(0, KILLS, KILLS_OF_A_LEDGER):
            home = Home(tmp_path / f"ledger{first}", upstream)
            for _ in range(min(KILLS_OF_A_LEDGER, KILLS - first)):
                with home.started() as gateway:
                    await found_whole(session, home, provider, tally)
                    callers = [asyncio.create_task(caller(session, home.url, numbers)) for _ in range(CONCURRENT)]
                    await asyncio.sleep(moments.uniform(0.05, 0.9))
                    gateway.kill()
                    await asyncio.gather(*callers)
            with home.started() as gateway:
                await found_whole(session, home, provider, tally)
                gateway.terminate()
                await asyncio.to_thread(gateway.join)
                assert gateway.exitcode == 0
    assert tally.calls > 20 * KILLS
    rounds(KILLS, str(tally))


async def found_whole(session: aiohttp.ClientSession, home: Home, provider: Provider, tally: Tally) -> None:
    """Check what a start has made of what the kill before it left."""
    await home.ready(session)
    await asyncio.to_thread(tally.add, home, provider.seen())
    async with session.get(f"{home.url}/health") as answer:
        assert (await answer.json())["holds_open"] == 0
    async with session.get(f"{home.url}/api/v1/budgets") as answer:
        (budget,) = (await answer.json())["items"]
    async with session.get(f"{home.url}/api/v1/budgets/{budget['budget_id']}/summary") as answer:
        assert (await answer.json())[0]["held"] == 0
