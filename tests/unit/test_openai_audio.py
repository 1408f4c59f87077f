"""What audio calls ask for, and what is known of their cost."""

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from penia_proxy.budget.estimate import Known, estimate
from penia_proxy.budget.prices import PriceBook
from penia_proxy.budget.usage import Usage
from penia_proxy.errors import InvalidRequest
from penia_proxy.wire.call import AnswerHead, Call, Reading, Request
from penia_proxy.wire.dialects import DIALECTS
from tests.forms import TYPE, form

BOOK = PriceBook.load()
AT = datetime(2026, 11, 23, 12, tzinfo=UTC)
TOKENS = {
    "type": "tokens",
    "input_tokens": 40,
    "input_token_details": {"audio_tokens": 37, "text_tokens": 3},
    "output_tokens": 12,
    "total_tokens": 52,
}
EVENTS = (
    b'data: {"type":"transcript.text.delta","delta":"Hi \xc3\xbc"}\n\n'
    b'data: {"type":"transcript.text.done","text":"Hi","usage":' + json.dumps(TOKENS).encode() + b"}\n\n"
    b"data: [DONE]\n\n"
)


def sound(model: str = "whisper-1", *, name: str = "openai", operation: str = "transcriptions", **fields: str) -> Call:
    values = [(key, value.encode()) for key, value in fields.items()]
    body = form(("model", model.encode()), *values, ("file", b"x" * 16_001, ' filename="a.wav"'))
    return DIALECTS[name].call(Request(operation, body, content_type=TYPE))


def speech(model: str = "tts-1", **members: Any) -> Call:
    body = json.dumps({"model": model, "input": "Grüße", "voice": "alloy", **members}).encode()
    return DIALECTS["openai"].call(Request("speech", body))


def read(call: Call, body: bytes, kind: str = "application/json", *, name: str = "openai", step: int = 1) -> Reading:
    meter = DIALECTS[name].meter(call, AnswerHead(kind))
    passed = b"".join(meter.feed(body[at : at + step]) for at in range(0, len(body), step)) + meter.end()
    assert passed == body
    return meter.reading()


def test_a_form_says_model_and_stream() -> None:
    """As JSON would; OpenRouter takes JSON, with the sound inside."""
    streamed = sound("gpt-4o-transcribe", stream="True", prompt="names")
    inside = DIALECTS["openrouter"].call(Request("transcriptions", b'{"model":"m","input_audio":{"data":"AAAA"}}'))

    assert (streamed.model, streamed.stream, streamed.text()) == ("gpt-4o-transcribe", True, "names")
    assert not sound(stream="false").stream
    assert (inside.model, inside.stream) == ("m", False)


@pytest.mark.parametrize(
    ("name", "usage", "expected"),
    [
        ("openai", TOKENS, Usage(input=3, input_audio=37, output=12)),
        ("openai", {"type": "duration", "seconds": 4}, Usage(units={"input_audio_seconds": 4})),
        ("openai", {"type": "duration", "seconds": 3.2}, Usage(units={"input_audio_seconds": 4})),
        (
            "mistral",
            {
                "prompt_audio_seconds": 3,
                "prompt_tokens": 4,
                "completion_tokens": 11,
                "total_tokens": 390,
                "prompt_tokens_details": {"audio_tokens": 375},
            },
            Usage(input=4, output=11, units={"input_audio_seconds": 3}),
        ),
        ("openrouter", {"input_tokens": 37, "output_tokens": 12}, Usage(input=37, output=12)),
    ],
)
def test_a_transcript_reports_tokens_or_seconds(name: str, usage: dict[str, Any], expected: Usage) -> None:
    """Whatever the model bills; Mistral's audio tokens are the seconds again."""
    reading = read(sound(name=name), json.dumps({"text": "Hi", "usage": usage}).encode(), name=name)

    assert (reading.parts, reading.complete, reading.finished) == (((None, expected),), True, True)


@pytest.mark.parametrize(
    "usage",
    [
        None,
        "12",
        {},
        {"type": "duration"},
        {"type": "duration", "seconds": -1},
        {"type": "duration", "seconds": True},
        {"type": "duration", "seconds": 1e300},
        {"input_tokens": "7", "output_tokens": 1},
        {"prompt_audio_seconds": 3, "prompt_tokens": -4, "completion_tokens": 1},
    ],
)
def test_what_cannot_be_believed_is_no_usage(usage: object) -> None:
    """Such an answer is estimated."""
    assert not read(sound(), json.dumps({"text": "Hi", "usage": usage}).encode()).complete


def test_any_chunking_gives_the_same() -> None:
    """Events are cut where the network likes, also inside a character."""
    asked = sound("gpt-4o-transcribe", stream="true")
    readings = [read(asked, EVENTS, "text/event-stream", step=step) for step in range(1, len(EVENTS) + 1)]

    assert all(reading == readings[0] for reading in readings)
    assert readings[0].parts == ((None, Usage(input=3, input_audio=37, output=12)),)
    assert (readings[0].complete, readings[0].finished) == (True, True)


def test_a_cut_stream_is_not_complete() -> None:
    """What it wrote was made."""
    reading = read(sound("gpt-4o-transcribe", stream="true"), EVENTS[:60], "text/event-stream")

    assert (reading.complete, reading.finished, reading.wrote) == (False, False, True)


def test_an_error_in_a_stream_is_a_failure() -> None:
    """Before anything was made, it bills nothing."""
    failed = b'data: {"type":"error","error":{"message":"no"}}\n\n'

    assert read(sound(stream="true"), failed, "text/event-stream").failed


