"""
What changes under calls: the configuration, read again and again, and the budgets that calls are held on.

Real signals to a real process; what must be true is read from its own books.
"""

import asyncio
import os
import random
import signal
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from penia_proxy.ledger.verify import examine
from penia_proxy.sandbox import running_sandbox
from penia_proxy.sandbox.faults import Behaviour
from tests.faults.forked import CHAT, TALK, Home, dice
from tests.faults.table import Rounds
from tests.gateways import KEYS, Start

HANGUPS = 100


def spoiled(chance: random.Random, good: str) -> str:
    """Return a configuration that must be refused."""
    return chance.choice(
        [
            good.replace("providers:", "providors:"),
            good.replace("daily_limit: 100", "daily_limit: .nan"),
            good.replace("port: ", "port: 1"),
            good.replace("budgets:\n", "pricing: {directory: nowhere}\nbudgets: [[{\n"),
            good[: good.index("format") + chance.randrange(1, 8)],
        ]
    )


@pytest.mark.fault("R1")
@pytest.mark.timeout(120)
@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="signals of POSIX")
async def test_hangups_in_a_loop_under_load(tmp_path: Path, rounds: Rounds) -> None:
    """Good files and bad ones, faster than they can be read: no call fails, the last good file holds, it adds up."""
    chance = dice()
    done = asyncio.Event()
    statuses: list[int] = []
    async with running_sandbox() as sandbox, aiohttp.ClientSession() as session:
        home = Home(tmp_path, sandbox.url)
        path = tmp_path / "config.yaml"
        good = path.read_text()
        with home.started() as gateway:
            await home.ready(session)
            assert gateway.pid is not None

            async def call() -> None:
                while not done.is_set():
                    async with session.post(f"{home.url}/{CHAT}", json=TALK, headers=KEYS) as answer:
                        await answer.read()
                        statuses.append(answer.status)

            async def health() -> dict[str, Any]:
                async with session.get(f"{home.url}/health") as answer:
                    said: dict[str, Any] = await answer.json()
                    return said

            callers = [asyncio.create_task(call()) for _ in range(4)]
            for number in range(HANGUPS):
                other = good.replace("server: {", f"server: {{max_body_mb: {number + 1}, ")
                replaced(path, spoiled(chance, good) if number % 2 else other)
                os.kill(gateway.pid, signal.SIGHUP)
                await asyncio.sleep(chance.uniform(0, 0.03))
            replaced(path, good.replace("providers:", "providors:"))
            os.kill(gateway.pid, signal.SIGHUP)
            while "providors" not in ((await health())["config_error"] or ""):
                await asyncio.sleep(0.01)
            replaced(path, good)
            os.kill(gateway.pid, signal.SIGHUP)
            while (await health())["config_error"] is not None:
                await asyncio.sleep(0.01)
            done.set()
            await asyncio.gather(*callers)
            gateway.terminate()
            await asyncio.to_thread(gateway.join)
            assert gateway.exitcode == 0
        findings = examine(home.ledger_url)
        assert (findings.differences, findings.holds_open, findings.records) == ([], 0, len(statuses))
        assert set(statuses) == {200}
        assert len(sandbox.calls) == len(statuses)
    rounds(HANGUPS)


def replaced(path: Path, text: str) -> None:
    """Write a new file beside the old one and rename it, as config.yaml asks for."""
    beside = path.with_suffix(".new")
    beside.write_text(text)
    beside.replace(path)


@pytest.mark.fault("R1")
@pytest.mark.parametrize("change", ["deleted", "below what is spent"])
async def test_a_budget_that_changes_under_a_call(start: Start, change: str) -> None:
    """The call under way ends on the budget that it was held on; the next one sees the new state."""
    slow = Behaviour(chunk_delay_s=0.02, output_tokens=20)
    penia = await start(budgets=({"name": "Strict", "daily_limit": 5, "enforcement": "block"},), script=slow)
    await penia.chat()
    (budget,) = penia.gateway.book.active
    place = f"/api/v1/budgets/{budget.budget_id}"
    async with penia.session.post(f"{penia.url}/{CHAT}", json={**TALK, "stream": True}, headers=KEYS) as stream:
        await stream.content.readany()
        if change == "deleted":
            status, _ = await penia.api("DELETE", place)
        else:
            status, _ = await penia.api("PUT", place, {"daily_limit": 0.000001})
        assert status in {200, 204}
        assert (await stream.content.read()).endswith(b"data: [DONE]\n\n")
    after = (await penia.chat()).status
    records = await penia.records()
    _, summary = await penia.api("GET", f"{place}/summary")

    assert after == (200 if change == "deleted" else 402)
    charged = [record["cost"] for record in records if record["budget_id"] == budget.budget_id]
    assert len(charged) == 2
    assert (summary[0]["spent"], summary[0]["held"]) == (pytest.approx(sum(charged)), 0)
