"""
Test the commands that ask a running gateway: status, usage, budgets.

Its one job: what is asked over HTTP, what is printed, and the exit code.
"""

import json
import socket
from collections.abc import Awaitable, Callable

import pytest

from tests.cli.conftest import BUDGET, Gateway, Outcome

Run = Callable[..., Awaitable[Outcome]]


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@pytest.mark.parametrize(
    "command",
    [
        ("status",),
        ("usage",),
        ("estimates",),
        ("budgets", "list"),
        ("budgets", "set", "x", "--daily", "1"),
        ("budgets", "delete", "x", "--yes"),
        ("approvals", "list"),
    ],
)
async def test_no_gateway(run: Run, command: tuple[str, ...]) -> None:
    """Where nothing listens, each command says how to start a gateway, and fails."""
    outcome = await run(*command, "--url", f"http://127.0.0.1:{_free_port()}")

    assert outcome.code == 1
    assert "penia serve" in outcome.err
    assert "Connection refused" in outcome.err
    assert outcome.out == ""


async def test_the_address_comes_from_the_environment(
    run: Run, gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PENIA_URL names the gateway where --url does not."""
    monkeypatch.setenv("PENIA_URL", gateway.url)

    assert (await run("budgets", "list")).code == 0
    assert gateway.asked


@pytest.mark.parametrize("url", ["ftp://127.0.0.1", "127.0.0.1:8113", "http://"])
async def test_an_address_must_be_one(run: Run, url: str) -> None:
    """An address that is not http is a wrong option: exit code 2."""
    outcome = await run("status", "--url", url)

    assert outcome.code == 2
    assert "no http address" in outcome.err


async def test_status_shows_health_and_budgets(run: Run, gateway: Gateway) -> None:
    """Health and each limited period of each budget are shown within 80 columns."""
    outcome = await run("status", "--url", gateway.url)

    assert outcome.code == 0
    assert outcome.out.startswith("healthy")
    assert "up 2 h" in outcome.out
    assert "holds open 3" in outcome.out
    line = next(line for line in outcome.out.splitlines() if "Default" in line)
    assert line.split() == ["Default", "warn", "daily", "$4.20", "$0.000012", "$5.00", "$0.80", "84%"]
    assert max(len(line) for line in outcome.out.splitlines()) <= 80


async def test_status_fails_with_the_gateway(run: Run, gateway: Gateway) -> None:
    """An unhealthy gateway is shown, though /health answers 503, and the exit code says so."""
    gateway.health["status"] = "unhealthy"

    outcome = await run("status", "--url", gateway.url)

    assert outcome.code == 1
    assert outcome.out.startswith("unhealthy")
    assert "Default" in outcome.out


async def test_status_without_budgets(run: Run, gateway: Gateway) -> None:
    """Where there is no budget, status says how to make one."""
    gateway.budgets.clear()

    assert "penia budgets create" in (await run("status", "--url", gateway.url)).out


async def test_status_for_scripts(run: Run, gateway: Gateway) -> None:
    """--json prints the gateway's own answers."""
    answer = json.loads((await run("status", "--json", "--url", gateway.url)).out)

    assert answer["health"] == gateway.health
    assert answer["budgets"][0]["periods"][0]["spent"] == 4.2


async def test_another_server_is_not_taken_for_penia(run: Run, gateway: Gateway) -> None:
    """An answer without Penia's shape is said to be somebody else's."""
    gateway.refusal = (502, {"message": "bad gateway"})

    outcome = await run("status", "--url", gateway.url)

    assert outcome.code == 1
    assert "not as Penia does" in outcome.err


def used(count: int, input_tokens: int, output_tokens: int, cost: float, *, unpriced: int = 0) -> dict[str, float]:
    return {
        "count": count,
        "input_tokens": input_tokens,
        "output_tokens": output_tokens,
        "cost": cost,
        "unpriced_requests": unpriced,
    }


async def test_usage_by_model(run: Run, gateway: Gateway) -> None:
    """Usage is asked for by the attribute, and printed dearest first with shares and a total."""
    gateway.summary = {
        "groups": {
            "model": {
                "gpt-4o-mini": used(3, 1000, 20, 0.25),
                "claude-sonnet-4-5": used(1, 1500000, 7, 0.75),
                "house-model": used(2, 0, 0, 0.0, unpriced=2),
            }
        },
        "request_count": 4,
        "total_input_tokens": 1501000,
        "total_output_tokens": 27,
        "total_cost": 1.0,
    }

    outcome = await run("usage", "--by", "model", "--since", "24h", "--url", gateway.url)

    method, path, body = gateway.asked[-1]
    assert (method, path, body["group_by"]) == ("POST", "/api/v1/usage/summary", ["model"])
    lines = [line.split() for line in outcome.out.splitlines() if line.strip()]
    assert ["claude-sonnet-4-5", "1", "1,500,000", "7", "$0.75", "75%"] in lines
    assert lines.index(["gpt-4o-mini", "3", "1,000", "20", "$0.25", "25%"]) == 2
    assert ["total", "4", "1,501,000", "27", "$1.00"] in lines
    assert ["house-model", "2", "0", "0", "$0.00*", "0%"] in lines
    assert outcome.out.splitlines()[-1].startswith("* 2 calls are not in the cost")


async def test_estimates(run: Run, gateway: Gateway) -> None:
    """Each model has a line with the middle and the worst of its errors; what has not been seen is a dash."""
    gateway.estimates = [
        {
            "provider": "openai",
            "model": "gpt-4o",
            "input_tokens": {"samples": 12, "p50": 1.1, "p95": 1.254},
            "cost": {"samples": 0, "p50": None, "p95": None},
            "bytes_factor": 0.3,
            "counted_factor": 1,
        }
    ]

    outcome = await run("estimates", "--url", gateway.url)

    assert ["openai", "gpt-4o", "12", "1.10", "1.25", "–", "–"] in [line.split() for line in outcome.out.splitlines()]
    assert json.loads((await run("estimates", "--json", "--url", gateway.url)).out) == gateway.estimates


async def test_estimates_of_nothing(run: Run, gateway: Gateway) -> None:
    """Before the first call there is a sentence, not an empty table."""
    outcome = await run("estimates", "--url", gateway.url)

    assert (outcome.code, "No call has ended" in outcome.out) == (0, True)


async def test_usage_of_nothing(run: Run, gateway: Gateway) -> None:
    """A period without usage is said in a sentence, not shown as an empty table."""
    gateway.summary = {"groups": {}, "total_cost": 0.0}

    outcome = await run("usage", "--url", gateway.url)

    assert outcome.code == 0
    assert "No usage in this time (--since 7d)" in outcome.out


@pytest.mark.parametrize("since", ["yesterday", "7", "-1d", "2026-13-01", "2999-01-01"])
async def test_usage_since_nonsense(run: Run, gateway: Gateway, since: str) -> None:
    """A span that is none is a wrong option."""
    outcome = await run("usage", f"--since={since}", "--url", gateway.url)

    assert outcome.code == 2
    assert not gateway.asked


async def test_names_cannot_write_to_the_terminal(run: Run, gateway: Gateway) -> None:
    """Markup in a name is shown as it is, and control characters not at all."""
    gateway.budgets[0]["name"] = "[red]x[/red]\x1b[2J"

    outcome = await run("budgets", "list", "--url", gateway.url)

    assert "[red]x[/red]" in outcome.out
    assert "\x1b" not in outcome.out


async def test_budgets_of_many_pages(run: Run, gateway: Gateway) -> None:
    """A list that is longer than a page is listed whole."""
    gateway.budgets = [{**BUDGET, "budget_id": f"b_{number}", "name": f"n{number}"} for number in range(230)]

    listed = json.loads((await run("budgets", "list", "--json", "--url", gateway.url)).out)

    assert [budget["budget_id"] for budget in listed] == [f"b_{number}" for number in range(230)]


async def test_create_sends_what_was_named(run: Run, gateway: Gateway) -> None:
    """Creating sends the options given and leaves every other field to the gateway's defaults."""
    outcome = await run(
        *("budgets", "create", "Agents", "--daily", "5", "--weekly", "20.5", "--enforcement", "block"),
        *("--overrun", "never", "--component", "agent-*", "--component", "bot", "--tag", "team=search", "--no-shadow"),
        *("--timezone", "Europe/Berlin", "--url", gateway.url),
    )

    assert outcome.code == 0
    assert gateway.asked[-1] == (
        "POST",
        "/api/v1/budgets",
        {
            "name": "Agents",
            "daily_limit": 5.0,
            "weekly_limit": 20.5,
            "enforcement": "block",
            "overrun": "never",
            "shadow": False,
            "timezone": "Europe/Berlin",
            "scope": {"components": ["agent-*", "bot"], "tags": {"team": "search"}},
        },
    )
    assert "Agents (b_new) created" in outcome.out
    assert "$5.00 daily, $20.50 weekly" in outcome.out


async def test_wrong_fields_are_listed(run: Run, gateway: Gateway) -> None:
    """A 422 is shown with one line per wrong field."""
    gateway.refusal = (
        422,
        {
            "error": "2 fields are not as the body needs them.",
            "code": "invalid_fields",
            "detail": [
                {"field": "timezone", "message": "there is no time zone Mars"},
                {"field": "warn_at", "message": "must be at most 1"},
            ],
        },
    )

    outcome = await run("budgets", "create", "x", "--warn-at", "2", "--timezone", "Mars", "--url", gateway.url)

    assert outcome.code == 1
    assert outcome.err.splitlines()[1:] == ["  timezone: there is no time zone Mars", "  warn_at: must be at most 1"]


@pytest.mark.parametrize("tag", ["team", "=x", "team="])
async def test_a_tag_is_a_pair(run: Run, gateway: Gateway, tag: str) -> None:
    """A tag without a name or a glob is a wrong option."""
    outcome = await run("budgets", "create", "x", "--tag", tag, "--url", gateway.url)

    assert outcome.code == 2
    assert not gateway.asked


@pytest.mark.parametrize("wanted", ["Default", "b_1"])
async def test_set_by_name_or_id(run: Run, gateway: Gateway, wanted: str) -> None:
    """A budget is found by name or id; what is named changes, a removed limit is null, the rest is not sent."""
    gateway.budgets.append({**BUDGET, "budget_id": "b_2", "name": "b_1 is not it"})

    outcome = await run("budgets", "set", wanted, "--daily", "10", "--no-monthly", "--inactive", "--url", gateway.url)

    assert outcome.code == 0
    assert gateway.asked[-1] == (
        "PUT",
        "/api/v1/budgets/b_1",
        {"daily_limit": 10.0, "monthly_limit": None, "is_active": False},
    )


async def test_set_keeps_the_other_parts_of_a_scope(run: Run, gateway: Gateway) -> None:
    """Changing one part of a scope sends the others as they were."""
    gateway.budgets[0]["scope"] = {"components": ["a"], "providers": ["openai"], "models": [], "tags": {"t": "x"}}

    await run("budgets", "set", "Default", "--component", "b", "--url", gateway.url)

    assert gateway.asked[-1][2] == {
        "scope": {"components": ["b"], "providers": ["openai"], "models": [], "tags": {"t": "x"}}
    }


async def test_set_prefers_the_active_budget_of_a_name(run: Run, gateway: Gateway) -> None:
    """A deactivated budget of the same name does not make a name ambiguous."""
    gateway.budgets.insert(0, {**BUDGET, "budget_id": "b_old", "is_active": False})

    await run("budgets", "set", "Default", "--daily", "1", "--url", gateway.url)

    assert gateway.asked[-1][1] == "/api/v1/budgets/b_1"


async def test_set_refuses_to_guess(run: Run, gateway: Gateway) -> None:
    """A name that two active budgets have, and one that none has, change nothing."""
    gateway.budgets.append({**BUDGET, "budget_id": "b_2"})

    twice = await run("budgets", "set", "Default", "--daily", "1", "--url", gateway.url)
    never = await run("budgets", "set", "Defualt", "--daily", "1", "--url", gateway.url)

    assert (twice.code, never.code) == (1, 1)
    assert "b_1, b_2" in twice.err
    assert "there are: Default" in never.err
    assert all(method == "GET" for method, _, _ in gateway.asked)


@pytest.mark.parametrize("options", [(), ("--daily", "1", "--no-daily")])
async def test_set_needs_something_to_change(run: Run, gateway: Gateway, options: tuple[str, ...]) -> None:
    """Naming nothing, or a limit and its removal at once, is a wrong option."""
    outcome = await run("budgets", "set", "Default", *options, "--url", gateway.url)

    assert outcome.code == 2
    assert not gateway.asked


async def test_what_is_odd_about_a_budget_is_said(run: Run, gateway: Gateway) -> None:
    """What the gateway warns of when a budget is written is shown under it."""
    gateway.warnings = [{"field": "monthly_limit", "message": "The monthly limit can never be reached."}]

    outcome = await run("budgets", "create", "Agents", "--daily", "5", "--url", gateway.url)

    assert outcome.code == 0
    assert outcome.out.splitlines()[-1].strip() == "note: The monthly limit can never be reached."
