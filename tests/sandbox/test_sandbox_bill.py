"""The bill: what arrived, what it would cost, and nothing that should not be kept."""

import asyncio
import json
import signal
import sys
from pathlib import Path
from typing import Any

import aiohttp
import anthropic
import openai
import pytest

from penia_proxy.sandbox import Behaviour, Sandbox, running_sandbox
from penia_proxy.sandbox.bill import Bill

SECRET = "the prompt that nobody may keep"
CHAT: dict[str, Any] = {"model": "gpt-4o", "messages": [{"role": "user", "content": SECRET}]}


async def test_what_is_booked(openai_sdk: openai.AsyncOpenAI, sandbox: Sandbox) -> None:
    """A call is booked under its number with model, user, tier, id and exactly the counts it reported."""
    answer = await openai_sdk.chat.completions.create(
        **CHAT, user="someone", extra_headers={"X-Client-Request-Id": "mine"}
    )
    call = sandbox.calls[0]

    assert answer.usage is not None
    assert (call.number, call.provider, call.path) == (1, "openai", "/v1/chat/completions")
    assert (call.model, call.served_model, call.user) == ("gpt-4o", "gpt-4o-2024-08-06", "someone")
    assert call.correlation == {"x-client-request-id": "mine"}
    assert call.request_id == answer._request_id
    assert (call.input_tokens, call.output_tokens) == (answer.usage.prompt_tokens, answer.usage.completion_tokens)
    assert (call.status, call.finished, call.service_tier) == (200, True, "default")


async def test_user_of_anthropic(anthropic_sdk: anthropic.AsyncAnthropic, sandbox: Sandbox) -> None:
    """Anthropic's caller names its user in the metadata."""
    await anthropic_sdk.messages.create(
        model="claude-sonnet-5",
        max_tokens=5,
        messages=[{"role": "user", "content": "x"}],
        metadata={"user_id": "someone"},
    )

    assert sandbox.calls[0].user == "someone"


async def test_refused_calls_are_booked(http: aiohttp.ClientSession, sandbox: Sandbox) -> None:
    """A call without a key, and one that is no JSON, are booked too, and cost nothing."""
    async with http.post("/v1/chat/completions", json=CHAT, headers={"Authorization": ""}):
        pass
    async with http.post("/v1/messages", data=b"{"):
        pass

    assert [(call.status, call.input_tokens, call.produced_tokens) for call in sandbox.calls] == [
        (401, 0, 0),
        (400, 0, 0),
    ]


async def test_log_has_no_secrets(tmp_path: Path) -> None:
    """The log has header names but no prompt, answer or key, and a line for the start and the end of each call."""
    log = tmp_path / "calls.jsonl"
    async with (
        running_sandbox(log=log) as sandbox,
        openai.AsyncOpenAI(base_url=f"{sandbox.url}/v1", api_key="sk-secret", max_retries=0) as client,
    ):
        answer = await client.chat.completions.create(**CHAT)
    text = log.read_text()
    lines = [json.loads(line) for line in text.splitlines()]

    assert [(line["event"], line["number"], line["finished"]) for line in lines] == [
        ("start", 1, False),
        ("end", 1, True),
    ]
    assert "authorization" in lines[0]["header_names"]
    assert lines[1]["produced_tokens"] == lines[0]["output_tokens"]
    for secret in (SECRET, "sk-secret", answer.choices[0].message.content or ""):
        assert secret not in text


async def test_log_knows_a_call_before_its_answer(tmp_path: Path) -> None:
    """The first line is written before a byte of the answer leaves, so a killed gateway's calls are all known."""
    log = tmp_path / "calls.jsonl"
    async with (
        running_sandbox(Behaviour(stall_after_bytes=0), log=log) as sandbox,
        aiohttp.ClientSession(sandbox.url, headers={"x-api-key": "k"}) as session,
        session.post("/v1/messages", json=CHAT | {"max_tokens": 9}),
    ):
        line = json.loads(log.read_text())

    assert (line["event"], line["model"], line["output_tokens"]) == ("start", "gpt-4o", 9)


async def test_log_is_appended_to(tmp_path: Path) -> None:
    """A second run keeps the first one's lines."""
    log = tmp_path / "calls.jsonl"
    for _ in range(2):
        with Bill(log=log) as bill:
            bill.begun(bill.start(provider="openai", method="GET", path="/", body_bytes=0, headers={}))

    assert len(log.read_text().splitlines()) == 2


def test_bill_is_bounded() -> None:
    """Only so many calls are remembered, the newest, and what callers chose is cut."""
    bill = Bill(calls_max=2)
    for _ in range(3):
        bill.start(provider="openai", method="GET", path="/" * 9999, body_bytes=0, headers={"traceparent": "x" * 999})

    assert [call.number for call in bill.calls] == [2, 3]
    assert len(bill.calls[0].path) == len(bill.calls[0].correlation["traceparent"]) == 256


def test_a_call_ends_once() -> None:
    """The first ending stays."""
    bill = Bill()
    call = bill.start(provider="openai", method="GET", path="/", body_bytes=0, headers={})
    bill.ended(call, "cut")
    bill.ended(call, "whole")

    assert call.ending == "cut"


async def test_many_calls_at_once(sandbox: Sandbox, openai_sdk: openai.AsyncOpenAI) -> None:
    """A hundred concurrent calls are all booked, each under its own user and finished."""

    async def ask(user: str) -> None:
        await openai_sdk.chat.completions.create(**CHAT, user=user)

    await asyncio.gather(*(ask(str(number)) for number in range(100)))

    assert sorted(call.user or "" for call in sandbox.calls) == sorted(map(str, range(100)))
    assert all(call.finished for call in sandbox.calls)


async def test_process_of_its_own(tmp_path: Path) -> None:
    """As a process it says where it listens, behaves as told, writes its log, and ends on SIGTERM with 0."""
    log = tmp_path / "calls.jsonl"
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "penia_proxy.sandbox", "--log", str(log), "--behave", "output-tokens=3"),
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        url = (await process.stdout.readline()).decode().strip()
        async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="k", max_retries=0) as client:
            await client.chat.completions.create(**CHAT)
        process.send_signal(signal.SIGTERM)
        assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()

    assert [json.loads(line)["produced_tokens"] for line in log.read_text().splitlines()] == [0, 3]


@pytest.mark.parametrize("setting", ["colour=blue", "status=abc", "status"])
async def test_process_refuses_nonsense(setting: str) -> None:
    """A setting that makes no sense ends the process with 2."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "penia_proxy.sandbox", "--behave", setting),
        stderr=asyncio.subprocess.PIPE,
    )
    _, said = await process.communicate()

    assert process.returncode == 2
    assert setting.partition("=")[0].encode() in said
