"""Recommendations over HTTP: from what a component's calls used, at models that can do them."""

from dataclasses import replace
from typing import Any

import pytest

from penia_proxy.api.services import Services
from penia_proxy.budget.bill import PARTS
from penia_proxy.budget.money import usd
from penia_proxy.budget.usage import Usage
from tests.api.client import Api
from tests.ledger.making import record

USAGES = [Usage(input=1_000 + 10 * number, cache_read=500, output=200 + number) for number in range(8)]


async def called(services: Services, usages: list[Usage], prefix: str = "r", **said: Any) -> None:
    """Put calls to gpt-4o at our provider into the ledger."""
    for number, usage in enumerate(usages):
        one = replace(
            record(f"{prefix}_{number}"), usage=usage, provider="house", model="gpt-4o", budget_ids=(), **said
        )
        await services.ledger.append(one, "")


def cost(services: Services, model: str, usages: list[Usage]) -> int:
    """Return what calls come to, by the price book itself."""
    card = services.card("house", model, services.clock.now())
    assert card is not None
    return sum(card.price(usage).total_nanos for usage in usages)


@pytest.mark.parametrize("path", ["/prices/recommend", "/prices/recommendations"])
async def test_models_are_ranked_by_what_the_calls_used(api: Api, services: Services, path: str) -> None:
    """Each call is priced by itself at each model; the answer says how many calls that rests on, and what they are."""
    await called(services, USAGES)
    await called(services, [Usage(input=9)], prefix="guess", cost_basis="unconfirmed")
    await called(services, [Usage(input=9)], prefix="sum", metadata={PARTS: 2})
    await called(services, [Usage(input=9, service_tier="batch")], prefix="batch")

    answer = (await api.post(path, {"component": "rhetor", "limit": 100})).body

    assert (answer["current_provider"], answer["current_model"]) == ("house", "gpt-4o")
    assert answer["current_cost"] == pytest.approx(usd(cost(services, "gpt-4o", USAGES)) / 8, abs=1e-9)
    costs = [item["estimated_cost"] for item in answer["items"]]
    assert costs == sorted(costs)
    by_model = {item["model"]: item for item in answer["items"]}
    mini = by_model["gpt-4o-mini"]
    assert mini["estimated_cost"] == pytest.approx(usd(cost(services, "gpt-4o-mini", USAGES)) / 8, abs=1e-9)
    assert mini["savings"] == pytest.approx(answer["current_cost"] - mini["estimated_cost"], abs=2e-9)
    assert (mini["context_window"], mini["max_output_tokens"]) == (128_000, 16_384)
    assert "gpt-4o" not in by_model
    assert answer["best_match"] == answer["items"][0]
    assert answer["evidence"] == mini["evidence"]
    assert (mini["evidence"]["calls"], mini["evidence"]["input_tokens"]) == (8, 1_535.0)
    assert mini["evidence"]["cache_read_tokens"] == 500.0


async def test_what_a_model_is_not_known_to_do_it_is_not_proposed_for(api: Api, services: Services) -> None:
    """Needs, windows and outputs are held against stated facts; a model without facts is counted and not proposed."""
    await called(services, USAGES)
    asked = {"component": "rhetor", "limit": 100}
    plain = (await api.post("/prices/recommend", asked)).body
    needing = (await api.post("/prices/recommend", {**asked, "needs": ["reasoning"], "min_context": 300_000})).body
    long = (await api.post("/prices/recommend", {**asked, "input_tokens": 10, "output_tokens": 20_000})).body

    assert needing["items"]
    for item in needing["items"]:
        facts = services.facts("house", item["model"])
        assert facts is not None
        assert "reasoning" in facts.capabilities
        assert (facts.context_window or 0) >= 300_000
    assert {item["model"] for item in needing["items"]} < {item["model"] for item in plain["items"]}
    assert needing["left_out"]["incapable"] > 0 < needing["left_out"]["too_small"]
    assert plain["left_out"]["facts_unknown"] > 0 < plain["left_out"]["retired"]
    assert "gpt-4o-mini" not in {item["model"] for item in long["items"]}
    for item in plain["items"]:
        facts = services.facts("house", item["model"])
        assert facts is not None
        assert facts.mode in {"chat", "responses"}


