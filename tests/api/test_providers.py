"""How the configured providers have been, by the records of their calls."""

from dataclasses import replace
from datetime import timedelta

from penia_proxy.api.services import Services
from penia_proxy.config import ProviderConfig
from tests.api.client import NOON, Api
from tests.ledger.making import record


async def test_providers_are_as_their_newest_calls_were(api: Api, services: Services) -> None:
    """Counts and medians are of the last hour; the last call is of any time; an address ends with its host."""
    secret = "https://api.example.com:8443/v1/tenant-key"
    services.config.providers["other"] = ProviderConfig(base_url=secret, format="openai")
    usual = replace(record("r"), budget_ids=(), provider="house", timestamp=NOON - timedelta(minutes=5))
    for one in (
        replace(usual, record_id="r_1", latency_ms=100.0, ttft_ms=10.0),
        replace(usual, record_id="r_2", latency_ms=300.0, ttft_ms=None),
        replace(usual, record_id="r_3", latency_ms=9_000.0, status="timeout"),
        replace(usual, record_id="r_4", status="disconnected"),
        replace(usual, record_id="r_5", timestamp=NOON - timedelta(hours=2)),
        replace(usual, record_id="r_6", provider="other", timestamp=NOON - timedelta(days=1)),
    ):
        await services.ledger.append(one, "")

    body = (await api.get("/providers")).body

    house, other = body["items"]
    assert (house["name"], house["calls"], house["broken"], house["left"]) == ("house", 4, 1, 1)
    assert (house["latency_ms"], house["ttft_ms"]) == (200.0, 10.0)
    assert house["last_call_at"] == "2026-11-23T11:55:00.000000Z"
    assert (other["name"], other["address"], other["calls"], other["latency_ms"]) == (
        "other",
        "https://api.example.com:8443",
        0,
        None,
    )
    assert other["last_call_at"] == "2026-11-22T12:00:00.000000Z"
    assert "tenant-key" not in str(body)
