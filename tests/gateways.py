"""
A whole gateway before a sandbox provider, both on loopback.

Its one job: what tests over HTTP start, call and check afterwards. Rule: real sockets, a real SQLite file.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import aiohttp

from penia_proxy.app import Gateway
from penia_proxy.ledger.verify import verify
from penia_proxy.sandbox import Sandbox

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


Start = Callable[..., Awaitable[Running]]


async def balanced(running: Running) -> None:
    """Nothing is held once the gateway has stopped, and the ledger agrees with itself."""
    assert [tally for tally in running.gateway.counters._tallies.values() if tally.held_nanos] == []
    assert running.gateway.ledger.holds_open == 0
    assert (await verify(running.gateway.config.ledger.url)) == []
