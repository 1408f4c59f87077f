"""Calls teach the gateway what to expect of the next."""

from decimal import Decimal

from penia_proxy.app import Gateway
from penia_proxy.budget.calibration import SAMPLES_MIN
from penia_proxy.clock import SystemClock
from tests.gateways import Running, Start

BUDGET = {"name": "Default", "daily_limit": 5.0}


async def taught(penia: Running) -> list[Decimal]:
    """Make enough calls to learn from; return what was held for each, and what the last one cost."""
    held = []
    for _ in range(SAMPLES_MIN + 1):
        answer = await penia.chat()
        assert answer.status == 200
        held.append(Decimal(answer.headers["X-Penia-Estimated-Cost"]))
    return [*held, Decimal(answer.headers["X-Penia-Cost"])]


async def test_the_hold_approaches_the_cost(start: Start) -> None:
    """After a few reported calls less is held for the same request, and the API says how good that is."""
    penia = await start(budgets=(BUDGET,))

    first, *_, last, cost = await taught(penia)

    assert cost <= last < first
    status, listed = await penia.api("GET", "/api/v1/estimates")
    (line,) = listed["items"]
    assert (status, line["provider"], line["input_tokens"]["samples"]) == (200, "openai", SAMPLES_MIN + 1)
    assert line["bytes_factor"] < 1


async def test_what_was_learned_survives_a_restart(start: Start) -> None:
    """The records keep what was estimated, so that the next process expects what this one had learned to."""
    penia = await start(budgets=(BUDGET,))
    await taught(penia)
    _, before = await penia.api("GET", "/api/v1/estimates")
    await penia.gateway.stop()

    again = Running(await Gateway(penia.gateway.config, SystemClock()).start(), penia.sandbox, penia.session)
    try:
        _, after = await again.api("GET", "/api/v1/estimates")
        habit = again.gateway.habit.p95("default", "gpt-4o-mini")
    finally:
        await again.gateway.stop()
    assert after == before
    assert habit == penia.gateway.habit.p95("default", "gpt-4o-mini") < 1_024


async def test_a_habit_of_caches_is_expected_but_not_relied_on(start: Start) -> None:
    """Where calls read most of their input from a cache, `finish` holds less; a `never` bound stays what it was."""
    penia = await start(budgets=(BUDGET, {**BUDGET, "name": "Hard", "enforcement": "block", "overrun": "never"}))
    long = {"system": [{"type": "text", "text": "word " * 6_000, "cache_control": {"type": "ephemeral"}}]}

    seen = []
    for _ in range(30):
        answer = await penia.messages(**long)
        assert answer.status == 200
        seen.append(answer.headers["X-Penia-Estimated-Cost"])

    assert len(set(seen)) == 1  # the larger of the two holds, which is the bound
    newest, *_, oldest = [record["metadata"]["estimate"] for record in await penia.records()]
    assert oldest["expected_nanos"] > oldest["plain_nanos"]
    assert newest["expected_nanos"] < newest["plain_nanos"] / 2
