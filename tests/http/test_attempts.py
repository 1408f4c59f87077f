"""Providers that fail are seen to, though their errors bill nothing and leave no record."""

import socket
from contextlib import closing
from typing import Any

import aiohttp
import pytest

from penia_proxy.sandbox.faults import Behaviour
from penia_proxy.watch.attempts import OUTCOMES
from tests.gateways import Running, Start
from tests.http.test_metrics import scraped

FAULTS = {
    "rate_limited": Behaviour(status=429),
    "client_error": Behaviour(status=404),
    "server_error": Behaviour(status=503),
    "timeout": Behaviour(stall_before=True),
    "broken": Behaviour(close_before=True),
}
SHORT: dict[str, Any] = {"timeout_seconds": {"connect": 1, "first_byte": 0.3, "idle": 0.3}}


async def shown(penia: Running, name: str = "openai") -> dict[str, Any]:
    """Return what is said of a provider."""
    _, body = await penia.api("GET", "/api/v1/providers")
    return next(one for one in body["items"] if one["name"] == name)


def counts(**of: int) -> dict[str, int]:
    """Return such counts, and 0 of the others."""
    return {outcome: of.get(outcome, 0) for outcome in OUTCOMES}


@pytest.mark.parametrize("client", ["lean", "aiohttp"])
async def test_attempts_are_counted_by_what_they_came_to(start: Start, client: str) -> None:
    """Each way to fail is told apart, with its time, in the API and as a metric; in an answer as well as before it."""
    penia = await start(providers={"openai": SHORT, "anthropic": {}}, server={"upstream_client": client})
    assert ((await shown(penia))["state"], (await shown(penia))["failure_rate"]) == ("quiet", None)
    await penia.chat()
    assert (await shown(penia))["state"] == "ok"
    for outcome, behaviour in FAULTS.items():
        penia.sandbox.play(behaviour)
        assert (await penia.chat()).status >= 400
        if outcome != "client_error":
            assert (await shown(penia))["last_failure"]["outcome"] == outcome
    for behaviour in (Behaviour(reset_after_bytes=60), Behaviour(stall_after_bytes=60)):
        penia.sandbox.play(behaviour)
        with pytest.raises(aiohttp.ClientPayloadError):
            await penia.chat(stream=True)

    said = await shown(penia)
    expected = counts(ok=1, rate_limited=1, client_error=1, server_error=1, timeout=2, broken=2)
    assert said["attempts"] == dict.fromkeys(("last_5_minutes", "last_hour", "since_start"), expected)
    assert (said["state"], said["failure_rate"]) == ("failing", 6 / 8)
    assert said["last_failure"]["outcome"] == "timeout"
    assert (await shown(penia, "anthropic"))["attempts"]["since_start"] == counts()
    series = (await scraped(penia))["penia_provider_attempts_total"]
    assert {
        dict(labels)["outcome"]: number for labels, number in series.items() if ("provider", "openai") in labels
    } == expected


async def test_who_is_not_there_is_unreachable(start: Start) -> None:
    """A provider that takes no connection, and one that takes no WebSocket."""
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
    penia = await start(providers={"openai": {"base_url": f"http://127.0.0.1:{port}", "format": "openai"}})
    assert (await penia.chat()).status == 502
    with pytest.raises(aiohttp.WSServerHandshakeError):
        await penia.session.ws_connect(f"{penia.url}/openai/v1/responses")

    assert (await shown(penia))["attempts"]["since_start"] == counts(unreachable=2)
