"""Every verdict can be explained afterwards, by what it was made of at that moment; refusals are kept within bounds."""

import asyncio
import sqlite3
from contextlib import closing
from datetime import timedelta
from typing import Any

import pytest

from penia_proxy.clock import iso
from penia_proxy.ledger import rulings
from penia_proxy.watch import refusals
from tests.gateways import Running, Start

WIDE = {"name": "Wide", "daily_limit": 5.0, "monthly_limit": 50.0}
COUNTS = {"name": "Counts", "scope": {"providers": ["openai"]}}
TIGHT = {
    "name": "Tight",
    "hourly_limit": 0.0000001,
    "enforcement": "block",
    "overrun": "never",
    "scope": {"components": ["tight"], "providers": ["openai"]},
}


async def explained(penia: Running, path: str) -> dict[str, Any]:
    status, body = await penia.api("GET", f"/api/v1/{path}")
    assert status == 200, body
    answer: dict[str, Any] = body
    return answer


async def test_a_record_explains_its_verdict(start: Start) -> None:
    """The budgets in the order they were asked, each limited window's figures then, and the sum that decided."""
    penia = await start(budgets=(WIDE, COUNTS))
    first = await penia.chat()
    answer = await penia.chat()
    await penia.api("PUT", f"/api/v1/budgets/{(await penia.records())[0]['budget_id']}", {"name": "Renamed"})

    said = await explained(penia, f"usage/records/{answer.headers['X-Penia-Request-Id']}/explain")

    assert (said["verdict"], said["reason"]) == ("allow", "Fits every budget that applies.")
    assert [budget["name"] for budget in said["budgets"]] == ["Renamed", "Wide"]
    assert said["budgets"][0]["windows"] == []
    daily, monthly = said["budgets"][1]["windows"]
    assert (daily["period"], daily["limit"], monthly["period"], monthly["limit"]) == ("daily", 5.0, "monthly", 50.0)
    spent = float(first.headers["X-Penia-Cost"])
    assert (daily["spent"], daily["held"], daily["amount"]) == (spent, 0, said["estimated_cost"])
    assert daily["why"].startswith(f"${first.headers['X-Penia-Cost']} spent + $0 held + $")
    assert daily["why"].endswith(" of $5")


async def test_a_refusal_explains_itself(start: Start) -> None:
    """Who asked for what, which budget decided, and every budget that was asked."""
    penia = await start(budgets=(WIDE, COUNTS, TIGHT))

    refused = await penia.chat({"X-Penia-Component": "tight", "X-Penia-Request-Id": "mine"})

    assert refused.status == 402
    said = await explained(penia, "refusals/mine")
    assert (said["component"], said["provider"], said["model"]) == ("tight", "openai", "gpt-4o-mini")
    assert (said["code"], said["name"], said["not_kept"]) == ("budget_exceeded", "Tight", 0)
    assert said["message"] == (await refused.json())["error"]["message"]
    assert [budget["name"] for budget in said["budgets"]] == ["Tight", "Counts", "Wide"]
    (hourly,) = said["budgets"][0]["windows"]
    assert (hourly["verdict"], hourly["limit"], hourly["spent"], hourly["held"]) == ("block", 0.0000001, 0, 0)
    assert hourly["amount"] == said["estimated_cost"]
    assert (await penia.api("GET", "/api/v1/refusals/another"))[0] == 404


async def test_refusals_are_listed_by_component_budget_and_code(start: Start) -> None:
    """Newest first; each filter alone, and paged."""
    penia = await start(budgets=(WIDE, TIGHT, {**TIGHT, "name": "Other", "scope": {"components": ["other"]}}))
    for number, component in enumerate(("tight", "other", "tight")):
        await penia.chat({"X-Penia-Component": component, "X-Penia-Request-Id": f"r{number}"})
    await penia.chat({"X-Penia-Component": "other", "X-Penia-Request-Id": "r3"}, model="no-such-model")

    async def ids(query: str) -> list[str]:
        return [one["request_id"] for one in (await explained(penia, f"refusals?{query}"))["items"]]

    everything = await explained(penia, "refusals?limit=2")
    other = everything["items"][0]["budget_id"]
    assert (everything["total"], await ids("")) == (4, ["r3", "r2", "r1", "r0"])
    assert await ids("page=2&limit=3") == ["r0"]
    assert await ids("component=tight") == ["r2", "r0"]
    assert await ids(f"budget_id={other}") == ["r3", "r1"]
    assert await ids("code=unpriced_model") == ["r3"]


async def test_a_storm_of_refusals_is_counted_and_not_kept(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond so many a second none is written; the next that is says how many there were."""
    monkeypatch.setattr(refusals, "KEPT_PER_S", 5)
    penia = await start(budgets=(TIGHT,))
    kept = penia.gateway.refusing.refusals
    kept._clock = clock = Stopped()

    await asyncio.gather(*(penia.chat({"X-Penia-Component": "tight"}) for _ in range(40)))
    storm = await explained(penia, "refusals?limit=100")
    clock.seconds += 1
    await penia.chat({"X-Penia-Component": "tight"})
    after = await explained(penia, "refusals?limit=100")

    assert (storm["total"], storm["not_kept"]) == (5, 35)
    assert (after["total"], after["not_kept"], after["items"][0]["not_kept"]) == (6, 0, 35)


async def test_refusals_are_kept_by_number_and_age(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is older than a month or beyond the number goes; the newest stay."""
    monkeypatch.setattr(rulings, "REFUSALS_MAX", 2)
    penia = await start(budgets=(TIGHT,))
    for number in range(4):
        await penia.chat({"X-Penia-Component": "tight", "X-Penia-Request-Id": f"r{number}"})
    await penia.gateway.ledger.forget_refusals()
    few = await explained(penia, "refusals")

    path = penia.gateway.config.ledger.url.removeprefix("sqlite:///")
    with closing(sqlite3.connect(path)) as beside:
        beside.execute(
            "UPDATE refusals SET at = ? WHERE request_id = 'r3'", (iso(penia.gateway.clock.now() - timedelta(days=31)),)
        )
        beside.commit()
    await penia.gateway.ledger.forget_refusals()

    assert [one["request_id"] for one in few["items"]] == ["r3", "r2"]
    assert [one["request_id"] for one in (await explained(penia, "refusals"))["items"]] == ["r2"]


async def test_what_was_booked_without_a_verdict_says_so(start: Start) -> None:
    """A posted record has budgets and no words."""
    penia = await start(budgets=(WIDE,))
    used = {"component": "rhetor", "provider": "openai", "model": "gpt-4o", "cost": 0.5}
    _, record = await penia.api("POST", "/api/v1/usage/record", used)

    said = await explained(penia, f"usage/records/{record['record_id']}/explain")

    assert (said["verdict"], said["reason"]) == (None, "It was booked without a verdict.")
    assert [budget["name"] for budget in said["budgets"]] == ["Wide"]
    assert (await penia.api("GET", "/api/v1/usage/records/r_none/explain"))[0] == 404


class Stopped:
    """A monotonic clock that a test moves."""

    seconds = 1000.0

    def monotonic(self) -> float:
        return self.seconds
