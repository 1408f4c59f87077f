"""
A gateway that is killed loses nothing and holds nothing.

Real processes, real kills, at moments drawn by a seed that is printed.
"""

import asyncio
import contextlib
import itertools
import json
import random
import signal
import socket
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.gateways import KEYS

ROUNDS = 20
CONCURRENT = 40

CONFIG = """
server: {{port: {port}}}
ledger: {{url: "sqlite:///{folder}/penia.db", durability: full}}
providers:
  openai: {{base_url: "{upstream}", format: openai}}
  anthropic: {{base_url: "{upstream}", format: anthropic}}
budgets:
  - {{name: Strict, daily_limit: 100, enforcement: block, overrun: never}}
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def answers(session: aiohttp.ClientSession, url: str) -> None:
    """Return once the server answers."""
    while True:
        with contextlib.suppress(aiohttp.ClientError):
            async with session.get(url):
                return
        await asyncio.sleep(0.02)


async def start(*arguments: str) -> Process:
    return await asyncio.create_subprocess_exec(sys.executable, "-m", *arguments)


@contextlib.asynccontextmanager
async def sandbox(log: Path) -> AsyncIterator[str]:
    port = free_port()
    process = await start("penia_proxy.sandbox", "--port", str(port), "--log", str(log))
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        await process.wait()


async def caller(session: aiohttp.ClientSession, url: str, numbers: "itertools.count[int]") -> None:
    """Call until the gateway is gone."""
    for number in numbers:
        key = f"call-{number}"
        talk: dict[str, Any] = {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 30}
        if number % 2:
            path, body = "openai/v1/chat/completions", {**talk, "model": "gpt-4o-mini", "user": key}
        else:
            path = "anthropic/v1/messages"
            body = {**talk, "model": "claude-sonnet-4-6", "metadata": {"user_id": key}}
        body["stream"] = number % 3 == 0
        try:
            async with session.post(f"{url}/{path}", json=body, headers={**KEYS, "X-Penia-Request-Id": key}) as answer:
                await answer.read()
        except aiohttp.ClientError:
            return


def seen_by(log: Path) -> set[str]:
    """Return the keys of all calls that reached the provider."""
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    return {line["user"] for line in lines if line.get("user")}


@pytest.mark.timeout(600)
async def test_every_call_the_provider_saw_has_one_record_after_any_kill(
    tmp_path: Path, row: Callable[..., None]
) -> None:
    """Twenty kills under forty concurrent calls; after each restart the books verify and no call is lost."""
    seed = random.randrange(2**32)
    sys.stdout.write(f"seed {seed}\n")
    dice = random.Random(seed)
    log, numbers, port = tmp_path / "provider.jsonl", itertools.count(), free_port()
    url, config, checked = f"http://127.0.0.1:{port}", tmp_path / "config.yaml", set[str]()
    timeout = aiohttp.ClientTimeout(total=60)
    unconfirmed = 0
    async with sandbox(log) as upstream, aiohttp.ClientSession(timeout=timeout) as session:
        await answers(session, upstream)
        config.write_text(CONFIG.format(port=port, folder=tmp_path, upstream=upstream))
        for _ in range(ROUNDS):
            gateway = await start("penia_proxy", "serve", "-c", str(config))
            await answers(session, f"{url}/ready")
            callers = [asyncio.create_task(caller(session, url, numbers)) for _ in range(CONCURRENT)]
            await asyncio.sleep(dice.uniform(0.05, 0.6))
            gateway.send_signal(signal.SIGKILL)
            await gateway.wait()
            await asyncio.gather(*callers)

            gateway = await start("penia_proxy", "serve", "-c", str(config))
            await answers(session, f"{url}/ready")
            expired = await whole(session, url, config, seen_by(log) - checked)
            checked |= seen_by(log)
            gateway.terminate()
            assert await gateway.wait() == 0
            unconfirmed += expired
    assert len(checked) > ROUNDS
    found = f"{len(checked):,} calls seen by the provider, each with one record ({unconfirmed:,} unconfirmed); held 0; "
    row(f"kill -9 under {CONCURRENT} concurrent calls", ROUNDS, found + "no difference found by `penia verify`")


async def whole(session: aiohttp.ClientSession, url: str, config: Path, keys: set[str]) -> int:
    """Check that every call has one record, nothing is held and the books verify; return how many are unconfirmed."""
    unconfirmed = 0
    verify = await start("penia_proxy", "verify", "-c", str(config))
    assert await verify.wait() == 0, "penia verify found a difference"
    for key in keys:
        async with session.get(f"{url}/api/v1/usage/records/{key}") as answer:
            assert answer.status == 200, key
            record = await answer.json()
            assert record["cost"] > 0
            unconfirmed += record["cost_basis"] == "unconfirmed"
    async with session.get(f"{url}/health") as answer:
        assert (await answer.json())["holds_open"] == 0
    async with session.get(f"{url}/api/v1/budgets") as answer:
        (budget,) = (await answer.json())["items"]
    async with session.get(f"{url}/api/v1/budgets/{budget['budget_id']}/summary") as answer:
        assert (await answer.json())[0]["held"] == 0
    return unconfirmed
