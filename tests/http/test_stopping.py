"""A gateway that is told to stop lets go of everybody properly, in processes of its own."""

import asyncio
import json
import re
import signal
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from penia_proxy.sandbox import Sandbox, running_sandbox
from penia_proxy.sandbox.faults import Behaviour
from tests.gateways import KEYS
from tests.processes import Process, configure, draining, listening, running

TALK: dict[str, Any] = {"max_tokens": 400, "stream": True, "messages": [{"role": "user", "content": "hi"}]}
CHAT = "openai/v1/chat/completions", {"model": "gpt-4o-mini", **TALK}
MESSAGES = "anthropic/v1/messages", {"model": "claude-sonnet-4-5", **TALK}


class Stream:
    """A stream that somebody reads."""

    def __init__(self, session: aiohttp.ClientSession, url: str, path: str, body: dict[str, Any]) -> None:
        self.begun = asyncio.Event()
        self.text = b""
        self.ended = asyncio.create_task(self._read(session, f"{url}/{path}", body))

    async def _read(self, session: aiohttp.ClientSession, url: str, body: dict[str, Any]) -> bool:
        """Return whether it came whole."""
        try:
            async with session.post(url, json=body, headers=KEYS) as answer:
                async for piece in answer.content.iter_any():
                    self.text += piece
                    self.begun.set()
        except aiohttp.ClientError:
            return False
        return True


@asynccontextmanager
async def streaming(
    folder: Path, behaviour: Behaviour, count: int, **sections: str
) -> AsyncIterator[tuple[Process, str, list[Stream], Sandbox, aiohttp.ClientSession]]:
    """Run a gateway with streams of both dialects that have begun."""
    async with running_sandbox(behaviour) as sandbox, aiohttp.ClientSession() as session:
        configure(folder, sandbox.url, **sections)
        async with running(folder, "serve") as process:
            url = await listening(process)
            streams = [Stream(session, url, *(CHAT if number % 2 else MESSAGES)) for number in range(count)]
            for stream in streams:
                await stream.begun.wait()
            yield process, url, streams, sandbox, session


def records(folder: Path) -> list[tuple[str, str]]:
    with closing(sqlite3.connect(folder / "penia.db")) as file:
        assert file.execute("SELECT count(*) FROM holds").fetchone() == (0,)
        return file.execute("SELECT status, cost_basis FROM usage_records").fetchall()


async def refusal(session: aiohttp.ClientSession, url: str, path: str, body: dict[str, Any]) -> dict[str, Any]:
    async with session.post(f"{url}/{path}", json=body, headers=KEYS) as answer:
        assert answer.status == 503
        assert answer.headers["Retry-After"] == "5"
        assert answer.headers["Connection"] == "close"
        assert "x-should-retry" not in answer.headers
        said: dict[str, Any] = await answer.json()
        return said


@pytest.mark.fault("K9")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_streams_in_flight_end_whole_and_new_calls_are_refused(tmp_path: Path, number: signal.Signals) -> None:
    """Within the time, every stream runs to its end, is settled exactly, and the process ends with 0."""
    healthy = Behaviour(chunk_delay_s=0.02, output_tokens=60)
    async with streaming(tmp_path, healthy, 10, server="drain_seconds: 30") as (
        process,
        url,
        streams,
        sandbox,
        session,
    ):
        process.signal(number)
        await draining(session, url)
        chat, messages = await refusal(session, url, *CHAT), await refusal(session, url, *MESSAGES)
        async with session.get(f"{url}/ready") as answer:
            ready = answer.status, (await answer.json())["ready"]
        whole = await asyncio.gather(*(stream.ended for stream in streams))
        code, out, errors = await process.end()

    assert chat["error"]["code"] == "shutting_down"
    assert (messages["type"], messages["error"]["penia"]["code"]) == ("error", "shutting_down")
    assert ready == (503, False)
    assert all(whole)
    assert all(b"[DONE]" in stream.text or b"message_stop" in stream.text for stream in streams)
    assert records(tmp_path) == [("ok", "reported")] * 10
    assert len(sandbox.calls) == 10
    assert (code, errors) == (0, "")
    assert out.endswith("Stopped; everything in flight has settled.\n")


