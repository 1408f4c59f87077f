"""Checks: the verdict a call would get, and nothing held for it."""

from typing import Any

import pytest

from penia_proxy.api.services import Services
from tests.api.client import Api

PATHS = ["/check", "/budgets/check"]


@pytest.mark.parametrize("path", PATHS)
async def test_a_cost_that_fits_is_allowed(api: Api, path: str) -> None:
    """A cost within every limit is `allow`, with each budget's figures and its own word."""
    budget_id = await api.budget(daily_limit=5)

    answer = await api.post(path, {"component": "rhetor", "estimated_cost": 0.1})

    assert answer.status == 200
    assert answer.body == {
        "verdict": "allow",
        "allowed": True,
        "reason": answer.body["reason"],
        "code": None,
        "estimated_cost": 0.1,
        "budgets": [
            {
                "budget_id": budget_id,
                "name": "Default",
                "period": "daily",
                "limit": 5.0,
                "spent": 0.0,
                "held": 0.0,
                "remaining": 5.0,
                "window_end": "2026-11-24T00:00:00.000000Z",
                "verdict": "allow",
            }
        ],
        "cheaper": None,
    }


async def test_a_check_holds_nothing(api: Api, services: Services) -> None:
    """However often it is asked, nothing is held, spent or written down."""
    budget_id = await api.budget(daily_limit=5, enforcement="block")
    for _ in range(3):
        await api.post("/check", {"component": "rhetor", "estimated_cost": 4})

    (daily,) = (await api.get(f"/budgets/{budget_id}/summary")).body
    assert (daily["held"], daily["spent"], daily["request_count"]) == (0.0, 0.0, 0)
    assert (services.ledger.queue_depth, services.ledger.holds_open) == (0, 0)


@pytest.mark.parametrize(
    ("enforcement", "verdict", "allowed", "code"),
    [("block", "block", False, "budget_exceeded"), ("warn", "warn", True, None), ("track", "allow", True, None)],
)
async def test_a_cost_that_does_not_fit(
    api: Api, enforcement: str, verdict: str, allowed: bool, code: str | None
) -> None:
    """Above the limit, the enforcement decides, and the answer is a 200 all the same."""
    await api.budget(daily_limit=1, enforcement=enforcement)

    answer = await api.post("/check", {"component": "rhetor", "estimated_cost": 2})

    assert answer.status == 200
    assert (answer.body["verdict"], answer.body["allowed"], answer.body["code"]) == (verdict, allowed, code)


async def test_a_check_sees_what_was_just_spent(api: Api) -> None:
    """A record that was acknowledged counts in the next verdict."""
    await api.budget(daily_limit=1, enforcement="block")
    await api.record(cost=0.6)

    assert (await api.post("/check", {"component": "rhetor", "estimated_cost": 0.4})).body["allowed"]
    assert not (await api.post("/check", {"component": "rhetor", "estimated_cost": 0.41})).body["allowed"]


async def test_without_budgets_all_is_allowed(api: Api) -> None:
    """Where nothing limits, the answer has the same shape and no budgets."""
    answer = await api.post("/check", {"component": "rhetor", "estimated_cost": 100})

    assert (answer.body["verdict"], answer.body["budgets"]) == ("allow", [])


async def test_only_budgets_that_cover_the_call_speak(api: Api) -> None:
    """Scopes are asked about component, provider, model and tags."""
    covering = await api.budget(name="a", daily_limit=1, scope={"models": ["gpt-*"], "tags": {"team": "search"}})
    await api.budget(name="b", daily_limit=1, scope={"components": ["apollo"]})
    asked = {"component": "rhetor", "provider": "openai", "model": "gpt-4o", "tags": {"team": "search"}}

    answer = await api.post("/check", {**asked, "estimated_cost": 0.1})

    assert [word["budget_id"] for word in answer.body["budgets"]] == [covering]


