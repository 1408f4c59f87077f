"""The official SDKs open sessions by base URL alone, and are refused in their own ways."""

import asyncio
import base64
from pathlib import Path
from typing import Any

import openai
import pytest
from google import genai
from google.genai import errors, types
from websockets.exceptions import ConnectionClosed, InvalidStatus

from penia_proxy.sandbox.faults import Behaviour
from tests.gateways import Running, Start
from tests.tls import behind_tls

# The SDK's own habit, not ours to mend.
pytestmark = pytest.mark.filterwarnings("ignore:Inheritance class AiohttpClientSession:DeprecationWarning")

SPENT = {"name": "Spent", "daily_limit": 0.000001, "enforcement": "block"}
SECOND = base64.b64encode(bytes(48_000)).decode()


def client_of(penia: Running) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(api_key="made-up", base_url=f"{penia.url}/openai/v1", max_retries=0)


def gemini_of(url: str, trusting: Any) -> genai.Client:
    return genai.Client(
        api_key="made-up",
        http_options=types.HttpOptions(base_url=f"{url}/google", async_client_args={"ssl": trusting}),
    )


async def until(events: Any, kind: str) -> Any:
    async for event in events:
        if event.type == kind:
            return event
    raise AssertionError(f"no {kind}")


async def test_responses_over_a_websocket(start: Start) -> None:
    """Two responses of one connection are two records, with the counts that the SDK was told."""
    penia = await start()
    async with client_of(penia) as client, client.responses.connect() as connection:
        told = []
        for _ in range(2):
            await connection.response.create(model="gpt-4o-mini", input="Say hello.", max_output_tokens=5)
            told.append((await until(connection, "response.completed")).response)

    records = await penia.records()
    assert [(record["input_tokens"], record["output_tokens"]) for record in reversed(records)] == [
        (answer.usage.input_tokens, answer.usage.output_tokens) for answer in told
    ]
    assert {record["model"] for record in records} == {"gpt-4o-mini-2024-07-18"}
    assert {record["cost_basis"] for record in records} == {"reported"}
    assert len({record["metadata"]["session"] for record in records}) == 1
    assert len({record["request_id"] for record in records}) == 2


@pytest.mark.filterwarnings("ignore:connect.. must be used as a context manager:DeprecationWarning")
async def test_responses_over_a_websocket_without_asyncio(start: Start) -> None:
    """The synchronous client speaks the same."""
    penia = await start()

    def call() -> Any:
        with (
            openai.OpenAI(api_key="made-up", base_url=f"{penia.url}/openai/v1") as client,
            client.responses.connect() as connection,
        ):
            connection.response.create(model="gpt-4o-mini", input="Say hello.")
            return next(event for event in connection if event.type == "response.completed")

    answer = await asyncio.to_thread(call)

    (record,) = await penia.records()
    assert record["output_tokens"] == answer.response.usage.output_tokens


async def test_a_refused_response_is_an_event_and_the_connection_lives(start: Start) -> None:
    """What does not fit raises the SDK's error in its event loop; what fits is answered over the same connection."""
    penia = await start(budgets=({**SPENT, "daily_limit": 0.001},))
    async with client_of(penia) as client, client.responses.connect() as connection:
        await connection.response.create(model="gpt-4o", input="x" * 40_000)
        refused = await until(connection, "error")
        assert refused.error.code == "budget_exceeded"
        assert refused.status == 402
        await connection.response.create(model="gpt-4o-mini", input="hi", max_output_tokens=5)
        await until(connection, "response.completed")
        await connection.response.create(model="gpt-4o", input="x" * 40_000)
        with pytest.raises(openai.OpenAIError, match="budget_exceeded"):
            await connection.dispatch_events()

    assert len(penia.sandbox.calls) == len(await penia.records()) == 1


