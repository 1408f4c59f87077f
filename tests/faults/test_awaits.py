"""
A call that is interrupted at each of its waits, one after another.

Rule: whatever was interrupted where, nothing stays held, what the provider was asked for is booked once, and an answer
that its caller has whole is booked at the provider's bill.
"""

import asyncio
import sqlite3
from contextlib import closing, suppress
from typing import Any, NamedTuple

import aiohttp
import orjson
import pytest

from penia_proxy.errors import StoreUnavailable
from penia_proxy.gateway import works
from penia_proxy.sandbox.faults import Behaviour
from tests.faults.interrupting import ANSWER, EXCHANGE, Do, early, failing, interrupting, late
from tests.faults.table import Rounds
from tests.gateways import KEYS, Running, Start, bill_of
from tests.http.desk import before, call, desk

WAITS_MAX = 100
STRICT = {"name": "Strict", "daily_limit": 100, "enforcement": "block", "overrun": "never"}
TIGHT = {"name": "Tight", "daily_limit": 100, "enforcement": "block", "overrun": "truncate"}
TALK: dict[str, Any] = {"model": "gpt-4o-mini", "max_tokens": 40, "messages": [{"role": "user", "content": "hi"}]}


class Kept(NamedTuple):
    """What the books say of one call."""

    basis: str
    status: str
    cost: int


class Caller:
    """Makes calls, and looks at what became of each."""

    def __init__(self, penia: Running, *, stream: bool) -> None:
        self.penia = penia
        self.stream = stream
        self.made = 0

    async def call(self) -> bytes | None:
        """Make a call; return its answer if that came whole."""
        self.made += 1
        headers = {**KEYS, "X-Penia-Request-Id": f"call-{self.made}"}
        url = f"{self.penia.url}/openai/v1/chat/completions"
        try:
            async with self.penia.session.post(url, json={**TALK, "stream": self.stream}, headers=headers) as answer:
                body = await answer.read()
                return body if answer.status == 200 else None
        except aiohttp.ClientError:
            return None

    async def kept(self) -> list[Kept]:
        """Wait until nothing is held any more; return what was booked of the last call."""
        gateway = self.penia.gateway
        async with asyncio.timeout(10):
            while gateway._proxy._door.calls or gateway.ledger.queue_depth:
                await asyncio.sleep(0.002)
        assert gateway.ledger.holds_open == 0
        assert [tally for tally in gateway.counters._tallies.values() if tally.held_nanos] == []
        return self.booked()

    def booked(self) -> list[Kept]:
        """Return what the file says of the last call."""
        with closing(sqlite3.connect(self.penia.gateway.config.ledger.url.removeprefix("sqlite:///"))) as file:
            query = "SELECT cost_basis, status, cost_nanos FROM usage_records WHERE request_id = ?"
            return [Kept(*row) for row in file.execute(query, (f"call-{self.made}",))]

    async def round(self, name: str, plan: dict[int, Do]) -> tuple[int, list[Kept]]:
        """Make a call that is interrupted; check what must be true of any; return its waits and what was booked."""
        before = len(self.penia.sandbox.calls)
        with interrupting(name, plan) as waits:
            whole = await self.call()
            kept = await self.kept()
        calls = self.penia.sandbox.calls[before:]
        assert len(kept) <= 1, plan
        assert len(calls) <= 1, plan
        if calls:
            assert kept, plan
            assert kept[0].cost > 0, plan
        if whole is not None:
            assert (kept[0].basis, kept[0].cost) == ("reported", bill_of(calls[0])), plan
        return waits.seen, kept


@pytest.mark.fault("C1")
@pytest.mark.parametrize("do", [early, late])
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("policy", "budget", "name"),
    [("cancel", STRICT, ANSWER), ("cancel", TIGHT, ANSWER), ("drain", STRICT, ANSWER), ("drain", STRICT, EXCHANGE)],
)
async def test_a_call_that_is_cancelled_at_any_wait(
    start: Start, policy: str, budget: dict[str, Any], name: str, do: Do, *, stream: bool, rounds: Rounds
) -> None:
    """Its caller leaves, or a stop ends it: what was not sent costs nothing, and what was is booked."""
    penia = await start(
        budgets=(budget,),
        script=Behaviour(chunk_delay_s=0.001, output_tokens=5),
        providers={"openai": {"on_disconnect": policy}},
    )
    caller = Caller(penia, stream=stream)
    await caller.round(name, {})
    for at in range(1, WAITS_MAX):
        seen, kept = await caller.round(name, {at: do})
        if seen < at:
            break
        if policy == "drain" and name == ANSWER and kept:
            assert kept[0].basis == "reported"
    else:
        pytest.fail("it waits for ever")
    assert at > 1
    rounds(at)


@pytest.mark.fault("D1")
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("policy", "name"), [("cancel", ANSWER), ("drain", EXCHANGE)])
async def test_a_wait_of_a_call_that_fails(
    start: Start, policy: str, name: str, *, stream: bool, rounds: Rounds
) -> None:
    """Whichever it is, the ledger's among them: the caller is told or cut off, and the hold has an end."""
    penia = await start(budgets=(STRICT,), providers={"openai": {"on_disconnect": policy}})
    caller = Caller(penia, stream=stream)
    for at in range(1, WAITS_MAX):
        seen, _ = await caller.round(name, {at: failing(StoreUnavailable("the ledger cannot write"))})
        if seen < at:
            break
    else:
        pytest.fail("it waits for ever")
    assert at > 1
    rounds(at)


