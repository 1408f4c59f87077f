"""A configuration that is read again is taken whole or not at all, and calls under way do not notice."""

import asyncio
import json
import logging
import random
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from penia_proxy.app import Gateway
from penia_proxy.clock import SystemClock
from penia_proxy.config import Config, changes, load_config
from penia_proxy.errors import ConfigError
from penia_proxy.sandbox import Sandbox, running_sandbox
from penia_proxy.sandbox.faults import Behaviour
from tests.gateways import KEYS, Running, balanced
from tests.lines import connected
from tests.processes import configure, listening, running

ROUNDS = 200
CHAT = b"POST /openai/v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer made-up\r\n"
TALK: dict[str, Any] = {"model": "gpt-4o-mini", "max_tokens": 30, "messages": [{"role": "user", "content": "hi"}]}


def text_of(upstream: str, *, other: bool = True, server: str = "max_body_mb: 1", more: str = "") -> str:
    """Return a configuration; all of the first kind differs from all of the second."""
    return (
        f"server: {{port: 0, {server if other else 'max_body_mb: 2'}}}\n"
        "ledger: {url: 'sqlite:///penia.db', durability: normal}\n"
        f"{more}"
        "providers:\n"
        f"  openai: {{base_url: '{upstream}', format: openai}}\n"
        + (f"  other: {{base_url: '{upstream}', format: openai, prices: openai}}\n" if other else "")
        + "budgets: [{name: Default, daily_limit: 5}]\n"
    )


def spoiled(dice: random.Random, upstream: str) -> str:
    """Return a configuration with something wrong in it, or only the first part of a good one."""
    good = text_of(upstream, other=dice.random() < 0.5)
    return dice.choice(
        [
            good.replace("budgets: [", "budgets: [[{"),
            good.replace("providers:", "providors:"),
            good.replace("daily_limit: 5", "daily_limit: .nan"),
            good.replace("port: 0", "port: 9"),
            good.replace("penia.db", "another.db"),
            good.replace("providers:\n", "pricing: {directory: nowhere}\nproviders:\n"),
            good.replace("openai:", "openai: &x\n   <<: *x\n   y:"),
            good[: dice.randrange(len(good))],
            "",
        ]
    )


@asynccontextmanager
async def reloadable(folder: Path, sandbox: Sandbox) -> AsyncIterator[tuple[Running, Path]]:
    """Run a gateway that reads its configuration from a file."""
    path = folder / "config.yaml"
    path.write_text(text_of(sandbox.url))
    gateway = await Gateway(load_config(path, {}), SystemClock(), lambda: load_config(path, {})).start()
    async with aiohttp.ClientSession() as session:
        penia = Running(gateway, sandbox, session)
        yield penia, path
        await gateway.stop()
    await balanced(penia)


def expected_of(path: Path, now: Config) -> Config | None:
    """Return the configuration that a reload must leave behind; None where it must refuse."""
    try:
        found = load_config(path, {})
        changes(now, found)
    except ConfigError:
        return None
    return found if not found.pricing.directory else None


