"""OpenAI's own SDK transcribes, speaks and edits images by base URL alone, and what it used is on the record."""

import base64
import json
import warnings
from collections.abc import AsyncIterator
from typing import Any

import openai
import pytest
from aiohttp import web

from tests.gateways import Running, Start

WAV = ("a.wav", b"RIFF" + b"\x00" * 15_996, "audio/wav")
SOUND = bytes(range(256)) * 40
DONE = {
    "type": "transcript.text.done",
    "text": "Hi",
    "usage": {"type": "tokens", "input_tokens": 37, "input_token_details": {"audio_tokens": 37}, "output_tokens": 12},
}
SPOKEN = {"type": "speech.audio.done", "usage": {"input_tokens": 5, "output_tokens": 60, "total_tokens": 65}}
ANSWERS: dict[str, tuple[str, bytes]] = {
    "json": ("application/json", b'{"text":"Hi","usage":{"type":"duration","seconds":4}}'),
    "srt": ("text/plain; charset=utf-8", b"1\n00:00:00,000 --> 00:00:02,000\nHi\n"),
    "stream": (
        "text/event-stream",
        b'data: {"type":"transcript.text.delta","delta":"Hi"}\n\ndata: ' + json.dumps(DONE).encode() + b"\n\n",
    ),
    "sound": ("audio/mpeg", SOUND),
    "sse": ("text/event-stream", b"data: " + json.dumps(SPOKEN).encode() + b"\n\n"),
    "image": (
        "application/json",
        json.dumps(
            {
                "created": 1,
                "data": [{"b64_json": base64.b64encode(b"png").decode()}],
                "usage": {"input_tokens": 10, "output_tokens": 400, "total_tokens": 410},
            }
        ).encode(),
    ),
}


class Provider:
    """Says one of the answers, in pieces, and keeps the form it was sent."""

    def __init__(self) -> None:
        self.url = ""
        self.says = "json"
        self.forms: list[dict[str, int]] = []

    async def answer(self, request: web.Request) -> web.StreamResponse:
        if request.content_type == "multipart/form-data":
            fields: dict[str, int] = {}
            async for part in await request.multipart():
                fields[part.name] = len(await part.read())  # type: ignore[union-attr,index,arg-type]
            self.forms.append(fields)
        kind, body = ANSWERS[self.says]
        response = web.StreamResponse(headers={"Content-Type": kind})
        await response.prepare(request)
        for at in range(0, len(body), 97):
            await response.write(body[at : at + 97])
        await response.write_eof()
        return response


@pytest.fixture
async def provider() -> AsyncIterator[Provider]:
    canned = Provider()
    app = web.Application()
    app.router.add_post("/{path:.*}", canned.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    canned.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield canned
    await runner.cleanup()


async def begun(start: Start, provider: Provider, *budgets: dict[str, Any]) -> tuple[Running, openai.AsyncOpenAI]:
    running = await start(providers={"openai": {"base_url": provider.url}}, budgets=budgets)
    return running, openai.AsyncOpenAI(base_url=f"{running.url}/openai/v1", api_key="made-up", max_retries=0)


async def only_record(running: Running) -> dict[str, Any]:
    (record,) = await running.records()
    return record


async def test_a_transcript_costs_its_seconds(start: Start, provider: Provider) -> None:
    """Four of them, at 0.36 dollars an hour; the form arrives whole."""
    running, client = await begun(start, provider)
    async with client:
        transcript = await client.audio.transcriptions.create(model="whisper-1", file=WAV)

    record = await only_record(running)
    assert transcript.text == "Hi"
    assert provider.forms[0]["file"] == 16_000
    assert (record["model"], record["cost"], record["cost_basis"]) == ("whisper-1", 0.0004, "reported")


async def test_a_streamed_transcript_costs_its_tokens(start: Start, provider: Provider) -> None:
    """The last event has them."""
    provider.says = "stream"
    running, client = await begun(start, provider)
    async with client:
        events = await client.audio.transcriptions.create(model="gpt-4o-transcribe", file=WAV, stream=True)
        kinds = [event.type async for event in events]

    record = await only_record(running)
    assert kinds == ["transcript.text.delta", "transcript.text.done"]
    assert (record["input_tokens"], record["output_tokens"], record["cost"]) == (37, 12, 0.000342)
    assert (record["cost_basis"], record["status"], record["streamed"]) == ("reported", "ok", True)


async def test_subtitles_are_estimated_by_the_recordings_size(start: Start, provider: Provider) -> None:
    """They report nothing, and are not free: two seconds."""
    provider.says = "srt"
    running, client = await begun(start, provider)
    async with client:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of the SDK's, about the endpoint
            said = await client.audio.translations.create(model="whisper-1", file=WAV, response_format="srt")

    record = await only_record(running)
    assert "00:00:02" in str(said)
    assert (record["cost"], record["cost_basis"], record["status"]) == (0.0002, "estimated", "ok")


async def test_speech_costs_its_characters(start: Start, provider: Provider) -> None:
    """Also under a budget that must never be overrun, since they are all in the request."""
    provider.says = "sound"
    running, client = await begun(
        start, provider, {"name": "hard", "daily_limit": 0.0002, "enforcement": "block", "overrun": "never"}
    )
    async with client:
        async with client.audio.speech.with_streaming_response.create(
            model="tts-1", voice="alloy", input="Hello there"
        ) as answer:
            sound = await answer.read()
        with pytest.raises(openai.APIStatusError) as refused:
            await client.audio.speech.create(model="tts-1", voice="alloy", input="Hello there")

    record = await only_record(running)
    assert sound == SOUND
    assert (record["cost"], record["cost_basis"], record["status"]) == (0.000165, "estimated", "ok")
    assert refused.value.status_code in (402, 429)


async def test_speech_as_events_costs_what_it_reports(start: Start, provider: Provider) -> None:
    """60 tokens at 12 dollars a million, and 5 at 0.6."""
    provider.says = "sse"
    running, client = await begun(start, provider)
    async with client:
        answer = await client.audio.speech.create(
            model="gpt-4o-mini-tts", voice="alloy", input="Hello", stream_format="sse"
        )
        await answer.aread()

    record = await only_record(running)
    assert (record["cost"], record["cost_basis"]) == (0.000723, "reported")


async def test_an_edit_of_an_image_costs_its_tokens(start: Start, provider: Provider) -> None:
    """As a generation does."""
    provider.says = "image"
    running, client = await begun(start, provider)
    async with client:
        await client.images.edit(model="gpt-image-1", image=[("a.png", b"x"), ("b.png", b"y")], prompt="a cat")

    record = await only_record(running)
    assert (record["output_tokens"], record["cost"], record["cost_basis"]) == (400, 0.01605, "reported")


async def test_a_recording_has_no_bound(start: Start, provider: Provider) -> None:
    """So a budget that must never be overrun refuses it before it leaves."""
    running, client = await begun(
        start, provider, {"name": "hard", "daily_limit": 10, "enforcement": "block", "overrun": "never"}
    )
    async with client:
        with pytest.raises(openai.APIStatusError, match="how long a recording is"):
            await client.audio.transcriptions.create(model="whisper-1", file=WAV)

    assert provider.forms == []
    assert await running.records() == []