async def test_tokens_are_priced(api: Api) -> None:
    """Provider, model and tokens are as good as a cost: what a `never` budget holds is the most it can be."""
    await api.budget(daily_limit=50, enforcement="block", overrun="never")
    asked = {"component": "rhetor", "provider": "openai", "model": "gpt-4o"}

    answer = await api.post("/check", {**asked, "input_tokens": 1_000_000, "max_output_tokens": 100_000})

    cost = await api.post(
        "/prices/calculate",
        {"provider": "openai", "model": "gpt-4o", "input_tokens": 1_000_000, "output_tokens": 100_000},
    )
    assert answer.body["estimated_cost"] >= cost.body["total_cost"]
    assert answer.body["allowed"] is True


async def test_the_output_expected_is_the_components_habit(api: Api, services: Services) -> None:
    """Without a cap, a `finish` budget expects what the component usually writes, as a call would."""
    await api.budget(daily_limit=5)
    asked = {"component": "rhetor", "provider": "openai", "model": "gpt-4o", "input_tokens": 10}
    cold = (await api.post("/check", asked)).body["estimated_cost"]
    services.habit.observe("rhetor", "gpt-4o", 10)

    assert (await api.post("/check", asked)).body["estimated_cost"] < cold


async def test_text_is_bounded_by_its_bytes(api: Api) -> None:
    """A text counts as many tokens as it has bytes in UTF-8, and is not kept or repeated."""
    await api.budget(daily_limit=5)
    asked = {"component": "rhetor", "provider": "openai", "model": "gpt-4o", "max_output_tokens": 1}

    text = await api.post("/check", {**asked, "input_text": "dröge Ärzte" * 100})
    tokens = await api.post("/check", {**asked, "input_tokens": 1300})

    assert text.body == tokens.body
    assert "dröge" not in str(text.body)


async def test_a_name_that_says_no_model_is_priced_as_the_configuration_says(api: Api) -> None:
    """A deployment costs what its model costs, in a check, in the price list and on a posted record."""
    size = {"component": "c", "provider": "house", "input_tokens": 1000, "max_output_tokens": 100}
    named, meant = [await api.post("/check", {**size, "model": model}) for model in ("our-deployment", "gpt-4o")]
    listed = await api.get("/prices", provider="house", model="our-deployment")
    record = await api.record(provider="house", model="our-deployment", cost=None, input_tokens=1_000_000)

    assert named.body["estimated_cost"] == meant.body["estimated_cost"] is not None
    assert [line["model"] for line in listed.body["items"]] == ["gpt-4o"]
    # gpt-4o: $2.50 a million.
    assert (record["model"], record["cost"]) == ("our-deployment", 2.5)


async def test_a_providers_catalogue_name_is_used(api: Api) -> None:
    """A provider of config.yaml is priced under the name that it has in the catalogue."""
    answer = await api.post(
        "/check", {"component": "rhetor", "provider": "house", "model": "gpt-4o", "input_tokens": 1000}
    )

    assert answer.body["estimated_cost"] > 0


@pytest.mark.parametrize(
    ("enforcement", "verdict", "code"), [("block", "block", "unpriced_model"), ("warn", "warn", None)]
)
async def test_a_model_without_price(api: Api, enforcement: str, verdict: str, code: str | None) -> None:
    """No price: the cost is null, never 0, and the budget's `unpriced` rule decides."""
    await api.budget(daily_limit=5, enforcement=enforcement)

    answer = await api.post(
        "/check", {"component": "rhetor", "provider": "openai", "model": "no-such-model", "input_tokens": 5}
    )

    assert (answer.body["verdict"], answer.body["code"], answer.body["estimated_cost"]) == (verdict, code, None)


