"""
Test the commands against a gateway that runs, so that their idea of the API is the API's own.

Its one job: each command once, on real answers. Rule: what is printed is compared with what was recorded.
"""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import aiohttp
import pytest

from penia_proxy.app import Gateway
from penia_proxy.clock import SystemClock
from penia_proxy.config import Config
from tests.cli.conftest import Outcome
from tests.cli.terminals import Terminal

Run = Callable[..., Awaitable[Outcome]]


@pytest.fixture
async def url(tmp_path: Path) -> AsyncIterator[str]:
    """Run a gateway with one budget and one record; yield where."""
    config = Config.model_validate(
        {
            "server": {"port": 0},
            "ledger": {"url": f"sqlite:///{tmp_path / 'penia.db'}"},
            "providers": {},
            "budgets": [
                {"name": "Default", "daily_limit": 5},
                {
                    "name": "Nightly",
                    "daily_limit": 1,
                    "enforcement": "approve",
                    "scope": {"components": ["night-*"]},
                },
            ],
        }
    )
    gateway = await Gateway(config, SystemClock()).start()
    try:
        used = {
            "component": "rhetor",
            "provider": "openai",
            "model": "gpt-4o",
            "task_type": "chat",
            "input_tokens": 1200,
            "output_tokens": 30,
            "cost": 4.1,
        }
        async with (
            aiohttp.ClientSession() as session,
            session.post(f"{gateway.url}/api/v1/usage/record", json=used) as answer,
        ):
            assert answer.status == 201, await answer.text()
            hold = {"component": "night-1", "provider": "openai", "model": "gpt-4o", "estimated_cost": 1.5}
            async with session.post(f"{gateway.url}/api/v1/holds", json=hold) as refused:
                assert refused.status == 402, await refused.text()
        yield gateway.url
    finally:
        await gateway.stop()


async def test_approvals(run: Run, url: str) -> None:
    """What is asked for is listed with what it lacks, and granted; a second answer is refused."""
    listed = await run("approvals", "list", "--url", url, "--json")
    (asked,) = json.loads(listed.out)
    table = await run("approvals", "list", "--url", url)
    approved = await run("approvals", "approve", asked["approval_id"], "--reason", "fine", "--url", url)
    denied = await run("approvals", "deny", asked["approval_id"], "--url", url)
    after = await run("approvals", "list", "--url", url)

    assert "Nightly daily" in " ".join(table.out.split())
    assert "$0.50" in table.out
    assert (approved.code, approved.out.strip()) == (0, "Nightly daily: approved, $0.50 more")
    assert denied.code == 1
    assert "approved before" in denied.err
    assert after.out.strip() == "Nothing is asked for."


async def test_status(run: Run, url: str) -> None:
    """Status shows the gateway as healthy, and the budget with what was spent."""
    outcome = await run("status", "--url", url)

    assert outcome.code == 0, outcome.err
    assert outcome.out.startswith("healthy")
    line = next(line for line in outcome.out.splitlines() if "Default" in line)
    assert line.split() == ["Default", "warn", "daily", "$4.10", "$0.00", "$5.00", "$0.90", "82%"]


@pytest.mark.parametrize(
    ("by", "name"), [("component", "rhetor"), ("model", "gpt-4o"), ("provider", "openai"), ("task_type", "chat")]
)
async def test_usage(run: Run, url: str, by: str, name: str) -> None:
    """Usage can be seen by each attribute."""
    outcome = await run("usage", "--by", by, "--since", "1h", "--url", url)

    assert outcome.code == 0, outcome.err
    lines = [line.split() for line in outcome.out.splitlines()]
    assert [name, "1", "1,200", "30", "$4.10", "100%"] in lines


async def test_budgets_from_creation_to_deactivation(run: Run, url: str) -> None:
    """A budget is created, listed, changed by name, and deactivated; the gateway keeps what was not named."""
    created = await run(
        *("budgets", "create", "Agents", "--daily", "5", "--component", "agent-*", "--tag", "team=search"),
        *("--enforcement", "block", "--overrun", "never", "--timezone", "Europe/Berlin", "--url", url, "--json"),
    )
    changed = await run("budgets", "set", "Agents", "--no-daily", "--weekly", "8", "--model", "gpt-*", "--url", url)
    listed = {one["name"]: one for one in json.loads((await run("budgets", "list", "--json", "--url", url)).out)}
    gone = await run("budgets", "set", json.loads(created.out)["budget_id"], "--inactive", "--url", url)
    left = json.loads((await run("budgets", "list", "--json", "--url", url)).out)

    assert created.code == changed.code == gone.code == 0, created.err + changed.err + gone.err
    agents = listed["Agents"]
    assert (agents["daily_limit"], agents["weekly_limit"]) == (None, 8.0)
    assert agents["scope"] == {
        "components": ["agent-*"],
        "providers": [],
        "models": ["gpt-*"],
        "tags": {"team": "search"},
    }
    assert (agents["enforcement"], agents["overrun"], agents["timezone"]) == ("block", "never", "Europe/Berlin")
    assert [one["name"] for one in left] == ["Default", "Nightly"]


async def names_of(run: Run, url: str) -> list[str]:
    """Return the names of the active budgets."""
    return [one["name"] for one in json.loads((await run("budgets", "list", "--json", "--url", url)).out)]


