"""A provider whose calls stay in one place is held and billed at that place's price."""

from decimal import Decimal

import pytest

from tests.gateways import KEYS, Start
from tests.http.desk import before, call, desk

BODY = {"model": "gpt-5.4-mini", "max_completion_tokens": 20, "messages": [{"role": "user", "content": "hi"}]}
NEVER = {"name": "Hard", "daily_limit": 5.0, "enforcement": "block", "overrun": "never"}


async def test_the_configured_region_sets_the_price(start: Start) -> None:
    """In the bill, in what a `never` budget holds, and in the price that the API shows."""
    penia = await start(
        providers={"anywhere": {"format": "openai", "prices": "openai"},
                   "europe": {"format": "openai", "prices": "openai", "region": "eu"}},
        budgets=(NEVER,),
    )  # fmt: skip

    prices, holds = {}, {}
    for name in ("anywhere", "europe"):
        async with penia.session.post(f"{penia.url}/{name}/v1/chat/completions", json=BODY, headers=KEYS) as answer:
            assert answer.status == 200
            await answer.read()
            holds[name] = Decimal(answer.headers["X-Penia-Estimated-Cost"])
            cost = Decimal(answer.headers["X-Penia-Cost"])
        asked = {"provider": name, "model": BODY["model"]}
        _, price = await penia.api("POST", "/api/v1/prices/current", asked)
        prices[name] = price["prices"]["input_mtok"]["cost"]
        record = await penia.record(answer.headers["X-Penia-Request-Id"])
        assert record is not None
        counts = {key: record[key] for key in ("input_tokens", "output_tokens", "cache_read_tokens")}
        _, calculated = await penia.api("POST", "/api/v1/prices/calculate", {**asked, **counts})
        assert Decimal(repr(calculated["total_cost"])) == cost

    assert prices["europe"] == pytest.approx(1.1 * prices["anywhere"])
    assert holds["europe"] == pytest.approx(Decimal("1.1") * holds["anywhere"], abs=Decimal("1e-8"))


async def test_the_place_that_a_path_asked_for_is_kept(start: Start) -> None:
    """A record says where its path asked to be processed, so that it can be priced again as it was."""
    async with desk() as provider:
        penia = await before(provider, start, "google")
        path = "/v1/projects/p/locations/europe-west4/publishers/google/models/gemini-3.5-flash:generateContent"
        usage = {"promptTokenCount": 1000, "candidatesTokenCount": 100, "totalTokenCount": 1100}
        answer = {
            "candidates": [{"content": {"parts": [{"text": "hi"}]}, "finishReason": "STOP"}],
            "usageMetadata": usage,
            "modelVersion": "gemini-3.5-flash",
        }
        provider.says(f"POST {path}", answer)
        provider.says(f"POST {path.replace('europe-west4', 'global')}", answer)
        for place in ("europe-west4", "global"):
            await call(
                penia,
                f"POST /google{path.replace('europe-west4', place)}",
                {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]},
            )
        everywhere, placed = await penia.records()
        _, again = await penia.api("POST", "/api/v1/prices/reprice", {"since": "2026-11-01"})

        assert placed["cost"] == pytest.approx(1.1 * everywhere["cost"], rel=1e-6)
        assert placed["metadata"]["region"] == "europe-west4"
        assert (again["items"], again["unchanged"]) == ([], 2)