async def test_a_call_without_bound_is_refused_by_a_budget_that_needs_one(
    api: Api, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where no cap, no stated maximum and no window bounds the output, a `never` budget says `unbounded_call`."""
    from dataclasses import replace

    card = services.prices.card("openai", "gpt-4o", services.clock.now())
    assert card is not None
    boundless = replace(card, context_window=None)
    monkeypatch.setattr(type(services.prices), "card", lambda *_, **__: boundless)
    monkeypatch.setattr(type(services.prices), "facts", lambda *_: None)
    await api.budget(daily_limit=5, enforcement="block", overrun="never")

    answer = await api.post(
        "/check", {"component": "rhetor", "provider": "openai", "model": "gpt-4o", "input_tokens": 5}
    )

    assert (answer.body["verdict"], answer.body["code"]) == ("block", "unbounded_call")


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"component": "rhetor"},
        {"component": "rhetor", "provider": "openai", "model": "gpt-4o"},
        {"component": "rhetor", "model": "gpt-4o", "input_tokens": 5},
        {"component": "rhetor", "estimated_cost": 1, "input_tokens": 5},
        {"component": "rhetor", "estimated_cost": -1},
        {"component": "", "estimated_cost": 1},
        {"component": "rhetor", "provider": "openai", "model": "gpt-4o", "input_tokens": 5, "input_text": "x"},
        {"component": "rhetor", "provider": "openai", "model": "gpt-4o", "input_tokens": -5},
        {"component": "rhetor", "provider": "openai", "model": "gpt-4o", "input_tokens": 5, "max_output_tokens": 0},
        {"component": "rhetor", "estimated_cost": 1, "cost": 1},
    ],
)
async def test_a_check_that_says_too_little_or_too_much(api: Api, body: dict[str, Any]) -> None:
    """Neither form, both forms, or wrong figures are a 422."""
    answer = await api.post("/check", body)

    assert (answer.status, answer.code) == (422, "invalid_fields")


async def test_what_would_fit_is_said(api: Api, services: Services) -> None:
    """A refused call hears of the cheapest model of its provider that does the same; what passes hears of none."""
    await api.budget(daily_limit=0.01, enforcement="block")
    asked = {"component": "rhetor", "provider": "house", "model": "gpt-4o", "input_tokens": 20_000}
    asked["max_output_tokens"] = 500
    refused = (await api.post("/check", asked)).body
    passing = (await api.post("/check", {**asked, "input_tokens": 20})).body

    cheaper = refused["cheaper"]
    assert (refused["verdict"], passing["verdict"], passing["cheaper"]) == ("block", "allow", None)
    own, other = services.facts("house", "gpt-4o"), services.facts("house", cheaper["model"])
    assert own is not None
    assert other is not None
    assert own.capabilities <= other.capabilities | {"prompt_caching"}
    again = (await api.post("/check", {**asked, "model": cheaper["model"]})).body
    assert (again["verdict"], again["estimated_cost"]) == ("allow", cheaper["estimated_cost"])
    unfit = {**asked, "input_tokens": 200_000, "max_output_tokens": 120_000}
    found = (await api.post("/check", unfit)).body["cheaper"]
    assert found is None or services.facts("house", found["model"]).output_tokens_max >= 120_000  # type: ignore[union-attr]


@pytest.mark.parametrize("model", ["text-embedding-3-large", "no-such-model", "our-deployment"])
async def test_what_would_fit_is_not_guessed(api: Api, model: str) -> None:
    """Embeddings of another model are others, of what nothing is stated nothing follows, and too much fits nowhere."""
    await api.budget(daily_limit=0.001, enforcement="block")
    asked = {"component": "rhetor", "provider": "house", "model": model, "input_tokens": 100_000}
    body = (await api.post("/check", {**asked, "max_output_tokens": 1})).body

    assert body["verdict"] == "block"
    assert body["cheaper"] is None


async def test_what_would_fit_has_budgets_of_its_own(api: Api) -> None:
    """A budget over the cheapest model counts, too: the next one that fits is named."""
    await api.budget(daily_limit=0.02, enforcement="block")
    asked = {"component": "rhetor", "provider": "house", "model": "gpt-4o", "input_tokens": 20_000}
    asked["max_output_tokens"] = 500
    first = (await api.post("/check", asked)).body["cheaper"]["model"]
    await api.budget(name="Other", daily_limit=0, enforcement="block", scope={"models": [first]})
    second = (await api.post("/check", asked)).body["cheaper"]["model"]

    assert second != first
