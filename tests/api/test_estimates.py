"""How good estimates are, over HTTP."""

import pytest

from penia_proxy.api.services import Services
from penia_proxy.budget.calibration import SAMPLES_MIN, Outcome
from tests.api.client import Api


@pytest.fixture
def seen(services: Services) -> None:
    """Let two models have been called: estimated at 1,000 tokens and 50 nano-dollars, and come out at a quarter."""
    for provider, model in (("openai", "gpt-4o"), ("house", "gpt-4o")):
        for _ in range(SAMPLES_MIN):
            outcome = Outcome(
                1_000, 1_000, counted=False, expected_nanos=50, plain_nanos=80, input_tokens=250, cost_nanos=40
            )
            services.calibration.observe(provider, model, outcome)


async def test_without_calls_nothing_is_known(api: Api) -> None:
    """The list is empty, and says so in its usual shape."""
    assert (await api.get("/estimates")).body == {"items": [], "total": 0, "page": 1, "limit": 20}


async def test_errors_and_factors_are_shown(api: Api, seen: None) -> None:
    """Estimated ÷ reported of tokens and money, and what is now applied."""
    answer = (await api.get("/estimates", provider="openai", model="gpt-4o")).body

    assert answer["items"] == [
        {
            "provider": "openai",
            "model": "gpt-4o",
            "input_tokens": {"samples": SAMPLES_MIN, "p50": 4, "p95": 4},
            "cost": {"samples": SAMPLES_MIN, "p50": 1.25, "p95": 1.25},
            "bytes_factor": 0.25,
            "counted_factor": 1,
            "cost_factor": 0.5,
        }
    ]


async def test_the_list_pages(api: Api, seen: None) -> None:
    """By provider and model; `total` counts all."""
    second = (await api.get("/estimates", limit=1, page=2)).body

    assert ([item["provider"] for item in second["items"]], second["total"]) == (["openai"], 2)
    assert (await api.get("/estimates", model="none")).body["total"] == 0