async def test_only_what_is_stated_about_a_model_itself_is_proposed(api: Api, services: Services) -> None:
    """Neither what a sibling can do, nor what has ended, nor a model for sound where nobody speaks."""
    house = services.config.providers["house"]
    google = house.model_copy(update={"format": "google", "prices": "google", "models": {}})
    services.config = services.config.model_copy(update={"providers": {"house": house, "google": google}})
    asked = {"model": "gpt-4o", "input_tokens": 1_000, "output_tokens": 10, "limit": 100}

    items = (await api.post("/prices/recommend", asked)).body["items"]
    spoken = (await api.post("/prices/recommend", {**asked, "needs": ["audio_output"]})).body["items"]

    models = {item["model"]: item for item in items}
    assert {"gpt-4o-mini", "gemini-2.5-pro"} <= set(models)
    assert not set(models) & {
        "gemini-pro",
        "gemini-2.5-flash-preview",
        "gemini-3-pro-preview",
        "gpt-3.5-turbo-0613",
        "gpt-4o-audio-preview",
        "gpt-4o-mini-audio-preview",
        "gpt-audio",
        "gpt-audio-mini",
    }
    for item in items:
        card = services.card(item["provider"], item["model"], services.clock.now())
        assert card is not None
        assert item["context_window"] <= (card.context_window or item["context_window"]), item["model"]
    assert all("audio_output" in item["reason"] for item in spoken)


async def test_what_calls_show_they_need_is_needed(api: Api, services: Services) -> None:
    """Calls that reasoned, or were longer than a window, are not offered models that cannot do so."""
    await called(services, [*USAGES, Usage(input=300_000, output=10, reasoning=50)])

    items = (await api.post("/prices/recommend", {"component": "rhetor", "limit": 100})).body["items"]

    assert items
    assert all(item["context_window"] >= 300_000 and "reasoning" in item["reason"] for item in items)


async def test_the_present_model_is_where_the_money_goes(api: Api, services: Services) -> None:
    """Of several models the dearest in sum is compared, unless another is named; others' calls do not count."""
    await called(services, USAGES, cost_nanos=10)
    dear = replace(record("dear"), usage=Usage(input=5, output=5), provider="house", model="gpt-4.1-2025-04-14")
    await services.ledger.append(replace(dear, cost_nanos=10**9, budget_ids=()), "")
    await called(services, [Usage(input=7)], prefix="other", component="apollo")
    asked = {"component": "rhetor"}

    dearest = (await api.post("/prices/recommend", asked)).body
    named = (await api.post("/prices/recommend", {**asked, "model": "gpt-4o"})).body
    family = (await api.post("/prices/recommend", {**asked, "model": "gpt-4.1"})).body

    assert (dearest["current_model"], dearest["evidence"]["calls"]) == ("gpt-4.1-2025-04-14", 1)
    assert (named["current_model"], named["evidence"]["calls"]) == ("gpt-4o", 8)
    assert family["current_model"] == "gpt-4.1-2025-04-14"


async def test_a_call_of_a_given_size_needs_no_evidence(api: Api, services: Services) -> None:
    """Tokens that are named are priced as one call, and what costs too much is left out."""
    asked = {"model": "gpt-4o", "input_tokens": 10_000, "output_tokens": 100, "limit": 100}
    body = (await api.post("/prices/recommend", asked)).body
    cheap = (await api.post("/prices/recommend", {**asked, "max_cost": 0.002})).body

    assert (body["current_provider"], body["evidence"]) == ("house", None)
    assert body["current_cost"] == usd(cost(services, "gpt-4o", [Usage(input=10_000, output=100)]))
    assert 0 < len(cheap["items"]) < len(body["items"])
    assert max(item["estimated_cost"] for item in cheap["items"]) <= 0.002
    assert cheap["left_out"]["too_dear"] == len(body["items"]) - len(cheap["items"])


