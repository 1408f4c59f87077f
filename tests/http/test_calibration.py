"""Calls teach the gateway what to expect of the next."""

from decimal import Decimal

from penia_proxy.budget.calibration import SAMPLES_MIN
from tests.gateways import Start


async def test_the_hold_approaches_the_cost(start: Start) -> None:
    """After a few reported calls less is held for the same request, and the API says how good that is."""
    penia = await start(budgets=({"name": "Default", "daily_limit": 5.0},))

    held = []
    for _ in range(SAMPLES_MIN + 1):
        answer = await penia.chat()
        assert answer.status == 200
        held.append(Decimal(answer.headers["X-Penia-Estimated-Cost"]))

    assert held[-1] < held[0]
    assert held[-1] >= Decimal(answer.headers["X-Penia-Cost"])
    status, listed = await penia.api("GET", "/api/v1/estimates")
    (line,) = listed["items"]
    assert (status, line["provider"], line["input_tokens"]["samples"]) == (200, "openai", SAMPLES_MIN + 1)
    assert line["bytes_factor"] < 1