@pytest.mark.fault("C1")
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("policy", "name"), [("cancel", ANSWER), ("drain", EXCHANGE)])
async def test_a_call_that_is_cancelled_twice(
    start: Start, policy: str, name: str, *, stream: bool, rounds: Rounds
) -> None:
    """Its caller leaves, and a stop ends what that has left: it is booked as if either had come alone."""
    penia = await start(
        budgets=(STRICT,),
        script=Behaviour(chunk_delay_s=0.001, output_tokens=5),
        providers={"openai": {"on_disconnect": policy}},
    )
    caller = Caller(penia, stream=stream)
    for at in range(1, WAITS_MAX):
        ways: list[dict[int, Do]] = [{at: one, at + 1: other} for one in (early, late) for other in (early, late)]
        seen = [(await caller.round(name, way))[0] for way in ways]
        if max(seen) < at:
            break
    else:
        pytest.fail("it waits for ever")
    assert at > 1
    rounds(4 * at)


@pytest.mark.fault("K9")
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("policy", "name"), [("cancel", ANSWER), ("drain", EXCHANGE)])
async def test_a_stop_at_any_wait_of_a_call(
    start: Start, policy: str, name: str, *, stream: bool, rounds: Rounds
) -> None:
    """In a hurry: what was in flight is booked as far as it came, in the file that the stop leaves behind."""
    stops: list[asyncio.Task[None]] = []
    hurry = asyncio.Event()
    hurry.set()
    for at in range(1, WAITS_MAX):
        penia = await start(
            budgets=(STRICT,),
            script=Behaviour(chunk_delay_s=0.001, output_tokens=5),
            providers={"openai": {"on_disconnect": policy}},
        )
        gateway = penia.gateway
        caller = Caller(penia, stream=stream)
        with interrupting(
            name, {at: lambda *_, its=gateway: stops.append(asyncio.create_task(its.stop(hurry)))}
        ) as waits:
            whole = await caller.call()
        if waits.seen < at:
            break
        await stops[-1]
        kept = caller.booked()
        assert len(kept) == len(penia.sandbox.calls), at
        if kept:
            assert kept[0].cost > 0
        if whole is not None:
            assert (kept[0].basis, kept[0].cost) == ("reported", bill_of(penia.sandbox.calls[0])), at
    else:
        pytest.fail("it waits for ever")
    assert len(stops) > 1
    rounds(at)


@pytest.mark.fault("D1")
@pytest.mark.parametrize(
    ("place", "sent"),
    [
        ("penia_proxy.gateway.holding.text_of", False),
        ("penia_proxy.budget.estimate.OutputHabit.observe", True),
        ("penia_proxy.budget.calibration.Calibration.observe", True),
        ("penia_proxy.watch.announcer.Announcer.published", True),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
async def test_a_defect_of_ours_beside_the_money_moves_none(
    start: Start, monkeypatch: pytest.MonkeyPatch, place: str, *, sent: bool, stream: bool
) -> None:
    """What only explains, learns or tells may fail: a call is forwarded and booked, or neither."""

    def broken(*_: object) -> None:
        raise RuntimeError

    penia = await start(budgets=({**STRICT, "overrun": "finish"},))
    caller = Caller(penia, stream=stream)
    with monkeypatch.context() as patched:
        patched.setattr(place, broken)
        await caller.call()
        kept = await caller.kept()
    assert [(one.basis, one.cost) for one in kept] == [("reported", bill_of(one)) for one in penia.sandbox.calls]
    assert len(kept) == sent


ASKED = {"model": "gpt-5-mini", "input": "hi", "max_output_tokens": 400, "background": True}
USAGE = {"input_tokens": 1000, "output_tokens": 100, "total_tokens": 1100}
COST_NANOS = 1000 * 250 + 100 * 2000
"""gpt-5-mini: $0.25 and $2 a million (genai-prices 0.2.3)."""


@pytest.mark.fault("C1")
@pytest.mark.parametrize("do", [early, late])
@pytest.mark.parametrize("stream", [False, True])
async def test_work_that_goes_on_is_waited_for_whenever_its_caller_left(
    start: Start, monkeypatch: pytest.MonkeyPatch, do: Do, *, stream: bool, rounds: Rounds
) -> None:
    """Its hold waits for the bill, and nothing is booked meanwhile; then the bill is, at what it states."""
    monkeypatch.setattr(works, "POLL_S_MIN", 3600.0)
    async with desk() as provider:
        penia = await before(provider, start, "openai", budgets=(STRICT,))
        waited = 0
        for at in range(1, WAITS_MAX):
            running = {"id": f"resp_{at}", "object": "response", "model": "gpt-5-mini", "background": True}
            begun = {**running, "status": "in_progress", "usage": None}
            event = orjson.dumps({"type": "response.created", "response": begun})
            provider.says("POST /v1/responses", b"data: %b\n\n" % event if stream else begun)
            provider.says(f"GET /v1/responses/resp_{at}", {**running, "status": "completed", "usage": USAGE})
            name = f"made-{at}"
            with interrupting(ANSWER, {at: do}) as waits, suppress(aiohttp.ClientError):
                await call(penia, "POST /openai/v1/responses", {**ASKED, "stream": stream}, X_Penia_Request_Id=name)
            while penia.gateway._proxy._door.calls:
                await asyncio.sleep(0.002)
            if penia.gateway._proxy._works.waiting:
                waited += 1
                assert await penia.record(name) is None, at
                await call(penia, f"GET /openai/v1/responses/resp_{at}")
                record = await penia.record(name)
                assert record is not None
                assert (record["cost_basis"], record["cost"] * 1e9) == ("reported", pytest.approx(COST_NANOS)), at
            assert penia.gateway._proxy._works.waiting == 0
            if waits.seen < at:
                break
    assert waited > 1
    rounds(at)
