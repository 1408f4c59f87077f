"""What the past would have cost at another model: record by record, at the prices of each record's day."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from penia_proxy.api import what_if
from penia_proxy.api.services import Services
from penia_proxy.budget.bill import PARTS
from penia_proxy.budget.money import usd
from penia_proxy.budget.usage import Usage
from tests.api.client import NOON, Api
from tests.ledger.making import record

MONTHS = {"start_date": "2026-05-01", "end_date": "2026-11-30"}


async def test_each_record_is_priced_by_itself_at_its_own_day(api: Api, services: Services) -> None:
    """A tier begins at a call's own input, and a price that has changed since is the old one for old calls."""
    usages = [Usage(input=150_000, cache_read=20_000, output=900), Usage(input=250_000, output=100), Usage(input=3)]
    expected = 0
    for number, usage in enumerate(usages):
        at = NOON - timedelta(days=60 * number)
        one = replace(record(f"r_{number}"), usage=usage, timestamp=at, cost_nanos=10**9, budget_ids=())
        await services.ledger.append(replace(one, model="gpt-4o-2024-11-20"), "")
        card = services.card("google", "gemini-2.5-pro", at)
        assert card is not None
        expected += card.price(usage).total_nanos
    await services.ledger.append(replace(record("other"), budget_ids=(), component="apollo"), "")

    asked = {**MONTHS, "from_model": "gpt-4o", "to_model": "gemini-2.5-pro", "to_provider": "google"}
    body = (await api.post("/prices/what_if", {**asked, "component": "rhetor"})).body

    assert (body["records"], body["compared"], body["models"]) == (3, 3, ["gpt-4o-2024-11-20"])
    assert (body["actual_cost"], body["what_if_cost"]) == (3.0, usd(expected))
    assert body["savings"] == pytest.approx(3.0 - usd(expected), abs=1e-9)
    assert (await api.post("/prices/what_if", asked)).body["records"] == 4


async def test_what_happened_includes_corrections(api: Api, services: Services) -> None:
    """The money and the tokens of a correction count with the record that it corrects."""
    one = replace(record("r_1"), usage=Usage(input=1_000), cost_nanos=5_000, budget_ids=(), cost_basis="estimated")
    await services.ledger.append(one, "")
    more = replace(one, record_id="r_2", usage=Usage(input=-400, output=50), cost_nanos=-2_000, corrects="r_1")
    await services.ledger.append(more, "")
    card = services.card("openai", "gpt-4o-mini", NOON)
    assert card is not None

    body = (await api.post("/prices/what_if", {**MONTHS, "from_model": "gpt-4o", "to_model": "gpt-4o-mini"})).body

    assert (body["records"], body["actual_cost"]) == (1, 3e-6)
    assert body["what_if_cost"] == usd(card.price(Usage(input=600, output=50)).total_nanos)


async def test_what_cannot_be_compared_is_said(api: Api, services: Services) -> None:
    """Records without a cost, sums of answers, and what the other model has no price for are counted by why."""
    usual = replace(record("r"), usage=Usage(input=1_000), budget_ids=())
    for one in (
        replace(usual, record_id="r_1"),
        replace(usual, record_id="r_2", cost_basis="unpriced", cost_nanos=None, input_cost_nanos=None),
        replace(usual, record_id="r_3", metadata={PARTS: 2}),
        replace(usual, record_id="r_4", usage=Usage(input=1_000, units={"web_searches": 2})),
    ):
        await services.ledger.append(one, "")
    asked = {**MONTHS, "from_model": "gpt-4o", "to_model": "claude-haiku-4-5", "to_provider": "anthropic"}
    priced = (await api.post("/prices/what_if", asked)).body
    other = (
        await api.post("/prices/what_if", {**asked, "to_provider": "google", "to_model": "gemini-2.0-flash-lite"})
    ).body
    nobody = (await api.post("/prices/what_if", {**asked, "to_model": "no-such-model"})).body

    assert priced["not_compared"] | other["not_compared"] == {
        "several_answers": 1,
        "unpriced": 1,
        "usage_not_priced": 1,
    }
    assert other["compared"] == 1
    assert (nobody["compared"], nobody["savings_percent"]) == (0, None)
    assert nobody["not_compared"] == {"no_price": 2, "several_answers": 1, "unpriced": 1}


async def test_more_than_can_be_priced_is_refused(
    api: Api, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sample would not be exact: fewer days are asked for. What is just within is read in pieces, to the last."""
    monkeypatch.setattr(what_if, "RECORDS_MAX", 7)
    monkeypatch.setattr(what_if, "PIECE", 3)
    for number in range(8):
        await services.ledger.append(replace(record(f"r_{number}"), budget_ids=()), "")
        asked = {**MONTHS, "from_model": "gpt-4o", "to_model": "gpt-4o-mini"}
        answer = await api.post("/prices/what_if", asked)
        assert (answer.status, answer.body.get("records")) == ((200, number + 1) if number < 7 else (400, None))


@pytest.mark.parametrize("wrong", [{"start_date": "2026-12-01"}, {"from_model": ""}, {"to_model": None}])
async def test_a_wrong_question_is_refused(api: Api, wrong: dict[str, Any]) -> None:
    """What cannot be meant is a 422."""
    body = {**MONTHS, "from_model": "gpt-4o", "to_model": "gpt-4o-mini", **wrong}

    assert (await api.post("/prices/what_if", body)).status == 422