@pytest.mark.fault("R1")
@pytest.mark.timeout(300)
async def test_two_hundred_reloads_under_load(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever stands in the file: what runs is all of one good configuration, and no call fails for it."""
    seed = random.randrange(2**32)
    sys.stdout.write(f"seed {seed}\n")
    dice = random.Random(seed)
    monkeypatch.chdir(tmp_path)
    caplog.set_level(logging.CRITICAL)
    statuses: dict[str, set[int]] = {"openai": set(), "other": set()}
    async with running_sandbox() as sandbox, reloadable(tmp_path, sandbox) as (penia, path):
        done = asyncio.Event()

        async def call(provider: str) -> None:
            while not done.is_set():
                url = f"{penia.url}/{provider}/v1/chat/completions"
                async with penia.session.post(url, json=TALK, headers=KEYS) as answer:
                    await answer.read()
                    statuses[provider].add(answer.status)

        callers = [asyncio.create_task(call(name)) for name in ("openai", "other") for _ in range(2)]
        refused = 0
        for round_ in range(ROUNDS):
            before = penia.gateway.config
            path.write_text(
                spoiled(dice, sandbox.url) if round_ % 2 else text_of(sandbox.url, other=dice.random() < 0.5)
            )
            expected = expected_of(path, before)
            status, said = await penia.api("POST", "/api/v1/config/reload")
            _, health = await penia.api("GET", "/health")

            assert (status == 200) == (expected is not None), said
            assert penia.gateway.config == (expected or before)
            assert (health["config_error"] is None) == (expected is not None)
            assert set(penia.gateway._proxy._upstreams) == set(penia.gateway.config.providers)
            assert penia.gateway._proxy._server is penia.gateway.config.server
            assert health["status"] == "healthy"
            refused += expected is None
        done.set()
        await asyncio.gather(*callers)

    assert ROUNDS / 4 < refused < ROUNDS
    assert statuses["openai"] <= {200, 404}  # a file cut before its providers has none
    assert statuses["other"] == {200, 404}


@pytest.mark.fault("R1")
async def test_a_call_keeps_the_provider_that_it_began_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A provider that is taken out has no more calls; the stream under way ends whole and is settled."""
    monkeypatch.chdir(tmp_path)
    slow = Behaviour(chunk_delay_s=0.02, output_tokens=30)
    async with running_sandbox(slow) as sandbox, reloadable(tmp_path, sandbox) as (penia, path):
        url = f"{penia.url}/other/v1/chat/completions"
        async with penia.session.post(url, json={**TALK, "stream": True}, headers=KEYS) as stream:
            await stream.content.readany()
            path.write_text(text_of(sandbox.url, other=False))
            status, said = await penia.api("POST", "/api/v1/config/reload")
            async with penia.session.post(url, json=TALK, headers=KEYS) as after:
                refused = after.status
            rest = await stream.content.read()
        (record,) = await penia.records()

    assert (status, said["changed"]) == (200, ["server.max_body_mb", "providers.other"])
    assert refused == 404
    assert rest.endswith(b"data: [DONE]\n\n")
    assert (record["provider"], record["status"], record["cost_basis"]) == ("other", "ok", "reported")


async def test_what_cannot_change_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Address and ledger are the process's: nothing of such a file is taken, and the answer says what would be."""
    monkeypatch.chdir(tmp_path)
    async with running_sandbox() as sandbox, reloadable(tmp_path, sandbox) as (penia, path):
        path.write_text(text_of(sandbox.url, other=False).replace("port: 0", "port: 9").replace("penia.db", "b.db"))
        status, said = await penia.api("POST", "/api/v1/config/reload")
        _, health = await penia.api("GET", "/health")

        assert (status, said["code"]) == (409, "needs_restart")
        assert said["detail"] == ["server.port", "ledger.url"]
        assert health["config_error"] == said["error"]
        assert "other" in penia.gateway.config.providers


async def test_a_provider_that_cannot_be_signed_for_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What signs is not installed: the providers stay, and the health says why."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "botocore", None)
    async with running_sandbox() as sandbox, reloadable(tmp_path, sandbox) as (penia, path):
        bedrock = f"  bedrock: {{base_url: '{sandbox.url}', format: bedrock, aws: {{region: us-east-1}}}}\n"
        path.write_text(text_of(sandbox.url, other=False).replace("providers:\n", f"providers:\n{bedrock}"))
        status, said = await penia.api("POST", "/api/v1/config/reload")
        _, health = await penia.api("GET", "/health")

        assert status == 422
        assert "penia[bedrock]" in said["error"]
        assert health["config_error"] == said["error"]
        assert "other" in penia.gateway.config.providers


@pytest.mark.fault("R2")
async def test_prices_are_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A corrected price holds for the next call; a file that is wrong changes nothing."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pricing").mkdir()
    async with running_sandbox() as sandbox, reloadable(tmp_path, sandbox) as (penia, path):
        path.write_text(text_of(sandbox.url, more="pricing: {directory: pricing}\n"))
        prices = tmp_path / "pricing" / "openai.yaml"
        costs = []
        for price in ("1", "2", "minus"):
            prices.write_text(
                "provider: openai\nentries:\n  - model: {equals: gpt-4o-mini}\n"
                f"    source: a test's own\n    prices: {{input_mtok: {price}, output_mtok: {price}}}\n"
            )
            status, said = await penia.api("POST", "/api/v1/config/reload")
            await penia.chat()
            (record, *_) = await penia.records()
            costs.append((status, record["cost"] / record["total_tokens"]))

        assert [status for status, _ in costs] == [200, 200, 422], said
        assert costs[1][1] == costs[2][1] == pytest.approx(2 * costs[0][1])