@pytest.mark.fault("K9")
@pytest.mark.parametrize("policy", ["cancel", "drain"])
async def test_what_runs_on_beyond_the_time_is_settled_as_far_as_it_came(tmp_path: Path, policy: str) -> None:
    """Cut visibly, booked as partial, whatever the provider's policy for callers that leave; exit code 0."""
    endless = Behaviour(chunk_delay_s=0.05, output_tokens=100_000)
    async with running_sandbox(endless) as sandbox, aiohttp.ClientSession() as session:
        config = configure(tmp_path, sandbox.url, server="drain_seconds: 0.5")
        config.write_text(config.read_text().replace("format:", f"on_disconnect: {policy}, format:"))
        async with running(tmp_path, "serve") as process:
            url = await listening(process)
            body = {**TALK, "max_tokens": 100_000}
            streams = [
                Stream(session, url, path, {**said, **body}) for path, said in (CHAT, MESSAGES) for _ in range(3)
            ]
            for stream in streams:
                await stream.begun.wait()
            process.signal(signal.SIGTERM)
            code, _, errors = await process.end()
            whole = await asyncio.gather(*(stream.ended for stream in streams))

        assert {call.ending for call in sandbox.calls} == {"client_gone"}
    assert not any(whole)
    assert (code, errors) == (0, "")
    found = records(tmp_path)
    assert len(found) == 6
    assert {basis for _, basis in found} == {"partial"}


@pytest.mark.fault("K9")
async def test_a_caller_that_has_left_is_not_waited_for_without_end(tmp_path: Path) -> None:
    """An answer that is read on without its caller ends with the drain, too."""
    endless = Behaviour(chunk_delay_s=0.05, output_tokens=100_000)
    async with running_sandbox(endless) as sandbox, aiohttp.ClientSession() as session:
        config = configure(tmp_path, sandbox.url, server="drain_seconds: 0.5")
        config.write_text(config.read_text().replace("format:", "on_disconnect: drain, format:"))
        async with running(tmp_path, "serve") as process:
            stream = Stream(session, await listening(process), CHAT[0], {**CHAT[1], "max_tokens": 100_000})
            await stream.begun.wait()
            stream.ended.cancel()
            process.signal(signal.SIGTERM)
            code, _, errors = await process.end()

    assert (code, errors) == (0, "")
    assert records(tmp_path) == [("disconnected", "partial")]
    with closing(sqlite3.connect(tmp_path / "penia.db")) as file:
        ((written,),) = file.execute("SELECT output_tokens FROM usage_records").fetchall()
    assert written >= 5


@pytest.mark.fault("K9")
async def test_live_clients_are_sent_away_by_name(tmp_path: Path) -> None:
    """A WebSocket is closed with 1001, after the usage of the last call."""
    slow = Behaviour(chunk_delay_s=0.02, output_tokens=30)
    async with (
        streaming(tmp_path, slow, 1) as (process, url, streams, _, session),
        session.ws_connect(f"{url}/ws") as live,
    ):
        await live.send_json({"type": "subscribe", "channels": ["usage"]})
        await live.receive_json()
        process.signal(signal.SIGTERM)
        kinds = [json.loads(message.data)["type"] async for message in live]
        await streams[0].ended
        code, _, _ = await process.end()

    assert "usage" in kinds
    assert live.close_code == aiohttp.WSCloseCode.GOING_AWAY
    assert code == 0


@pytest.mark.fault("D3")
async def test_a_second_process_on_the_same_file_is_refused(tmp_path: Path) -> None:
    """By name of the one that has it, with exit code 2; the first is not disturbed."""
    configure(tmp_path, "http://127.0.0.1:9")
    async with running(tmp_path, "serve") as first:
        await listening(first)
        async with running(tmp_path, "serve") as second:
            code, out, errors = await second.end()
        first.signal(signal.SIGTERM)
        assert (await first.end())[0] == 0

    assert code == 2
    assert out == ""
    assert re.search(rf"penia\.db is in use by another gateway \(process {first.pid}\): stop it", errors)
    assert errors.count("\n") == 1
