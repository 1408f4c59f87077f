"""Prices over HTTP."""

from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from penia_proxy.api.services import Services
from penia_proxy.budget.money import usd
from penia_proxy.budget.prices import PriceBook
from penia_proxy.budget.usage import Usage
from tests.api.client import Api


async def test_a_price_is_shown_per_token(api: Api, services: Services) -> None:
    """One model's price: USD per token as people compare it, and every price as the catalogue keys it."""
    answer = await api.post("/prices/current", {"provider": "openai", "model": "gpt-4o"})

    card = services.prices.card("openai", "gpt-4o", services.clock.now())
    assert card is not None
    assert answer.status == 200
    assert answer.body["input_cost_per_token"] * 1_000_000 == pytest.approx(float(card.prices["input_mtok"].base))
    assert answer.body["prices"]["output_mtok"] == {
        "cost": float(card.prices["output_mtok"].base),
        "per": 1_000_000,
        "tiers": [],
    }
    assert (answer.body["context_window"], answer.body["version"]) == (card.context_window, services.prices.version)


async def test_tiers_are_shown(api: Api) -> None:
    """A price that depends on the size of the input says from where on."""
    answer = await api.post("/prices/current", {"provider": "google", "model": "gemini-2.5-pro"})

    (tier,) = answer.body["prices"]["input_mtok"]["tiers"]
    assert (tier["above"], tier["cost"] > answer.body["prices"]["input_mtok"]["cost"]) == (200_000, True)


async def test_the_list_pages_and_filters(api: Api) -> None:
    """The list is by provider and model, `total` counts all, and filters narrow it."""
    everything = (await api.get("/prices", limit=100)).body
    openai = (await api.get("/prices", provider="openai", limit=100)).body
    one = (await api.get("/prices", provider="openai", model="gpt-4o")).body

    assert everything["total"] > openai["total"] > 1
    assert {item["provider"] for item in openai["items"]} == {"openai"}
    keys = [(item["provider"], item["model"]) for item in everything["items"]]
    assert keys == sorted(keys)
    assert [item["model"] for item in one["items"]] == ["gpt-4o"]
    assert (await api.get("/prices", model="no-such-model")).body == {"items": [], "total": 0, "page": 1, "limit": 20}
    assert (await api.get("/prices", provider="nobody")).body["total"] == 0


async def test_a_provider_of_ours_is_listed_by_its_catalogue_name(api: Api) -> None:
    """A provider that config.yaml gives another catalogue name has that one's prices."""
    house = (await api.get("/prices", provider="house")).body

    assert house["total"] == (await api.get("/prices", provider="openai")).body["total"]


async def test_a_dated_name_is_found(api: Api) -> None:
    """A model's other names are found, too."""
    answer = await api.get("/prices", provider="openai", model="gpt-4o-mini-2024-07-18")

    assert answer.body["total"] == 1


async def test_calculate_splits_input_and_output(api: Api) -> None:
    """The total is input and output, cached input costs less, and nothing is rounded away."""
    asked = {"provider": "openai", "model": "gpt-4o", "input_tokens": 1000, "output_tokens": 10}
    plain = (await api.post("/prices/calculate", asked)).body
    cached = (await api.post("/prices/calculate", {**asked, "cache_read_tokens": 900})).body

    assert plain["total_cost"] == pytest.approx(plain["input_cost"] + plain["output_cost"])
    assert 0 < cached["input_cost"] < plain["input_cost"]
    assert cached["output_cost"] == plain["output_cost"]


@pytest.mark.parametrize("path", ["/prices/current", "/prices/calculate"])
async def test_a_price_that_is_not_known_is_not_found(api: Api, path: str) -> None:
    """404, never a price of 0."""
    body = {"provider": "openai", "model": "no-such-model"} | ({"input_tokens": 1} if "calc" in path else {})

    assert ((await api.post(path, body)).status, (await api.post(path, body)).code) == (404, "not_found")


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/prices/current", {"provider": "openai"}),
        ("/prices/current", {"provider": "openai", "model": "x", "input_tokens": 1}),
        ("/prices/calculate", {"provider": "openai", "model": "gpt-4o"}),
        ("/prices/calculate", {"provider": "openai", "model": "gpt-4o", "input_tokens": -1}),
        ("/prices/calculate", {"provider": "openai", "model": "gpt-4o", "input_tokens": 1, "cache_read_tokens": 2}),
    ],
)
async def test_a_wrong_question_is_refused(api: Api, path: str, body: dict[str, Any]) -> None:
    """Missing, unknown and contradictory fields are a 422."""
    assert (await api.post(path, body)).status == 422