async def test_without_calls_nothing_is_recommended(api: Api) -> None:
    """A component that nothing is known about gets no advice, and no figures."""
    body = (await api.post("/prices/recommend", {"component": "nobody", "model": "gpt-4o"})).body

    assert (body["items"], body["best_match"], body["current_cost"], body["evidence"]) == ([], None, None, None)
    assert (body["current_model"], body["optimization_tips"]) == ("gpt-4o", [])


async def test_the_cheapest_already_has_no_best_match(api: Api, services: Services) -> None:
    """Where nothing costs less, the list says what the next ones cost more."""
    offers = (await api.post("/prices/recommend", {"model": "gpt-4o", "input_tokens": 1_000})).body["items"]
    cheapest = offers[0]["model"]

    body = (await api.post("/prices/recommend", {"model": cheapest, "input_tokens": 1_000})).body

    assert body["current_model"] == cheapest
    assert body["best_match"] is None
    assert all(item["savings"] <= 0 for item in body["items"])


@pytest.mark.parametrize(
    ("usage", "said", "tip"),
    [
        (Usage(input=100, cache_write=5_000, output=10), {"model": "claude-sonnet-4-5"}, "none of them read"),
        (Usage(input=1_000, output=10), {}, "can wait, a batch costs"),
        (
            Usage(input=1_000, output=10),
            {"estimated_nanos": 10**9, "cost_nanos": 10**6},
            "1,000 times what it comes to",
        ),
        (Usage(input=1_000, output=10, reasoning=90), {}, "90% of the output is reasoning"),
        (Usage(input=1_000, output=10), {"model": "gpt-4.1-nano"}, "retired by its provider on 20"),
    ],
)
async def test_tips_are_what_the_calls_show(
    api: Api, services: Services, usage: Usage, said: dict[str, Any], tip: str
) -> None:
    """A cache nobody reads, work that can wait, holds far too large, hidden reasoning, an end: each with its figure."""
    model = said.pop("model", "gpt-4o")
    provider = "anthropic" if model.startswith("claude") else "openai"
    one = replace(record("r"), provider=provider, model=model, budget_ids=(), **said)
    tips: list[list[str]] = []
    for number in range(6):
        await services.ledger.append(replace(one, record_id=f"r_{number}", usage=usage), "")
        body = (await api.post("/prices/recommend", {"component": "rhetor"})).body
        tips.append([found for found in body["optimization_tips"] if tip in found])

    assert tips[-1]
    assert bool(tips[0]) == ("retired" in tip)  # one call shows nothing


@pytest.mark.parametrize("body", [{"output_tokens": 5}, {"needs": ["wings"]}, {"limit": 0}, {"max_cost": -1}])
async def test_a_wrong_question_is_refused(api: Api, body: dict[str, Any]) -> None:
    """What cannot be meant is a 422."""
    assert (await api.post("/prices/recommend", body)).status == 422


async def test_a_tier_stays_at_its_provider(api: Api, services: Services) -> None:
    """A dearer tier is compared where the provider has it, and the standard price elsewhere."""
    house = services.config.providers["house"]
    providers = {
        "house": house,
        "google": house.model_copy(update={"format": "google", "prices": "google", "models": {}}),
    }
    services.config = services.config.model_copy(update={"providers": providers})
    dear = [replace(usage, service_tier="priority") for usage in USAGES]
    await called(services, dear)

    body = (await api.post("/prices/recommend", {"component": "rhetor", "limit": 100})).body

    found = {(item["provider"], item["model"]): item["estimated_cost"] for item in body["items"]}
    assert cost(services, "gpt-4o-mini", dear) > cost(services, "gpt-4o-mini", USAGES)
    assert found["house", "gpt-4o-mini"] == pytest.approx(usd(cost(services, "gpt-4o-mini", dear)) / 8, abs=1e-9)
    card = services.card("google", "gemini-2.5-flash", services.clock.now())
    assert card is not None
    standard = sum(card.price(usage).total_nanos for usage in USAGES)
    assert found["google", "gemini-2.5-flash"] == pytest.approx(usd(standard) / 8, abs=1e-9)