async def test_a_budget_is_deleted_where_somebody_says_so(run: Run, url: str) -> None:
    """By name or id; without a terminal only with --yes. It is not gone: it can be made active again."""
    unsaid = await run("budgets", "delete", "Nightly", "--url", url)
    unknown = await run("budgets", "delete", "Nighty", "--yes", "--url", url)
    assert (unsaid.code, unknown.code) == (2, 1)
    assert "--yes" in unsaid.err
    assert "'Nighty'; there are: Default, Nightly" in unknown.err
    assert await names_of(run, url) == ["Default", "Nightly"]

    gone = await run("budgets", "delete", "Nightly", "--yes", "--url", url)

    assert gone.code == 0, gone.err
    assert gone.out.startswith("Nightly (b_")
    assert gone.out.endswith("deleted. The budget is inactive; its records stay.\n")
    assert await names_of(run, url) == ["Default"]
    default = json.loads((await run("budgets", "list", "--json", "--url", url)).out)[0]
    as_json = await run("budgets", "delete", default["budget_id"], "-y", "--json", "--url", url)
    assert json.loads(as_json.out)["is_active"] is False
    assert (await run("budgets", "set", "Nightly", "--active", "--url", url)).code == 0
    assert await names_of(run, url) == ["Nightly"]


async def test_on_a_terminal_it_is_asked_first(run: Run, url: str) -> None:
    """What is to be deleted is shown; anything but yes leaves it."""
    for key, code, left in (("n", 1, ["Default", "Nightly"]), ("y", 0, ["Default"])):
        async with Terminal("budgets", "delete", "Nightly", "--url", url, columns=120) as terminal:
            shown = await terminal.until(lambda text: "Delete it? [y/N]:" in text)
            terminal.press(key + "\n")
            assert await terminal.ended() == code
        assert "$1.00 daily; approve" in shown
        assert "covers night-*" in shown
        assert await names_of(run, url) == left


async def test_wrong_fields_are_listed(run: Run, url: str) -> None:
    """What the gateway finds wrong is shown field by field, and nothing is created."""
    outcome = await run("budgets", "create", "x", "--daily", "-5", "--timezone", "Mars", "--url", url)

    assert outcome.code == 1
    assert {line.split(":")[0].strip() for line in outcome.err.splitlines()[1:]} == {"daily_limit", "timezone"}
    assert len(json.loads((await run("budgets", "list", "--json", "--url", url)).out)) == 2


@pytest.mark.parametrize("direct", [False, True])
@pytest.mark.parametrize("written", ["csv", "jsonl", "focus"])
async def test_export_to_stdout(
    run: Run, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: str, direct: bool
) -> None:
    """The file goes to stdout, from the gateway or from the ledger's file, and is the API's own."""
    monkeypatch.setenv("PENIA_LEDGER__URL", f"sqlite:///{tmp_path / 'penia.db'}")
    how = ["--direct"] if direct else ["--url", url]

    outcome = await run("export", "-f", written, "--since", "1h", "--component", "rhetor", *how)
    nothing = await run("export", "-f", written, "--component", "nobody", *how)

    async with (
        aiohttp.ClientSession() as session,
        session.get(f"{url}/api/v1/usage/export", params={"format": written}) as answer,
    ):
        said = await answer.text()
    assert outcome.code == 0, outcome.err
    assert outcome.out.replace("\r\n", "\n") == said.replace("\r\n", "\n")
    assert "rhetor" not in nothing.out


async def test_export_to_a_file(run: Run, url: str, tmp_path: Path) -> None:
    """A file is there whole; one that cannot be had leaves what was there, and nothing beside it."""
    folder = tmp_path / "out"
    folder.mkdir()
    file = folder / "usage.parquet"

    first = await run("export", "-f", "parquet", "-o", str(file), "--until", "2099-01-01", "--url", url)
    written = file.read_bytes()
    second = await run("export", "-f", "parquet", "-o", str(file), "--model", "x" * 300, "--url", url)

    assert (first.code, second.code) == (0, 1), first.err
    assert written.startswith(b"PAR1")
    assert written.endswith(b"PAR1")
    assert file.read_bytes() == written
    assert list(folder.iterdir()) == [file]
    assert "model" in second.err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--until", "tomorrow"], "neither a date"),
        (["--since", "2099-01-01"], "still to come"),
        (["--format", "xls"], "xls"),
    ],
)
async def test_what_export_does_not_understand(run: Run, options: list[str], said: str) -> None:
    """A wrong option is named, and nothing is asked."""
    outcome = await run("export", *options)

    assert outcome.code == 2
    assert said in outcome.err


async def test_export_where_no_file_can_be(run: Run, url: str, tmp_path: Path) -> None:
    """A directory that is not there is said in a sentence."""
    outcome = await run("export", "-o", str(tmp_path / "none" / "usage.csv"), "--url", url)

    assert outcome.code == 1
    assert "cannot be written" in outcome.err


async def test_recommend(run: Run, url: str) -> None:
    """What the calls cost now, cheaper models with their savings, and why others are not there."""
    outcome = await run("recommend", "rhetor", "--need", "vision", "--limit", "3", "--url", url)
    as_json = await run("recommend", "--model", "gpt-4o", "--url", url, "--json")
    nobody = await run("recommend", "nobody", "--url", url)

    assert outcome.code == 0, outcome.err
    lines = outcome.out.splitlines()
    assert lines[0] == "1 calls to openai gpt-4o: $0.003300 a call, of 1,200 tokens in (0 cached) and 30 out"
    assert len([line for line in lines if "%" in line]) == 3
    assert "not stated what they can do" in lines[-1]
    assert json.loads(as_json.out)["current_model"] == "gpt-4o"
    assert nobody.out == "No calls to go by. See penia usage.\n"
