"""What a session's turn has come to is held while it runs, and it ends where a budget that truncates has no room."""

import asyncio
import base64
import json
from decimal import Decimal
from typing import Any

import aiohttp
import pytest
from aiohttp import WSMsgType, web

from penia_proxy.budget.money import nanos_of
from penia_proxy.sandbox.faults import Behaviour
from tests.gateways import Running, Start
from tests.http.test_sessions import (
    BLOCK,
    LIVE,
    REALTIME,
    RESPONSES,
    create,
    opened,
    records_of,
    released,
    tell,
    until,
)
from tests.peers import speaking

TRUNCATE = {**BLOCK, "overrun": "truncate"}
LIMIT = 0.1
TAUGHT = 5
PIECES = 1_300
"""Of sound and a word each: more than a turn about which nothing is known is held at."""

A_SECOND = base64.b64encode(bytes(48_000)).decode()


def covered(penia: Running) -> int:
    """Return what is held or spent: what nobody else can have."""
    return max(tally.held_nanos + tally.spent_nanos for tally in penia.gateway.counters._tallies.values())


async def said(penia: Running, socket: Any) -> tuple[list[dict[str, Any]], list[int]]:
    """Return the events up to the end of an answer, and what was covered when each of them came."""
    events, holds = [], []
    while True:
        events.append(json.loads((await socket.receive()).data))
        holds.append(covered(penia))
        if events[-1]["type"] in ("response.done", "response.completed"):
            return events, holds


@pytest.mark.parametrize("overrun", ["finish", "truncate"])
async def test_the_hold_of_what_is_said_grows(start: Start, overrun: str) -> None:
    """No event reaches the caller before its cost is held; the turn is booked once, at what the provider reports."""
    budget = {**BLOCK, "overrun": overrun}
    penia = await start(budgets=(budget,), script=Behaviour(output_tokens=PIECES, chunk_delay_s=0.0005))
    async with opened(penia, REALTIME) as socket:
        await until(socket, "session.created")
        first = covered(penia)
        await tell(socket, "response.create")
        events, holds = await said(penia, socket)
    sound = 0
    for event, held_nanos in zip(events, holds, strict=True):
        sound += event["type"] == "response.output_audio.delta"
        if event["type"] == "response.output_audio.delta":
            assert held_nanos >= sound * 64_000
    assert max(holds) > first
    (record,) = await records_of(penia, 1)
    assert max(holds) >= nanos_of(Decimal(repr(record["cost"]))) > first
    assert (record["status"], record["cost_basis"], record["output_tokens"]) == ("ok", "reported", 2 * PIECES)
    await released(penia)


async def test_a_grown_hold_refuses_the_next_caller(start: Start) -> None:
    """What a running turn has come to is not there for others, and their refusal says that waiting helps."""
    more = asyncio.Event()

    async def speak(socket: web.WebSocketResponse) -> None:
        await socket.send_str(json.dumps({"type": "response.created", "response": {"id": "resp_1"}}))
        for seconds in range(120):
            if seconds == 10:
                await more.wait()
            delta = {"type": "response.output_audio.delta", "response_id": "resp_1", "delta": A_SECOND}
            await socket.send_str(json.dumps(delta))
        await socket.receive()

    async with speaking(speak, answer=web.json_response({"choices": []})) as peer:
        penia = await start(providers={"openai": {"base_url": peer.url}}, budgets=({**BLOCK, "daily_limit": 0.15},))
        async with opened(penia, REALTIME) as socket:
            for _ in range(10):
                await until(socket, "response.output_audio.delta")
            assert (await penia.chat(model="gpt-4o", max_tokens=100)).status == 200
            more.set()
            for _ in range(110):
                await until(socket, "response.output_audio.delta")
            refused = await penia.chat(model="gpt-4o", max_tokens=100)
            assert (refused.status, (await refused.json())["error"]["code"]) == (429, "budget_busy")
            _, (summary,) = await penia.api(
                "GET", f"/api/v1/budgets/{next(iter(penia.gateway.book)).budget_id}/summary"
            )
            assert summary["held"] >= 120 * 20 * 64e-6
    await released(penia)


