"""
A whole gateway before a sandbox provider, both on loopback.

Its one job: what tests over HTTP start, call and check afterwards. Rule: real sockets, a real SQLite file.
"""

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from typing import Any

import aiohttp

from penia_proxy.app import Gateway
from penia_proxy.budget.money import nanos_of
from penia_proxy.budget.prices import PriceBook
from penia_proxy.budget.usage import BATCH_TIER, Usage
from penia_proxy.clock import SystemClock
from penia_proxy.ledger.verify import verify
from penia_proxy.sandbox import Call, Charge, Sandbox, Tokens

KEYS = {"Authorization": "Bearer made-up", "x-api-key": "made-up"}


@dataclass
class Running:
    """A gateway, the provider behind it, and a client of its API."""

    gateway: Gateway
    sandbox: Sandbox
    session: aiohttp.ClientSession

    @property
    def url(self) -> str:
        return self.gateway.url

    async def api(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """Call the control plane; return status and JSON."""
        async with self.session.request(method, f"{self.url}{path}", json=body) as answer:
            return answer.status, await answer.json()

    async def record(self, request_id: str) -> dict[str, Any] | None:
        status, body = await self.api("GET", f"/api/v1/usage/records/{request_id}")
        return body if status == 200 else None

    async def records(self) -> list[dict[str, Any]]:
        _, body = await self.api("GET", "/api/v1/usage/records?limit=100")
        return body["items"]

    async def chat(self, headers: dict[str, str] | None = None, **members: Any) -> aiohttp.ClientResponse:
        """Send a small OpenAI chat call and read its answer to the end."""
        body = {"model": "gpt-4o-mini", "max_tokens": 50, "messages": [{"role": "user", "content": "hi"}], **members}
        answer = await self.session.post(
            f"{self.url}/openai/v1/chat/completions", json=body, headers={**KEYS, **(headers or {})}
        )
        await answer.read()
        return answer

    async def messages(self, headers: dict[str, str] | None = None, **members: Any) -> aiohttp.ClientResponse:
        """Send a small Anthropic call and read its answer to the end."""
        body = {
            "model": "claude-sonnet-4-5",
            "max_tokens": 50,
            "messages": [{"role": "user", "content": "hi"}],
            **members,
        }
        answer = await self.session.post(
            f"{self.url}/anthropic/v1/messages", json=body, headers={**KEYS, **(headers or {})}
        )
        await answer.read()
        return answer


def billed_nanos(penia: Running) -> int:
    """Return what the provider's own count comes to at the catalogue's prices: of answers, and of work begun."""
    return sum(bill_of(call) for call in penia.sandbox.calls)


def bill_of(call: Call) -> int:
    """Return what one call's whole answer is billed, and what it began."""
    own = Tokens(
        input=call.input_tokens,
        cache_read=call.cache_read_tokens,
        cache_write_5m=call.cache_write_5m_tokens,
        cache_write_1h=call.cache_write_1h_tokens,
        output=call.output_tokens,
        reasoning=call.reasoning_tokens,
        searches=call.searches,
    )
    total = 0
    charges = [Charge(key="", served_model=call.served_model, tokens=own, service_tier=call.service_tier)]
    for charge in (*(charges if own != Tokens() else ()), *call.later):
        catalogue = CATALOGUES.get(call.provider, call.provider)
        card = _prices().card(catalogue, charge.served_model or "", SystemClock().now())
        assert card is not None
        total += card.price(_usage_of(charge, call.provider)).total_nanos
    return total


_prices = cache(PriceBook.load)

CATALOGUES = {"bedrock": "aws"}
"""The price catalogue's name for a provider, where it is another."""


def _usage_of(charge: Charge, provider: str) -> Usage:
    tokens = charge.tokens
    unit = "rerank_searches" if provider == "cohere" else "web_searches"
    return Usage(
        input=tokens.input,
        cache_read=tokens.cache_read,
        cache_write=tokens.cache_write_5m,
        cache_write_1h=tokens.cache_write_1h,
        output=tokens.output,
        reasoning=tokens.reasoning,
        units={unit: tokens.searches} if tokens.searches else {},
        service_tier=BATCH_TIER if charge.batch else charge.service_tier,
    )


def spent_nanos(records: Iterable[dict[str, Any]]) -> int:
    """Return what the books say was spent."""
    return sum(nanos_of(Decimal(repr(record["cost"]))) for record in records)


Start = Callable[..., Awaitable[Running]]


async def balanced(running: Running) -> None:
    """Nothing is held once the gateway has stopped, and the ledger agrees with itself."""
    assert [tally for tally in running.gateway.counters._tallies.values() if tally.held_nanos] == []
    assert running.gateway.ledger.holds_open == 0
    assert (await verify(running.gateway.config.ledger.url)) == []