@pytest.mark.fault("R1")
async def test_a_call_whose_body_comes_slowly_keeps_its_prices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was planned by one configuration, and is not priced by another."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pricing").mkdir()
    body = json.dumps(TALK).encode()
    head = CHAT + b"Content-Length: %d\r\n\r\n" % len(body)
    async with running_sandbox() as sandbox, reloadable(tmp_path, sandbox) as (penia, path):
        path.write_text(text_of(sandbox.url, more="pricing: {directory: pricing}\n"))

        async def priced(price: int) -> None:
            (tmp_path / "pricing" / "openai.yaml").write_text(
                "provider: openai\nentries:\n  - model: {equals: gpt-4o-mini}\n"
                f"    source: a test's own\n    prices: {{input_mtok: {price}, output_mtok: {price}}}\n"
            )
            assert (await penia.api("POST", "/api/v1/config/reload"))[0] == 200

        async with connected(penia.url) as line:
            for before, after in ((1, 2), (2, 3)):
                await priced(before)
                await line.say(head + body[:9])
                while not penia.gateway._proxy._door.calls:
                    await asyncio.sleep(0.002)
                await priced(after)
                assert await line.ask(body[9:]) == 200
                (record, *_) = await penia.records()
                assert record["cost"] * 1e6 / record["total_tokens"] == pytest.approx(before)


async def test_a_head_that_was_read_before_goes_by_todays_limits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is remembered of heads was read under limits that may have changed."""
    monkeypatch.chdir(tmp_path)
    body = json.dumps(TALK).encode()
    sent = CHAT + b"X-Padding: %b\r\nContent-Length: %d\r\n\r\n%b" % (b"a" * 2_000, len(body), body)
    async with (
        running_sandbox() as sandbox,
        reloadable(tmp_path, sandbox) as (penia, path),
        connected(penia.url) as line,
    ):
        assert [await line.ask(sent) for _ in range(2)] == [200, 200]
        path.write_text(text_of(sandbox.url, server="max_header_line_kb: 1"))
        assert (await penia.api("POST", "/api/v1/config/reload"))[0] == 200
        assert await line.ask(sent) == 400


@pytest.mark.fault("R1")
async def test_the_same_bytes_again_go_by_todays_plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On one connection: a provider that has moved, one that is gone, and budgets that come and go."""
    monkeypatch.chdir(tmp_path)
    body = json.dumps(TALK).encode()
    sent = CHAT + b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
    none_left = {"name": "None left", "daily_limit": 0, "enforcement": "block"}
    async with (
        running_sandbox() as first,
        running_sandbox() as second,
        reloadable(tmp_path, first) as (penia, path),
        connected(penia.url) as line,
    ):
        for upstream, provider, status in ((first, "openai", 200), (second, "openai", 200), (second, "gone", 404)):
            path.write_text(text_of(upstream.url).replace("openai:", f"{provider}:"))
            assert (await penia.api("POST", "/api/v1/config/reload"))[0] == 200
            for _ in range(3):
                assert await line.ask(sent) == status
        path.write_text(text_of(first.url))
        assert (await penia.api("POST", "/api/v1/config/reload"))[0] == 200
        for _ in range(3):
            status, budget = await penia.api("POST", "/api/v1/budgets", none_left)
            assert (status, await line.ask(sent)) == (201, 402)
            await penia.api("DELETE", f"/api/v1/budgets/{budget['budget_id']}")
            assert await line.ask(sent) == 200

        assert (len(first.calls), len(second.calls)) == (6, 3)


@pytest.mark.fault("R1")
@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
async def test_a_hangup_reads_again(tmp_path: Path) -> None:
    """SIGHUP takes what the file says now, and keeps what runs where it cannot; the log says which."""
    async with running_sandbox() as sandbox, aiohttp.ClientSession() as session:
        path = configure(tmp_path, sandbox.url)
        good = path.read_text()
        async with running(tmp_path, "serve") as process:
            url = await listening(process)

            async def health() -> dict[str, Any]:
                async with session.get(f"{url}/health") as answer:
                    said: dict[str, Any] = await answer.json()
                    return said

            began = (await health())["config_loaded_at"]
            path.write_text(good.replace("providers:", f"providers:\n  more: {{base_url: '{sandbox.url}', format: x}}"))
            process.signal(signal.SIGHUP)
            while (error := (await health())["config_error"]) is None:
                await asyncio.sleep(0.01)
            path.write_text(good.replace("port: 0,", "port: 0, max_body_mb: 3"))
            process.signal(signal.SIGHUP)
            while (await health())["config_loaded_at"] == began:
                await asyncio.sleep(0.01)
            assert (await health())["config_error"] is None
            process.signal(signal.SIGTERM)
            code, _, log = await process.end()

    assert "config.yaml:4: providers.more.format: format 'x' is not built yet" in error
    assert code == 0
    assert "the configuration stays as it was: " in log
    assert "the configuration was read again; changed: server.max_body_mb" in log
