"""The sandbox speaks the providers' WebSockets as they do, and books each answer."""

import asyncio
import base64
import json
from typing import Any

import aiohttp
import openai
import pytest

from penia_proxy.sandbox import Behaviour, Sandbox
from penia_proxy.sandbox.faults import as_headers

SECOND = base64.b64encode(bytes(48_000)).decode()


async def events_until(connection: Any, kind: str) -> list[Any]:
    events: list[Any] = []
    while not events or events[-1].type != kind:
        events.append(await connection.recv())
    return events


async def test_responses_add_up(sandbox: Sandbox, openai_sdk: openai.AsyncOpenAI) -> None:
    """What is said is what the last event says, and what is reported is what is booked."""
    async with openai_sdk.responses.connect() as connection:
        await connection.response.create(model="gpt-4o-mini", input="hi", stream_id="a")
        events = await events_until(connection, "response.completed")

    text = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    answer = events[-1].response
    assert answer.output_text == text
    assert {event.stream_id for event in events} == {"a"}
    assert [event.sequence_number for event in events] == list(range(len(events)))
    (call,) = sandbox.calls
    assert (call.input_tokens, call.output_tokens) == (answer.usage.input_tokens, answer.usage.output_tokens)
    assert (call.produced_tokens, call.ending) == (call.output_tokens, "whole")


async def test_a_lane_is_answered_in_order(sandbox: Sandbox, openai_sdk: openai.AsyncOpenAI) -> None:
    """The second of a lane begins when the first has ended; one of another lane does not wait."""
    slow = as_headers(Behaviour(chunk_delay_s=0.01))
    async with openai_sdk.responses.connect(extra_headers=slow) as connection:
        for lane in ("a", "a", "b"):
            await connection.response.create(model="gpt-4o-mini", input="hi", stream_id=lane)
        seen: list[tuple[str, str]] = []
        while sum(kind == "response.completed" for kind, _ in seen) < 3:
            event = await connection.recv()
            if event.type in ("response.created", "response.completed"):
                seen.append((event.type, event.stream_id))
    assert [kind for kind, lane in seen if lane == "a"] == ["response.created", "response.completed"] * 2
    assert seen.index(("response.created", "b")) < seen.index(("response.completed", "a"))


async def test_a_realtime_answer_is_cancelled_by_its_name(sandbox: Sandbox, openai_sdk: openai.AsyncOpenAI) -> None:
    """What was made until then is what is reported and booked; what does not run cannot be cancelled."""
    long = as_headers(Behaviour(output_tokens=20_000, chunk_delay_s=0.002))
    async with openai_sdk.realtime.connect(model="gpt-realtime", extra_headers=long) as connection:
        await connection.response.create(response={"conversation": "none"})
        begun = (await events_until(connection, "response.created"))[-1].response
        await events_until(connection, "response.output_audio.delta")
        await connection.response.cancel(response_id=begun.id)
        answer = (await events_until(connection, "response.done"))[-1].response
        assert (answer.id, answer.status, answer.status_details.reason) == (begun.id, "cancelled", "client_cancelled")
        await connection.response.cancel(response_id=begun.id)
        error = (await events_until(connection, "error"))[-1].error
        assert error.code == "response_cancel_not_active"
    (call,) = sandbox.calls
    assert 0 < call.output_tokens == answer.usage.output_tokens < 20_000


async def test_realtime_hears_and_answers(sandbox: Sandbox, openai_sdk: openai.AsyncOpenAI) -> None:
    """A second of sound is an utterance, written down and answered; what was read before comes from a cache."""
    async with openai_sdk.realtime.connect(model="gpt-realtime") as connection:
        assert (await connection.recv()).session.model == "gpt-realtime"
        settings = {"input": {"transcription": {"model": "whisper-1"}}}
        await connection.session.update(session={"type": "realtime", "instructions": "x" * 400, "audio": settings})
        await connection.input_audio_buffer.append(audio=SECOND)
        events = await events_until(connection, "response.done")
        kinds = [event.type for event in events]
        assert kinds.index("input_audio_buffer.committed") < kinds.index("response.created")
        written = next(event for event in events if event.type.endswith("transcription.completed"))
        assert (written.usage.type, written.usage.seconds) == ("duration", 1)
        usage = events[-1].response.usage
        assert usage.input_token_details.audio_tokens == 10
        assert usage.output_token_details.audio_tokens == sum(kind == "response.output_audio.delta" for kind in kinds)
        await connection.response.create()
        again = (await events_until(connection, "response.done"))[-1].response.usage
    assert again.input_token_details.cached_tokens % 64 == 0
    assert again.input_token_details.cached_tokens > 0
    assert [call.output_tokens for call in sandbox.calls] == [usage.output_tokens, again.output_tokens]
    assert sandbox.calls[1].cache_read_tokens == again.input_token_details.cached_tokens


