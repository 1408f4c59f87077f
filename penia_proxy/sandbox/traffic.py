"""
Send the demo's traffic: varied calls from several components, at a steady rate, for ever.

Rules: bounded in rate and in calls under way; a gateway that is slow, refuses or is gone is reported, never raised;
the order of calls repeats with the seed. It sends bare HTTP, as any language's SDK would, and must not know the gateway
beyond its documented paths and headers.
"""

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Literal

import aiohttp
import orjson

from penia_proxy.clock import Clock, SystemClock
from penia_proxy.sandbox.errands import COMPONENTS, Errand
from penia_proxy.sandbox.faults import as_headers
from penia_proxy.sandbox.words import derive, number

DEMO_COMPONENTS = tuple(COMPONENTS)
"""Who sends, in the order in which they take turns."""

SMALL_BUDGET_COMPONENT = "overnight-batch"
"""Meant to be given a budget that blocks: it sends the same fair-sized call again and again."""

UNDER_WAY_MAX = 64
"""Calls at once; when a gateway does not answer, the traffic waits instead of piling up."""

CALL_TIMEOUT_S = 120.0

HANG_UP_EVERY = 23
"""Each so-manieth streamed call is left by its client after a few bytes."""

_HANG_UP_BYTES = 1500

Outcome = Literal["answered", "refused", "failed", "hung_up", "unreachable"]
"""``refused``: by the gateway itself; ``failed``: an error of the provider's; ``unreachable``: no answer at all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrafficEvent:
    """How one call went."""

    component: str
    provider: str
    model: str
    path: str
    streamed: bool
    outcome: Outcome
    status: int | None
    verdict: str | None
    """``X-Penia-Verdict``; None when there was none, as on a refusal."""
    code: str | None
    """The refusal's or failure's code in the body."""
    request_id: str | None
    estimated_cost_usd: Decimal | None
    cost_usd: Decimal | None
    """``X-Penia-Cost``: only on answers that do not stream."""
    remaining_usd: Decimal | None
    """``X-Penia-Remaining``."""
    latency_ms: float
    """From sending to the last byte, or to hanging up."""


async def run_traffic(
    base_url: str,
    *,
    session: aiohttp.ClientSession,
    rate: float,
    report: Callable[[TrafficEvent], None],
    stop: asyncio.Event,
    clock: Clock | None = None,
    seed: str = "penia",
) -> None:
    """Send ``rate`` calls a second to the gateway at ``base_url`` until ``stop``; then give up those under way."""
    if rate <= 0:
        raise ValueError("The rate is calls per second, above zero.")
    sender = _Sender(base_url.rstrip("/"), session, report, clock or SystemClock())
    room = asyncio.Semaphore(UNDER_WAY_MAX)
    running: set[asyncio.Task[None]] = set()

    def done(task: asyncio.Task[None]) -> None:
        running.discard(task)
        room.release()

    turn = 0
    try:
        while not stop.is_set():
            await room.acquire()
            errand = errand_of(turn, seed)
            leaves = errand.streamed and number(seed.encode(), f"leave/{turn}", 1, HANG_UP_EVERY) == 1
            task = asyncio.create_task(sender.send(errand, turn, leaves=leaves))
            running.add(task)
            task.add_done_callback(done)
            turn += 1
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), 1 / rate)
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


def errand_of(turn: int, seed: str = "penia") -> Errand:
    """Return the call of this turn: components alternate, each goes through its errands in an order of its own."""
    component = DEMO_COMPONENTS[turn % len(DEMO_COMPONENTS)]
    mine = derive(seed.encode(), component, turn)
    errands = COMPONENTS[component](mine)
    # The first errand of a component is its daily bread; the others come in between.
    chosen = number(mine, "errand", 0, 2 * len(errands) - 1)
    return errands[chosen if chosen < len(errands) else 0]


class _Sender:
    """Sends one call after the other to one gateway. Strictly private."""

    def __init__(
        self, base_url: str, session: aiohttp.ClientSession, report: Callable[[TrafficEvent], None], clock: Clock
    ) -> None:
        self._base_url = base_url
        self._session = session
        self._report = report
        self._clock = clock

    async def send(self, errand: Errand, turn: int, *, leaves: bool) -> None:
        """Send the call and report how it went."""
        began = self._clock.monotonic()
        # Both documented ways of saying who calls are used in turn.
        by_path = turn % 2 == 0
        url = f"{self._base_url}{f'/@{errand.component}' if by_path else ''}{errand.path}"
        response: aiohttp.ClientResponse | None = None
        outcome: Outcome = "unreachable"
        code = None
        try:
            async with self._session.post(
                url,
                data=orjson.dumps(errand.body),
                headers=_headers(errand, by_path=by_path),
                timeout=aiohttp.ClientTimeout(total=CALL_TIMEOUT_S),
            ) as response:
                outcome, code = await _read(response, leaves=leaves)
        except (aiohttp.ClientError, TimeoutError):
            # With a response, the connection broke in the middle of it: the provider's fault, or the gateway's end.
            outcome = "failed" if response is not None else "unreachable"
        self._report(_event(errand, response, outcome, code, (self._clock.monotonic() - began) * 1000))


async def _read(response: aiohttp.ClientResponse, *, leaves: bool) -> tuple[Outcome, str | None]:
    if response.status >= 400:
        # An error is small; whatever is not is no error of ours or the sandbox's, and its rest does not matter.
        code, by_gateway = _code_of(await response.content.read(65_536))
        return ("refused" if by_gateway else "failed"), code
    if not leaves:
        async for _ in response.content.iter_any():
            pass
        return "answered", None
    read = 0
    async for chunk in response.content.iter_any():
        read += len(chunk)
        if read >= _HANG_UP_BYTES:
            response.close()
            return "hung_up", None
    return "answered", None


def _headers(errand: Errand, *, by_path: bool) -> dict[str, str]:
    headers = {"Content-Type": "application/json", **as_headers(errand.behaviour)}
    if errand.provider == "anthropic":
        headers |= {"x-api-key": "sandbox", "anthropic-version": "2023-06-01"}
    else:
        headers["Authorization"] = "Bearer sandbox"
    if not by_path:
        headers["X-Penia-Component"] = errand.component
    if errand.task_type:
        headers["X-Penia-Task-Type"] = errand.task_type
    if errand.tags:
        headers["X-Penia-Tags"] = errand.tags
    return headers


def _event(
    errand: Errand, response: aiohttp.ClientResponse | None, outcome: Outcome, code: str | None, latency_ms: float
) -> TrafficEvent:
    headers = response.headers if response is not None else {}
    return TrafficEvent(
        component=errand.component,
        provider=errand.provider,
        model=errand.model,
        path=errand.path,
        streamed=errand.streamed,
        outcome=outcome,
        status=response.status if response is not None else None,
        verdict=headers.get("X-Penia-Verdict"),
        code=code,
        request_id=headers.get("X-Penia-Request-Id"),
        estimated_cost_usd=_money(headers.get("X-Penia-Estimated-Cost")),
        cost_usd=_money(headers.get("X-Penia-Cost")),
        remaining_usd=_money(headers.get("X-Penia-Remaining")),
        latency_ms=latency_ms,
    )


def _code_of(data: bytes) -> tuple[str | None, bool]:
    """Return ``(code, whether the gateway itself refused)`` of an error body; a provider's code may be only a type."""
    try:
        body = orjson.loads(data)
    except orjson.JSONDecodeError:
        return None, False
    error = body.get("error") if isinstance(body, dict) else None
    if not isinstance(error, dict):
        return None, False
    penia = error.get("penia")
    found = penia.get("code") if isinstance(penia, dict) else error.get("code") or error.get("type")
    return (found if isinstance(found, str) else None), isinstance(penia, dict)


def _money(text: str | None) -> Decimal | None:
    try:
        return Decimal(text) if text else None
    except InvalidOperation:
        return None