async def test_a_realtime_session(start: Start) -> None:
    """An answer that is asked for, and one to what was heard, with its transcript: three records."""
    penia = await start()
    async with client_of(penia) as client, client.realtime.connect(model="gpt-realtime") as connection:
        transcription = {"input": {"transcription": {"model": "gpt-4o-transcribe"}}}
        await connection.session.update(session={"type": "realtime", "audio": transcription})
        content = [{"type": "input_text", "text": "hi"}]
        await connection.conversation.item.create(item={"type": "message", "role": "user", "content": content})
        await connection.response.create()
        first = (await until(connection, "response.done")).response.usage
        await connection.input_audio_buffer.append(audio=SECOND)
        written = (await until(connection, "conversation.item.input_audio_transcription.completed")).usage
        second = (await until(connection, "response.done")).response.usage

    records = sorted(
        await penia.records(), key=lambda record: (record["model"] == "gpt-realtime", record["input_tokens"])
    )
    text, asked, heard = records
    for record, usage, model in ((asked, first, "gpt-realtime"), (heard, second, "gpt-realtime")):
        assert (record["input_tokens"], record["output_tokens"]) == (usage.input_tokens, usage.output_tokens)
        assert (record["model"], record["cost_basis"]) == (model, "reported")
    assert (text["input_tokens"], text["output_tokens"]) == (written.input_tokens, written.output_tokens)
    assert (text["model"], text["metadata"]["session"]) == ("gpt-4o-transcribe", asked["metadata"]["session"])
    # Sound is dearer than text by far: at text's price this would be a quarter.
    assert asked["cost"] > first.output_token_details.audio_tokens * 64e-6


@pytest.mark.parametrize(
    ("budget", "code"),
    [(SPENT, "budget_exceeded"), ({**SPENT, "daily_limit": 1000, "overrun": "never"}, "unbounded_call")],
)
async def test_a_realtime_session_is_refused_before_it_begins(start: Start, budget: dict[str, Any], code: str) -> None:
    """As an HTTP answer, which is what the SDK raises on; the provider hears nothing."""
    penia = await start(budgets=(budget,))
    async with client_of(penia) as client:
        with pytest.raises(InvalidStatus) as raised:
            await client.realtime.connect(model="gpt-realtime").enter()

    assert raised.value.response.status_code == 402
    assert code.encode() in raised.value.response.body
    assert penia.sandbox.calls == []


async def test_a_realtime_session_ends_where_the_next_answer_does_not_fit(start: Start) -> None:
    """The answer that was held comes whole; then an error, and a close that no SDK connects again after."""
    # A first answer is held at about 0.066 and costs 0.032; the next is expected to be as long as that.
    penia = await start(budgets=({**SPENT, "daily_limit": 0.07},), script=Behaviour(output_tokens=400))
    async with client_of(penia) as client, client.realtime.connect(model="gpt-realtime") as connection:
        await connection.response.create()
        await until(connection, "response.done")
        refused = await connection.recv()
        assert (refused.type, refused.error.code) == ("error", "budget_exceeded")
        with pytest.raises(ConnectionClosed) as closed:
            await connection.recv()

    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1008
    assert closed.value.rcvd.reason.startswith("budget_exceeded")
    (record,) = await penia.records()
    assert (record["status"], record["cost_basis"]) == ("ok", "reported")


async def test_a_live_session(start: Start, certificate: Path) -> None:
    """Google's SDK speaks TLS here and nothing else, so there is some before the gateway; each turn is a record."""
    penia = await start(providers={"google": {}})
    async with behind_tls(penia.url, certificate) as (url, trusting):
        live = gemini_of(url, trusting).aio.live
        config = {"response_modalities": ["AUDIO"]}
        async with live.connect(model="gemini-live-2.5-flash", config=config) as session:
            told = []
            for text in ("Hello.", "And now?"):
                await session.send_client_content(turns=types.Content(role="user", parts=[types.Part(text=text)]))
                told += [said.usage_metadata async for said in session.receive() if said.usage_metadata]
            await session.send_realtime_input(audio=types.Blob(data=bytes(32_000), mime_type="audio/pcm;rate=16000"))
            told += [said.usage_metadata async for said in session.receive() if said.usage_metadata]

    records = list(reversed(await penia.records()))
    assert [(record["input_tokens"], record["output_tokens"]) for record in records] == [
        (usage.prompt_token_count, usage.response_token_count) for usage in told
    ]
    assert {record["model"] for record in records} == {"gemini-live-2.5-flash"}
    assert len(records) == 3


@pytest.mark.parametrize(
    ("budget", "code"),
    [(SPENT, "budget_exceeded"), ({**SPENT, "daily_limit": 1000, "overrun": "never"}, "unbounded_call")],
)
async def test_a_live_session_is_refused_by_its_close(
    start: Start, certificate: Path, budget: dict[str, Any], code: str
) -> None:
    """The protocol has no other way: the SDK raises its own error with the reason."""
    penia = await start(providers={"google": {}}, budgets=(budget,))
    async with behind_tls(penia.url, certificate) as (url, trusting):
        live = gemini_of(url, trusting).aio.live
        with pytest.raises(errors.APIError) as raised:
            async with live.connect(model="gemini-live-2.5-flash", config={}):
                pass

    assert raised.value.code == 1008
    assert code in str(raised.value)
    assert penia.sandbox.calls == []