async def test_a_conversation_has_one_answer_at_a_time(sandbox: Sandbox, openai_sdk: openai.AsyncOpenAI) -> None:
    """Another is refused, one apart from it is not; and one that is cancelled says what it used."""
    slow = as_headers(Behaviour(chunk_delay_s=5, output_tokens=9))
    async with openai_sdk.realtime.connect(model="gpt-realtime", extra_headers=slow) as connection:
        await connection.response.create()
        await events_until(connection, "response.created")
        await connection.response.create(event_id="mine")
        refused = (await events_until(connection, "error"))[-1].error
        assert (refused.code, refused.event_id) == ("conversation_already_has_active_response", "mine")
        await connection.response.create(response={"conversation": "none"})
        apart = (await events_until(connection, "response.created"))[-1].response
        assert apart.conversation_id is None
        await connection.response.cancel()
        done = (await events_until(connection, "response.done"))[-1].response
        assert (done.status, done.usage.output_tokens) == ("cancelled", 0)


async def test_live_answers_in_binary_frames(sandbox: Sandbox, http: aiohttp.ClientSession) -> None:
    """As the API does; nothing is answered before the setup, and each turn ends with its usage."""
    path = "/ws/google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent"
    async with http.ws_connect(path) as socket:
        await socket.send_str(json.dumps({"clientContent": {}}))
        message = await socket.receive()
        assert (message.type, message.data) == (aiohttp.WSMsgType.CLOSE, 1007)
    async with http.ws_connect(path) as socket:
        setup = {"model": "models/m", "generationConfig": {"responseModalities": ["TEXT"]}}
        await socket.send_str(json.dumps({"setup": setup}))
        assert "setupComplete" in json.loads(await socket.receive_bytes())
        await socket.send_str(json.dumps({"clientContent": {"turns": [], "turnComplete": True}}))
        said = 0
        while "usageMetadata" not in (message := json.loads(await socket.receive_bytes())):
            said += "modelTurn" in message["serverContent"]
        assert message["usageMetadata"]["responseTokensDetails"] == [{"modality": "TEXT", "tokenCount": said}]
    (call,) = sandbox.calls
    assert (call.model, call.output_tokens) == ("m", said)


async def test_whoever_hangs_up_ends_the_answer(sandbox: Sandbox, http: aiohttp.ClientSession) -> None:
    """What was produced by then is the bill."""
    slow = as_headers(Behaviour(chunk_delay_s=0.005, output_tokens=5000))
    async with http.ws_connect("/v1/responses", headers=slow) as socket:
        await socket.send_str(json.dumps({"type": "response.create", "model": "m", "input": "hi"}))
        while json.loads(await socket.receive_str())["type"] != "response.output_text.delta":
            pass
    (call,) = sandbox.calls
    while call.ending == "running":
        await asyncio.sleep(0.005)
    assert call.ending == "client_gone"
    assert 0 < call.produced_tokens < 5000


@pytest.mark.parametrize(
    ("headers", "status"), [({}, 401), ({"Authorization": "Bearer x", **as_headers(Behaviour(status=429))}, 429)]
)
async def test_a_handshake_can_be_refused(sandbox: Sandbox, headers: dict[str, str], status: int) -> None:
    """Without a key, or as told; a key in a subprotocol is one, as browsers must send it."""
    async with aiohttp.ClientSession(sandbox.url) as session:
        with pytest.raises(aiohttp.WSServerHandshakeError) as raised:
            await session.ws_connect("/v1/realtime", headers=headers)
        assert raised.value.status == status
        offered = ("realtime", "openai-insecure-api-key.made-up")
        async with session.ws_connect("/v1/realtime?model=m", protocols=offered) as socket:
            assert socket.protocol == "realtime"
            assert json.loads(await socket.receive_str())["type"] == "session.created"
