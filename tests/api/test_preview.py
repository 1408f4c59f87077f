"""What a scope would have covered: the calls of the last week, as a verdict would match them."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from penia_proxy.api import preview
from penia_proxy.api.services import Services
from tests.api.client import NOON, Api
from tests.ledger.making import record


@pytest.fixture
async def week(services: Services) -> None:
    """Five calls of the last week, one before it, and a correction."""
    usual = replace(record("r"), budget_ids=(), component="rhetor", provider="openai", cost_nanos=10**9)
    for one in (
        replace(usual, record_id="r_1", model="gpt-4o-2024-08-06", metadata={"model_requested": "gpt-4o"}),
        replace(usual, record_id="r_2", model="gpt-4o-mini", tags={"team": "search"}),
        replace(usual, record_id="r_3", component="agent-1", cost_nanos=None, cost_basis="unpriced"),
        replace(usual, record_id="r_4", component="agent-2", provider="anthropic", model="claude-haiku-4-5"),
        replace(usual, record_id="r_5", component="agent-2", tags={"team": "sales", "run": "7"}),
        replace(usual, record_id="r_6", timestamp=NOON - timedelta(days=8)),
        replace(usual, record_id="r_7", corrects="r_1", cost_nanos=-(10**8)),
    ):
        await services.ledger.append(one, "")


async def _asked(api: Api, **scope: Any) -> dict[str, Any]:
    answer = await api.post("/budgets/preview", {"scope": scope})
    assert answer.status == 200
    body: dict[str, Any] = answer.body
    return body


async def test_a_scope_matches_as_a_verdict_would(api: Api, week: None) -> None:
    """By globs of what was asked for, not of what was served; calls before the week and corrections are no calls."""
    everything = await _asked(api)
    assert (everything["calls"], everything["cost"], everything["looked_at"], everything["is_whole"]) == (5, 4, 5, True)
    assert everything["components"][0]["calls"] == 2

    assert (await _asked(api, components=["agent-*"]))["calls"] == 3
    assert (await _asked(api, models=["gpt-4o"]))["models"] == [{"name": "gpt-4o", "calls": 3}]
    assert (await _asked(api, models=["gpt-4o-2024-08-06"]))["calls"] == 0
    assert (await _asked(api, tags={"team": "s*"}))["calls"] == 2
    assert (await _asked(api, components=["agent-*"], providers=["anthropic"]))["calls"] == 1
    assert (await _asked(api, components=["nobody"]))["components"] == []


async def test_what_is_looked_at_has_an_end(api: Api, week: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a busy week the newest calls are looked at, and it says so."""
    monkeypatch.setattr(preview, "CALLS_MAX", 3)

    body = await _asked(api)

    assert (body["calls"], body["looked_at"], body["is_whole"]) == (3, 3, False)