async def test_history_is_what_the_book_says_of_each_day(api: Api, services: Services) -> None:
    """Stretches follow each other without gaps, and a price in them is that of a call made then."""
    items = (await api.get("/prices/history/openai/gpt-4o-mini")).body["items"]
    dated = (await api.get("/prices/history/house/our-deployment")).body["items"]

    changing = (await api.get("/prices/history/anthropic/claude-opus-4-6")).body["items"]
    assert len(changing) > 1
    for earlier, later in pairwise(changing):
        assert earlier["end_date"] == later["start_date"]
        assert earlier["prices"] != later["prices"] or earlier["varies"] != later["varies"]
    assert changing[-1]["end_date"] is None
    for item in changing:
        if item["start_date"] is not None:
            start = datetime.fromisoformat(item["start_date"]).replace(tzinfo=UTC)
            card = services.prices.card("anthropic", "claude-opus-4-6", start)
            assert card is not None
            assert {key: float(rate.base) for key, rate in card.prices.items()} == {
                key: price["cost"] for key, price in item["prices"].items()
            }
    assert items[-1]["model"] == "gpt-4o-mini"
    assert dated[-1]["model"] == "gpt-4o"
    assert (await api.get("/prices/history/openai/no-such-model")).status == 404
    assert (await api.get("/prices/history/openrouter/" + "openai%2Fgpt-4o")).status == 200


async def test_refresh_says_whether_anything_changed(api: Api, services: Services, tmp_path: Path) -> None:
    """The version before and after; what cannot be read leaves the prices as they were."""
    before = services.prices
    other = PriceBook.load(tmp_path)

    async def read() -> None:
        services.prices = other

    services.refresh = read
    first, second = (await api.post("/prices/refresh")).body, (await api.post("/prices/refresh")).body

    assert first == {"changed": True, "version": other.version, "previous_version": before.version}
    assert second == {"changed": False, "version": other.version, "previous_version": other.version}


async def test_details_are_all_that_is_known(api: Api, services: Services) -> None:
    """Each unit with its source, each tier with what an example costs there, as the card itself would say."""
    answer = await api.get("/prices/details", model="gemini-2.5-pro", input_tokens="10000", output_tokens="1000")

    (item,) = answer.body["items"]
    assert (item["provider"], item["by_name"], item["source"]) == ("google", True, "override")
    standard = item["contexts"][0]
    assert {key: price["source"] for key, price in standard["prices"].items()} == {
        "input_mtok": "catalogue",
        "cache_read_mtok": "catalogue",
        "output_mtok": "catalogue",
        "web_searches_kcount": "catalogue",
        "map_searches_kcount": "override",
    }
    assert standard["prices"]["input_mtok"]["tiers"][0]["above"] == 200_000
    card = services.prices.card("google", "gemini-2.5-pro", services.clock.now())
    assert card is not None
    for context in item["contexts"]:
        usage = Usage(input=10_000, output=1_000, service_tier=context["service_tier"])
        assert context["example_cost"] == usd(card.price(usage).total_nanos)
    assert {context["service_tier"] for context in item["contexts"]} == {None, "batch", "flex", "priority"}
    assert all(entry["applies"] and entry["source"] for entry in item["entries"])


async def test_details_are_of_an_instant(api: Api) -> None:
    """An entry that begins later does not apply before, and is shown all the same."""
    found = []
    for at in ("2026-11-23", "2026-11-24"):
        answer = await api.get("/prices/details", model="gpt-5-mini", provider="openai", at=at)
        (item,) = answer.body["items"]
        (entry,) = [one for one in item["entries"] if "code_executions_kcount" in one["prices"]]
        found.append((entry["applies"], "code_executions_kcount" in item["contexts"][0]["prices"]))
        assert [stretch["start_date"] for stretch in item["history"]] == [None, "2026-11-24"]

    assert found == [(False, False), (True, True)]


async def test_details_ask_whoever_knows_the_name(api: Api) -> None:
    """A deployment of ours by its own name; a model that no provider of ours has, at those who sell it."""
    ours = await api.get("/prices/details", model="our-deployment")
    elsewhere = await api.get("/prices/details", model="llama-3.3-70b-versatile")
    any_name = await api.get("/prices/details", model="my-own-model", provider="ollama")
    spoken = await api.get("/prices/details", model="whisper-large-v3", provider="groq")

    (item,) = ours.body["items"]
    assert (item["provider"], item["catalogue"], item["model"]) == ("house", "openai", "gpt-4o")
    assert [one["provider"] for one in elsewhere.body["items"]] == ["groq"]
    (item,) = any_name.body["items"]
    assert (item["by_name"], item["contexts"][0]["example_cost"]) == (False, 0)
    (item,) = spoken.body["items"]
    assert (item["contexts"][0]["example_cost"], item["at_least"]) == (None, {"input_audio_seconds": 10})
    assert (await api.get("/prices/details", model="no-such-model")).status == 404
