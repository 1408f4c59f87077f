"""
Test `penia serve` and `penia demo` as processes: start, signals, a taken port.

Its one job: what an operator sees and gets back. Rule: real processes, real signals; every wait is for an event.
"""

import asyncio
import contextlib
import re
import signal
import sqlite3
import stat
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from tests.processes import draining, listening, running

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")


def _config(directory: Path, *, upstream: str = "http://127.0.0.1:9", port: int = 0) -> None:
    (directory / "config.yaml").write_text(
        f"server: {{port: {port}, drain_seconds: 30}}\n"
        f"providers: {{openai: {{base_url: '{upstream}', format: openai}}}}\n"
        "budgets: [{name: Default, daily_limit: 5}]\n"
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_serves_until_it_is_told_to_stop(tmp_path: Path, number: int) -> None:
    """The gateway answers, and ends with exit code 0 on Ctrl-C and on SIGTERM."""
    _config(tmp_path)

    async with running(tmp_path, "serve") as process, aiohttp.ClientSession() as session:
        url = await listening(process)
        async with session.get(f"{url}/health") as answer:
            health = await answer.json()
        process.signal(number)
        code, out, errors = await process.end()

    assert health["status"] == "healthy"
    assert code == 0, errors
    assert out.endswith("Stopped; everything in flight has settled.\n")


async def test_the_ledger_is_its_owners_alone(tmp_path: Path) -> None:
    """The database that a start creates can be read by its owner only."""
    _config(tmp_path)

    async with running(tmp_path, "serve") as process:
        await listening(process)
        process.signal(signal.SIGTERM)
        await process.end()

    assert stat.S_IMODE((tmp_path / "penia.db").stat().st_mode) == 0o600


@pytest.mark.parametrize("command", ["serve", "demo"])
async def test_a_taken_port(tmp_path: Path, command: str) -> None:
    """A port that somebody else has is named, with the remedy: exit code 1, nothing left behind on stderr."""
    taken = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    port = taken.sockets[0].getsockname()[1]
    _config(tmp_path, port=port)

    options = ["--port", str(port)] if command == "demo" else []
    async with taken, running(tmp_path, command, *options) as process:
        code, _, errors = await process.end()

    assert code == 1
    assert f"127.0.0.1:{port} is taken" in errors
    assert errors.count("\n") == 1


class SlowProvider:
    """A provider that answers when it is let."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.may_answer = asyncio.Event()

    async def answer(self, _request: web.Request) -> web.Response:
        """Answer a chat completion, once allowed."""
        self.asked.set()
        await self.may_answer.wait()
        usage = {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9}
        choice = {"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}
        return web.json_response(
            {"id": "c", "object": "chat.completion", "model": "gpt-4o", "choices": [choice], "usage": usage}
        )


@pytest.fixture
async def provider() -> AsyncIterator[tuple[SlowProvider, str]]:
    """Run a slow provider; yield it and its address."""
    slow = SlowProvider()
    app = web.Application()
    app.router.add_post("/v1/chat/completions", slow.answer)
    server = TestServer(app)
    await server.start_server(shutdown_timeout=0)
    yield slow, str(server.make_url("")).rstrip("/")
    slow.may_answer.set()
    await server.close()


async def _call(session: aiohttp.ClientSession, url: str) -> dict[str, Any]:
    async with session.post(
        f"{url}/openai/v1/chat/completions",
        json={"model": "gpt-4o", "messages": [{"role": "user", "content": "hello"}]},
        headers={"Authorization": "Bearer x"},
    ) as answer:
        body: dict[str, Any] = await answer.json()
        return body


def _records(directory: Path) -> list[str]:
    with contextlib.closing(sqlite3.connect(directory / "penia.db")) as database:
        return [row[0] for row in database.execute("SELECT cost_basis FROM usage_records")]


async def test_a_call_in_flight_settles_before_the_end(tmp_path: Path, provider: tuple[SlowProvider, str]) -> None:
    """A call that is waiting for its provider when the signal comes gets its answer, and its record."""
    slow, upstream = provider
    _config(tmp_path, upstream=upstream)

    async with running(tmp_path, "serve") as process, aiohttp.ClientSession() as session:
        call = asyncio.create_task(_call(session, await listening(process)))
        await slow.asked.wait()
        process.signal(signal.SIGTERM)
        slow.may_answer.set()
        body = await call
        code, _, errors = await process.end()

    assert body["usage"]["total_tokens"] == 9
    assert code == 0, errors
    assert _records(tmp_path) == ["reported"]


@pytest.mark.fault("K9")
async def test_a_second_signal_does_not_wait(tmp_path: Path, provider: tuple[SlowProvider, str]) -> None:
    """A second Ctrl-C ends the gateway at once: what was in flight is settled as far as it came, exit code 0."""
    slow, upstream = provider
    _config(tmp_path, upstream=upstream)

    async with running(tmp_path, "serve") as process, aiohttp.ClientSession() as session:
        url = await listening(process)
        call = asyncio.create_task(_call(session, url))
        await slow.asked.wait()
        process.signal(signal.SIGINT)
        async with aiohttp.ClientSession() as another:
            await draining(another, url)
        process.signal(signal.SIGINT)
        code, out, errors = await process.end()
        with pytest.raises(aiohttp.ClientError):
            await call

    assert code == 0, errors
    assert "has settled" in out
    assert _records(tmp_path) == ["estimated"]


async def test_the_demo_shows_calls_and_sums_up(tmp_path: Path) -> None:
    """The demo needs no key and no network: calls of both providers are shown in 80 columns, and summed up."""
    async with running(tmp_path, "demo", "--port", "0", "--rate", "30") as process:
        await process.until(r" claude-.* allow ")
        await process.until(r"overnight-batch openai/gpt-4o .* block budget_exceeded")
        await process.until(r"openai/gpt-4o-mini .* allow ")
        process.signal(signal.SIGINT)
        code, out, errors = await process.end()

    lines = out.splitlines()
    calls = [line for line in lines if re.match(r"\d\d:\d\d:\d\d ", line)]
    assert code == 0, errors
    assert errors == ""
    assert max(len(line) for line in calls) <= 80
    assert any(line.startswith("Overnight batch  block  hourly") for line in lines)
    assert any(re.match(r"total\s+\d+", line) for line in lines)


async def test_the_demo_keeps_its_ledger_where_it_is_told(tmp_path: Path) -> None:
    """With --db the records are there after the end, and every hold has ended."""
    async with running(tmp_path, "demo", "--port", "0", "--rate", "20", "--for", "1", "--db", "kept.db") as process:
        await process.until(" allow ")
        code, _, errors = await process.end()

    assert code == 0, errors
    with contextlib.closing(sqlite3.connect(tmp_path / "kept.db")) as database:
        assert database.execute("SELECT count(*) FROM usage_records").fetchone()[0] > 0
        assert database.execute("SELECT count(*) FROM holds").fetchone()[0] == 0
