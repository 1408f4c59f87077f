"""
Test `penia prices` against a real gateway, and on a real file without one.

Its one job: the command's ways to the ledger, and what a kill in its middle leaves. Rule: real processes and files.
"""

import asyncio
import contextlib
import json
import sqlite3
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import aiohttp
import pytest

from penia_proxy.app import Gateway
from penia_proxy.budget.usage import Usage
from penia_proxy.clock import SystemClock
from penia_proxy.config import load_config
from penia_proxy.ledger.ledger import Ledger
from penia_proxy.ledger.verify import examine
from tests.cli.conftest import Outcome
from tests.ledger.making import NOON, budget, record
from tests.processes import running

Run = Callable[..., Awaitable[Outcome]]
SINCE = ("prices", "reprice", "--since", "2026-11-01")


def price_is(directory: Path, usd: int) -> None:
    """Let a million tokens of our model cost so much."""
    directory.mkdir(exist_ok=True)
    (directory / "house.yaml").write_text(
        "provider: house-llm\nentries:\n"
        f"  - {{model: {{equals: m-1}}, prices: {{input_mtok: {usd}, output_mtok: {usd}}}, source: test}}\n"
    )


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """Return a configuration with a price book of its own, in which our model costs $3."""
    price_is(tmp_path / "pricing", 3)
    path = tmp_path / "config.yaml"
    path.write_text(
        f"server: {{port: 0}}\nledger: {{url: 'sqlite:///{tmp_path / 'penia.db'}'}}\n"
        f"pricing: {{directory: '{tmp_path / 'pricing'}'}}\nbudgets: [{{name: Default, daily_limit: 5}}]\n"
    )
    return path


async def test_a_gateway_takes_new_prices_and_puts_the_past_right(run: Run, config: Path) -> None:
    """Refresh, a dry run that changes nothing, the run, a second run; and a file that is in use is refused."""
    gateway = await Gateway(load_config(config, {}), SystemClock()).start()
    try:
        used = {"component": "a", "provider": "house-llm", "model": "m-1", "input_tokens": 1_000_000}
        async with (
            aiohttp.ClientSession() as session,
            session.post(f"{gateway.url}/api/v1/usage/record", json=used) as answer,
        ):
            assert (answer.status, (await answer.json())["cost"]) == (201, 3.0)
        price_is(config.parent / "pricing", 5)
        url = ("--url", gateway.url)
        unread = await run(*SINCE, *url)
        refreshed = [await run("prices", "refresh", *url) for _ in range(2)]
        runs = [await run(*SINCE, *more, *url) for more in (["--dry-run"], [], [])]
        as_json = await run(*SINCE, *url, "--json", "--model", "m-1", "--provider", "house-llm")
        refused = await run(*SINCE, "--offline", "-c", str(config))
        confused = await run(*SINCE, "-c", str(config))
    finally:
        await gateway.stop()

    assert unread.out.splitlines() == ["1 records looked at; 0 changed."]
    assert [outcome.out.split(":")[0] for outcome in refreshed] == ["prices in force", "nothing has changed"]
    first, second, third = (outcome.out for outcome in runs)
    assert first.splitlines()[1].split() == ["house-llm", "m-1", "1", "$3.00", "$5.00", "$2.00"]
    assert (first, third) == (second.replace("1 changed", "1 would change"), "1 records looked at; 0 changed.\n")
    assert (json.loads(as_json.out)["items"], json.loads(as_json.out)["unchanged"]) == ([], 1)
    assert (refused.code, confused.code) == (2, 2)
    assert "in use" in refused.err
    assert not examine(load_config(config, {}).ledger.url).differences


async def test_a_kill_in_the_middle_loses_and_doubles_nothing(run: Run, config: Path) -> None:
    """Killed when some adjustments are on disk, the command is run again: each record has exactly one."""
    calls = 1_200
    ledger = await Ledger.open(load_config(config, {}).ledger, SystemClock())
    await ledger.save_budget(budget())
    usual = replace(record("r"), usage=Usage(input=1_000_000), provider="house-llm", model="m-1", timestamp=NOON)
    await asyncio.gather(*(ledger.append(replace(usual, record_id=f"r_{number}"), "") for number in range(calls)))
    await ledger.close()
    with contextlib.closing(sqlite3.connect(config.parent / "penia.db")) as beside:
        kills = 0
        for wanted in (1, 500):
            async with running(config.parent, *SINCE, "--offline", "-c", str(config)) as process:
                while adjusted(beside) < wanted and process.returncode is None:
                    await process.moment()
                process.signal(9)
                code, _, errors = await process.end()
            kills += code == -9
            assert code in {-9, 0}, errors
        done = await run(*SINCE, "--offline", "-c", str(config))

        assert (done.code, kills > 0) == (0, True), done.err
        assert adjusted(beside) == calls
        assert beside.execute("SELECT SUM(cost_nanos) FROM usage_records").fetchone() == (calls * 3_000_000_000,)
        assert (await run("verify", "-c", str(config))).code == 0


def adjusted(ledger: sqlite3.Connection) -> int:
    """Return how many adjustments are on disk."""
    return int(ledger.execute("SELECT COUNT(*) FROM usage_records WHERE corrects IS NOT NULL").fetchone()[0])


async def test_without_a_ledger_there_is_nothing_to_do(run: Run, config: Path) -> None:
    """A file that is not there is not made; dates that make no sense are refused before anything is opened."""
    missing = await run(*SINCE, "--offline", "-c", str(config))
    wrong = await run("prices", "reprice", "--since", "yesteryear", "--offline", "-c", str(config))

    assert (missing.code, wrong.code) == (2, 2)
    assert "does not exist" in missing.err
    assert not (config.parent / "penia.db").exists()


async def test_a_price_is_shown(run: Run, config: Path) -> None:
    """Every unit and tier, what it is by, and an example; as JSON what the gateway said; or that none is known."""
    gateway = await Gateway(load_config(config, {}), SystemClock()).start()
    try:
        url = ("--url", gateway.url)
        own = await run("prices", "show", "m-1", *url)
        known = await run("prices", "show", "gemini-2.5-pro", "--provider", "google", *url)
        as_json = await run("prices", "show", "m-1", "--provider", "house-llm", "--input-tokens", "5", *url, "--json")
        unknown = await run("prices", "show", "no-such-model", *url)
        no_date = await run("prices", "show", "m-1", "--at", "yesterday", *url)
    finally:
        await gateway.stop()

    lines = [line.split() for line in own.out.splitlines()]
    assert ["input_mtok", "$3", "1,000,000", "override"] in lines
    assert "m-1 at house-llm" in own.out
    assert "A call of 10,000 tokens in and 1,000 out costs $0.033." in own.out
    assert "● m-1: input_mtok 3; output_mtok 3" in own.out
    tiers = [line.split() for line in known.out.splitlines()]
    assert ["$2.5", "above", "200,000", "tokens", "in"] in tiers
    assert ["tier", "batch", "$0.625", "$0.125", "$5", "$0.01125"] in tiers
    (item,) = json.loads(as_json.out)["items"]
    assert item["contexts"][0]["example_cost"] == 3 * 1_005 / 1_000_000
    assert (unknown.code, unknown.err) == (1, "penia: No price is known for this model.\n")
    assert (no_date.code, "ISO 8601" in no_date.err) == (1, True)
    assert max(len(line) for line in own.out.splitlines() if "pricing" not in line) <= 80