def test_subtitles_say_nothing() -> None:
    """They are taken at the size of the recording, 8,000 bytes a second."""
    asked = sound(response_format="srt")
    reading = read(asked, b'{"usage":{"type":"duration","seconds":1}}', "text/plain")

    assert (reading.parts, reading.complete) == ((), False)
    assert asked.size.presumed == Usage(units={"input_audio_seconds": 3})


def test_a_stated_length_is_better_than_a_size_but_no_bill() -> None:
    """Groq's verbose transcripts and xAI's say how long, not how much."""
    reading = read(sound(name="groq"), b'{"text":"Hi","duration":3.7}', name="groq")

    assert (reading.parts, reading.complete) == (((None, Usage(units={"input_audio_seconds": 4})),), False)


def test_a_model_bills_seconds_or_tokens_and_a_strange_one_either() -> None:
    """What it has no price for costs nothing."""
    assert sound("gpt-4o-transcribe").size.presumed == Usage(input_audio=30, output=12)
    assert sound("strange").size.presumed == Usage(input_audio=30, output=12, units={"input_audio_seconds": 3})


def test_xai_takes_no_model() -> None:
    """So it is priced by the name of its path."""
    body = form(("file", b"x", ' filename="a.wav"'))

    assert DIALECTS["x-ai"].call(Request("stt", body, content_type=TYPE)).model == "stt"
    with pytest.raises(InvalidRequest, match="model"):
        DIALECTS["openai"].call(Request("transcriptions", body, content_type=TYPE))


def test_a_transcript_can_state_money() -> None:
    """OpenRouter's does."""
    answer = {"text": "Hi", "usage": {"input_tokens": 37, "output_tokens": 12, "cost": 0.00010625}}

    assert read(sound(name="openrouter"), json.dumps(answer).encode(), name="openrouter").cost_usd == Decimal(
        "0.00010625"
    )


def test_characters_to_speak_are_a_bound() -> None:
    """tts-1 bills them, and they are all in the request; nothing else of audio has a bound."""
    asked = estimate(speech().size, BOOK.card("openai", "tts-1", AT), Known(100)).ask

    assert speech().size.presumed == Usage(units={"input_characters": 5})
    assert (asked.expected_nanos, asked.most_nanos) == (75_000, 75_000)
    for call in (speech("gpt-4o-mini-tts"), speech("strange-tts"), sound(), sound(operation="translations")):
        assert call.size.unbounded_why


def test_a_recording_is_held_at_its_expected_seconds() -> None:
    """0.36 dollars an hour, three seconds; nothing bounds it."""
    asked = estimate(sound().size, BOOK.card("openai", "whisper-1", AT), Known(100)).ask

    assert (asked.expected_nanos, asked.most_nanos) == (300_000, None)
    assert "recording" in asked.unbounded_why


def test_sound_is_passed_on_as_it_comes() -> None:
    """It is estimated at what was to be spoken."""
    asked = speech("gpt-4o-mini-tts", instructions="whisper")
    meter = DIALECTS["openai"].meter(asked, AnswerHead("audio/mpeg"))
    reading = read(asked, b"\xff\xfb", "audio/mpeg")

    assert meter.streams
    assert (reading.finished, reading.complete, reading.wrote, reading.parts) == (True, False, True, ())
    assert asked.size.presumed == Usage(input=4, output=7)


def test_speech_as_events_reports() -> None:
    """Its last event has the tokens."""
    events = (
        b'data: {"type":"speech.audio.delta","audio":"AAAA"}\n\n'
        b'data: {"type":"speech.audio.done","usage":{"input_tokens":5,"output_tokens":60,"total_tokens":65}}\n\n'
    )
    reading = read(speech("gpt-4o-mini-tts", stream_format="sse"), events, "text/event-stream")

    assert (reading.parts, reading.complete) == (((None, Usage(input=5, output=60)),), True)


def test_speech_needs_a_text() -> None:
    """Else there is nothing to count."""
    with pytest.raises(InvalidRequest, match="input"):
        speech(input=None)


def test_an_edit_of_an_image_is_a_form_or_json() -> None:
    """Both say the model; one that reports nothing is refused."""
    body = form(("model", b"gpt-image-1"), ("prompt", b"a cat"), ("image[]", b"x", ' filename="a.png"'))
    asked = DIALECTS["openai"].call(Request("image-edits", body, content_type=TYPE))
    usage = {"input_tokens": 15, "input_tokens_details": {"image_tokens": 5}, "output_tokens": 400}

    assert (asked.model, asked.text()) == ("gpt-image-1", "a cat")
    assert asked.size.unbounded_why
    assert read(asked, json.dumps({"usage": usage}).encode()).parts == (
        (None, Usage(input=10, input_image=5, output_image=400)),
    )
    with pytest.raises(InvalidRequest, match="report their tokens"):
        DIALECTS["openai"].call(Request("image-edits", form(("model", b"dall-e-2")), content_type=TYPE))


@pytest.mark.parametrize(
    ("name", "usage", "expected", "cost"),
    [
        ("x-ai", {"cost_in_usd_ticks": 700_000_000}, Usage(), "0.07"),
        (
            "openrouter",
            {
                "prompt_tokens": 9,
                "completion_tokens": 7,
                "completion_tokens_details": {"image_tokens": 7},
                "cost": 0.0338,
            },
            Usage(input=9, output_image=7),
            "0.0338",
        ),
    ],
)
def test_an_image_can_state_money(name: str, usage: dict[str, Any], expected: Usage, cost: str) -> None:
    """Then any model is let through."""
    asked = DIALECTS[name].call(Request("images", b'{"model":"m","prompt":"a cat"}'))
    reading = read(asked, json.dumps({"data": [], "usage": usage}).encode(), name=name)

    assert (reading.parts, reading.complete, reading.cost_usd) == (((None, expected),), True, Decimal(cost))
