"""
Ask the API as a client would.

Its one job: requests, answers and sockets of a control plane under test. Rule: every answer is held against the model
that describes it, so that the OpenAPI document cannot lie.
"""

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
from aiohttp import ClientSession, ClientWebSocketResponse
from pydantic import TypeAdapter

from penia_proxy.api.endpoint import Endpoint
from penia_proxy.api.openapi import Error
from penia_proxy.api.routes import ENDPOINTS
from penia_proxy.api.services import Services

NOON = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
"""A Monday."""


@dataclass
class MovedClock:
    """A clock that only tests move."""

    instant: datetime = NOON
    seconds: float = 1000.0

    def now(self) -> datetime:
        return self.instant

    def monotonic(self) -> float:
        return self.seconds

    def move(self, by: timedelta) -> None:
        self.instant += by
        self.seconds += by.total_seconds()


@dataclass
class Answer:
    """What came back."""

    status: int
    headers: dict[str, str]
    body: Any

    @property
    def code(self) -> str:
        return str(self.body["code"])

    @property
    def fields(self) -> list[str]:
        """Which fields were complained about."""
        return [entry["field"] for entry in self.body["detail"]]


@dataclass
class Api:
    """The API as a client sees it."""

    session: ClientSession
    url: str
    services: Services
    clock: MovedClock
    _sockets: list[ClientWebSocketResponse] = field(default_factory=list)

    async def get(self, path: str, **query: Any) -> Answer:
        return await self.ask("GET", path, params={name: str(value) for name, value in query.items()})

    async def post(self, path: str, body: Any = None) -> Answer:
        return await self.ask("POST", path, data=b"" if body is None else orjson.dumps(body))

    async def put(self, path: str, body: Any) -> Answer:
        return await self.ask("PUT", path, data=orjson.dumps(body))

    async def delete(self, path: str) -> Answer:
        return await self.ask("DELETE", path)

    async def ask(self, method: str, path: str, **how: Any) -> Answer:
        """Send anything; what is an answer of the API must have the shape that is written down for it."""
        full = path if path.startswith(("/health", "/ready", "/docs", "/ws")) else "/api/v1" + path
        async with self.session.request(method, self.url + full, **how) as response:
            raw = await response.read()
            body = orjson.loads(raw) if raw else None
            if method != "HEAD":
                _hold_against_model(method, full.partition("?")[0], response.status, raw)
            return Answer(response.status, dict(response.headers), body)

    async def budget(self, **spec: Any) -> str:
        """Create a budget and return its id."""
        answer = await self.post("/budgets", {"name": "Default", **spec})
        assert answer.status == 201, answer.body
        return str(answer.body["budget_id"])

    async def record(self, **said: Any) -> dict[str, Any]:
        """Post a record and return it."""
        what = {"component": "rhetor", "provider": "openai", "model": "gpt-4o", "cost": 0.5, "input_tokens": 10, **said}
        answer = await self.post("/usage/record", what)
        assert answer.status == 201, answer.body
        record: dict[str, Any] = answer.body
        return record

    async def listen(self, **how: Any) -> ClientWebSocketResponse:
        """Connect to the live feed."""
        socket = await self.session.ws_connect(self.url + "/ws", **how)
        self._sockets.append(socket)
        return socket

    async def close(self) -> None:
        for socket in self._sockets:
            await socket.close()


def _row_of(method: str, path: str) -> Endpoint | None:
    for row in sorted(ENDPOINTS, key=lambda row: row.path.count("{")):
        if row.method == method and re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", row.path), path):
            return row
    return None


def _hold_against_model(method: str, path: str, status: int, raw: bytes) -> None:
    row = _row_of(method, path)
    if row is not None and row.response is not None and status in (row.status, *row.also):
        TypeAdapter(row.response).validate_json(raw, strict=True)
    elif status >= 400:
        Error.model_validate_json(raw)
