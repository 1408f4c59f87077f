"""
Hold, check and record from a component that calls a provider directly.

Its one job: the holds of a gateway's REST API (api.md §2) as a context manager, in one line around a provider's call.
Rules: a body that raises before anything was used gives its hold back; one that says what it used settles it, however
it ends. What a body does not say is never a quiet zero: its hold stays, and the gateway books what it held once its
time is up. What the gateway refuses is the exception that `penia_proxy.errors` has for its code.
"""

from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Any, Required, Self, TypedDict, Unpack

import aiohttp

from penia_proxy import errors
from penia_proxy.errors import (
    ApprovalRequired,
    BudgetBusy,
    BudgetExceeded,
    Conflict,
    DuplicateRequest,
    NotFound,
    PeniaError,
    StoreUnavailable,
    UnboundedCall,
    UnpricedModel,
)

__all__ = [
    "ApprovalRequired",
    "BudgetBusy",
    "BudgetExceeded",
    "Conflict",
    "DuplicateRequest",
    "GatewayUnreachable",
    "Hold",
    "NotFound",
    "Penia",
    "PeniaError",
    "StoreUnavailable",
    "UnboundedCall",
    "UnpricedModel",
]

DEFAULT_URL = "http://127.0.0.1:8113"
TIMEOUT_S = 10.0

Json = dict[str, Any]


class GatewayUnreachable(PeniaError):
    """No gateway answers, or what answers is none."""

    status = 502
    code = "gateway_unreachable"


def _tree(root: type[PeniaError]) -> Iterator[type[PeniaError]]:
    yield root
    for child in root.__subclasses__():
        yield from _tree(child)


_BY_CODE: Mapping[str, type[PeniaError]] = {error.code: error for error in reversed(list(_tree(errors.PeniaError)))}


class Call(TypedDict, total=False):
    """What a call may cost: ``estimated_cost`` (USD), or its input, and best ``max_output_tokens``."""

    provider: Required[str]
    model: Required[str]
    component: str
    estimated_cost: float
    input_tokens: int
    input_text: str
    max_output_tokens: int
    ttl_seconds: float
    task_type: str
    tags: Mapping[str, str]
    request_id: str
    """An idempotency key."""


class Penia:
    """A gateway's API. Enter it, or `close` it."""

    def __init__(
        self, url: str = DEFAULT_URL, *, component: str = "default", session: aiohttp.ClientSession | None = None
    ) -> None:
        """``component`` spends where a call names no other; a ``session`` of the caller's own is not closed."""
        self.component = component
        self._url = f"{url.rstrip('/')}/api/v1"
        self._given = session
        self._session: aiohttp.ClientSession | None = session

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None and self._given is None:
            await self._session.close()
            self._session = None

    def hold(self, **call: Unpack[Call]) -> "Hold":
        """Return the hold of one call: enter it, call the provider, say what was used."""
        return Hold(self, {"component": self.component, **_said(call)})

    async def check(self, **call: Any) -> Json:
        """Ask whether a call would pass; nothing is held. The fields are those of `POST /api/v1/check`."""
        return await self.ask("POST", "/check", {"component": self.component, **_said(call)})

    async def record(self, **used: Any) -> Json:
        """Book what was used without a hold. The fields are those of `POST /api/v1/usage/record`."""
        return await self.ask("POST", "/usage/record", {"component": self.component, **_said(used)})

    async def ask(self, method: str, path: str, body: Json | None = None) -> Json:
        """Return what the API answers. Raises the error of its code, or GatewayUnreachable."""
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=TIMEOUT_S))
        try:
            async with self._session.request(method, self._url + path, json=body, allow_redirects=False) as answer:
                said = await answer.json()
                failed = answer.status >= 400
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            raise GatewayUnreachable(f"No gateway answers at {self._url} ({type(error).__name__}).") from error
        if not isinstance(said, dict):
            raise GatewayUnreachable(f"What answers at {self._url} is no gateway.")
        if failed:
            kind = _BY_CODE.get(str(said.get("code")), PeniaError)
            raise kind(str(said.get("error")), detail=said.get("detail"))
        return said


class Hold:
    """One call's hold. Made by `Penia.hold`."""

    def __init__(self, penia: Penia, body: Json) -> None:
        self._penia = penia
        self._body = body
        self._used: Json | None = None
        self._sent = False
        self.hold_id = ""
        self.amount = 0.0
        """USD."""
        self.verdict = ""
        """``allow`` or ``warn``."""
        self.record: Json | None = None
        """The record, once it is settled."""

    async def __aenter__(self) -> Self:
        """Hold. Raises the refusal: BudgetExceeded, ApprovalRequired, BudgetBusy, UnpricedModel, UnboundedCall."""
        answer = await self._penia.ask("POST", "/holds", self._body)
        self.hold_id, self.amount, self.verdict = answer["hold_id"], answer["amount"], answer["verdict"]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._used is not None:
            self.record = await self._penia.ask("POST", f"/holds/{self.hold_id}/settle", self._used)
        elif error is not None and not self._sent:
            await self._penia.ask("DELETE", f"/holds/{self.hold_id}")

    def sent(self) -> None:
        """Say that the provider may bill from here on: a body that raises after it does not give the hold back."""
        self._sent = True

    def usage(
        self,
        *,
        input_tokens: int | None = None,
        output_tokens: int | None = None,
        cache_read_tokens: int | None = None,
        cache_write_tokens: int | None = None,
        cost: float | None = None,
        model: str | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        """Say what was used; it is booked when the body ends. Said again, the last word counts."""
        self._used = _said(
            {
                "input_tokens": input_tokens,
                "output_tokens": output_tokens,
                "cache_read_tokens": cache_read_tokens,
                "cache_write_tokens": cache_write_tokens,
                "cost": cost,
                "model": model,
                "metadata": None if metadata is None else dict(metadata),
            }
        )


def _said(fields: Mapping[str, Any]) -> Json:
    return {name: value for name, value in fields.items() if value is not None}