async def cancelled(penia: Running, socket: Any, **asked: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Ask for an answer; return why it was ended, and its last word."""
    await tell(socket, "response.create", **asked)
    error = await until(socket, "error")
    assert error["error"]["penia"]["code"] == "budget_exceeded"
    done = (await until(socket, "response.done"))["response"]
    assert (done["status"], done["status_details"]["reason"]) == ("cancelled", "client_cancelled")
    return error, done


@pytest.mark.parametrize("modality", ["audio", "text"])
async def test_an_answer_ends_where_there_is_no_room_for_more(start: Start, modality: str) -> None:
    """
    It is cancelled at the provider, whose own last word and bill pass; with those, the limit is kept and is used.

    How this provider counts has been seen; its words are its tokens, fewer than ours.
    """
    penia = await start(budgets=(TRUNCATE,), script=Behaviour(output_tokens=100))
    async with opened(penia, REALTIME) as socket:
        await tell(socket, "session.update", session={"type": "realtime", "output_modalities": [modality]})
        await until(socket, "session.updated")
        for _ in range(TAUGHT):
            await tell(socket, "response.create")
            await until(socket, "response.done")
        spent = sum(record["cost"] for record in await records_of(penia, TAUGHT))
        known = next(iter(penia.gateway.book))
        await penia.api("PUT", f"/api/v1/budgets/{known.budget_id}", {"daily_limit": spent + LIMIT})
    await released(penia)
    penia.sandbox.play(Behaviour(output_tokens=20_000, chunk_delay_s=0.002))
    async with opened(penia, REALTIME) as socket:
        await tell(socket, "session.update", session={"type": "realtime", "output_modalities": [modality]})
        await until(socket, "session.updated")
        _, done = await cancelled(penia, socket)
    (record,) = [kept for kept in await records_of(penia, TAUGHT + 1) if kept["status"] == "truncated"]
    assert record["cost_basis"] == "reported"
    assert record["output_tokens"] == done["usage"]["output_tokens"]
    assert 0.98 * LIMIT < record["cost"] <= 1.001 * LIMIT
    assert penia.sandbox.calls[-1].produced_tokens == record["output_tokens"]
    await released(penia)


async def test_a_session_goes_on_after_an_answer_that_was_ended(start: Start) -> None:
    """One beside the conversation is cancelled, by its name; the next in it was held all the while, and is made."""
    long, short = Behaviour(output_tokens=20_000, chunk_delay_s=0.002), Behaviour(output_tokens=20)
    penia = await start(budgets=({**TRUNCATE, "daily_limit": LIMIT},), script=[long, short])
    async with opened(penia, REALTIME) as socket:
        await cancelled(penia, socket, response={"conversation": "none"})
        await tell(socket, "response.create")
        assert (await until(socket, "response.done"))["response"]["status"] == "completed"
    records = await records_of(penia, 2)
    assert {record["status"] for record in records} == {"ok", "truncated"}
    assert sum(record["cost"] for record in records) <= 1.001 * LIMIT
    await released(penia)


async def test_an_ended_answer_without_a_bill_is_booked_by_what_passed(start: Start) -> None:
    """Once, whether its last word has no usage or never comes."""
    script = Behaviour(output_tokens=20_000, chunk_delay_s=0.002, usage="omit")
    penia = await start(budgets=({**TRUNCATE, "daily_limit": LIMIT},), script=script)
    async with opened(penia, REALTIME) as socket:
        await cancelled(penia, socket)
    (record,) = await records_of(penia, 1)
    assert (record["status"], record["cost_basis"]) == ("truncated", "partial")
    (call,) = penia.sandbox.calls
    assert record["output_tokens"] >= call.produced_tokens
    assert record["cost"] > 0.7 * LIMIT
    await released(penia)


async def test_the_hold_of_a_response_grows(start: Start) -> None:
    """It is text alone, and its input is in the request."""
    penia = await start(budgets=(BLOCK,), script=Behaviour(output_tokens=6_000))
    async with opened(penia, RESPONSES) as socket:
        await create(socket, max_output_tokens=None)
        await until(socket, "response.created")
        first = covered(penia)
        events, holds = await said(penia, socket)
    words = 0
    for event, covered_nanos in zip(events, holds, strict=True):
        words += event["type"] == "response.output_text.delta"
        assert covered_nanos >= words * 600
    (record,) = await records_of(penia, 1)
    assert nanos_of(Decimal(repr(record["cost"]))) > first
    assert (record["status"], record["output_tokens"]) == ("ok", 6_000)
    await released(penia)


async def test_the_hold_of_a_live_answer_grows_and_nothing_ends_it(start: Start) -> None:
    """Google's protocol has no word for that: a budget that truncates refuses the session before it begins."""
    setup = json.dumps({"setup": {"model": "models/gemini-live-2.5-flash-native-audio"}})
    script = Behaviour(output_tokens=3_000)
    penia = await start(providers={"google": {}}, budgets=(BLOCK,), script=script)
    async with opened(penia, LIVE) as socket:
        await socket.send_str(setup)
        await socket.receive()
        first = covered(penia)
        turn = {"turns": [{"role": "user", "parts": [{"text": "hi"}]}], "turnComplete": True}
        await socket.send_str(json.dumps({"clientContent": turn}))
        pieces = 0
        while "usageMetadata" not in (message := json.loads((await socket.receive()).data)):
            pieces += "modelTurn" in message["serverContent"]
            assert covered(penia) >= pieces * 12_000
    (record,) = await records_of(penia, 1)
    assert (record["status"], record["cost_basis"], record["output_tokens"]) == ("ok", "reported", 3_000)
    assert nanos_of(Decimal(repr(record["cost"]))) > first
    strict = await start(providers={"google": {}}, budgets=(TRUNCATE,))
    async with opened(strict, LIVE) as socket:
        await socket.send_str(setup)
        assert (await socket.receive()).type is WSMsgType.CLOSE
        assert socket.close_code == 1008
    assert strict.sandbox.calls == []


async def test_sound_that_is_billed_by_the_second_is_held_as_it_passes(start: Start) -> None:
    """Both ways, at xAI; and nothing there can be ended early, since what is heard costs as much as what is said."""

    async def speak(socket: web.WebSocketResponse) -> None:
        await socket.receive()
        await socket.send_str(json.dumps({"type": "response.created", "response": {"id": "resp_1"}}))
        for _ in range(120):
            delta = {"type": "response.output_audio.delta", "response_id": "resp_1", "delta": A_SECOND}
            await socket.send_str(json.dumps(delta))
        await socket.receive()

    path = "/x-ai/v1/realtime?model=grok-voice-latest"
    async with speaking(speak) as peer:
        penia = await start(providers={"x-ai": {"base_url": peer.url}}, budgets=(BLOCK,))
        async with opened(penia, path) as socket:
            first = covered(penia)
            await tell(socket, "input_audio_buffer.append", audio=A_SECOND)
            for seconds in range(1, 121):
                await until(socket, "response.output_audio.delta")
                assert covered(penia) * 30 >= (seconds + 1) * first * 0.9
        (record,) = await records_of(penia, 1)
        assert nanos_of(Decimal(repr(record["cost"]))) > 3 * first
        strict = await start(providers={"x-ai": {"base_url": peer.url}}, budgets=(TRUNCATE,))
        with pytest.raises(aiohttp.WSServerHandshakeError) as refusal:
            await opened(strict, path)
        assert refusal.value.status == 402
    await released(penia)


async def test_what_is_only_written_down_is_held_as_it_is_heard(start: Start) -> None:
    """A transcript is as long as what was said, which nobody knows before; nothing ends one early."""
    path = "/openai/v1/realtime?intent=transcription"
    update = {"type": "transcription", "input_audio_transcription": {"model": "whisper-1"}}

    async def speak(socket: web.WebSocketResponse) -> None:
        async for message in socket:
            if json.loads(message.data)["type"] == "input_audio_buffer.commit":
                await socket.send_str(json.dumps({"type": "input_audio_buffer.committed", "item_id": "item_1"}))

    async with speaking(speak) as peer:
        penia = await start(providers={"openai": {"base_url": peer.url}}, budgets=(BLOCK,))
        async with opened(penia, path) as socket:
            await tell(socket, "session.update", session=update)
            for _ in range(120):
                await tell(socket, "input_audio_buffer.append", audio=A_SECOND)
            await tell(socket, "input_audio_buffer.commit")
            await until(socket, "input_audio_buffer.committed")
            assert covered(penia) >= 120 * 100_000
        (record,) = await records_of(penia, 1)
        assert record["cost"] == pytest.approx(120 * 0.0001)
        strict = await start(providers={"openai": {"base_url": peer.url}}, budgets=(TRUNCATE,))
        async with opened(strict, path) as socket:
            await tell(socket, "session.update", session=update)
            assert (await until(socket, "error"))["error"]["code"] == "unbounded_call"
    await released(penia)
