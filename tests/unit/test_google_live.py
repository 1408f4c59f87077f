"""What a session of the Live API asks for, and which message has the bill of a turn."""

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penia_proxy.budget.usage import Usage
from penia_proxy.errors import BudgetExceeded, InvalidRequest
from penia_proxy.wire.call import Reading, Request
from penia_proxy.wire.google import Google
from penia_proxy.wire.google_live import LiveSession
from penia_proxy.wire.session import Heard, Turn

SECOND = base64.b64encode(bytes(48_000)).decode()
SETUP = {"setup": {"model": "models/gemini-live-2.5-flash", "generationConfig": {"responseModalities": ["AUDIO"]}}}
USAGE = {
    "promptTokenCount": 1150,
    "responseTokenCount": 85,
    "totalTokenCount": 1235,
    "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 1150}],
    "responseTokensDetails": [{"modality": "AUDIO", "tokenCount": 85}],
    "thoughtsTokenCount": 28,
}
COUNTS = Usage(input=1150, output_audio=85, reasoning=28)


def asked(session: LiveSession, message: Any) -> Turn | None:
    return session.asked(json.dumps(message).encode())


def heard(session: LiveSession, message: Any) -> Heard:
    return session.heard(json.dumps(message).encode())


def set_up(**setup: Any) -> tuple[LiveSession, Turn]:
    session = LiveSession()
    assert session.opening() is None
    turn = asked(session, {"setup": {**SETUP["setup"], **setup}})
    assert turn is not None
    return session, turn


def said(*parts: Any, **content: Any) -> dict[str, Any]:
    return {"serverContent": {"modelTurn": {"role": "model", "parts": list(parts)}, **content}}


def test_the_setup_is_held_before_it_is_passed_on() -> None:
    """It names the model, in any of its forms, and how long an answer may be."""
    for model in ("models/m-live", "m-live", "projects/p/locations/l/publishers/google/models/m-live"):
        _, turn = set_up(model=model, generationConfig={"responseModalities": ["TEXT"], "maxOutputTokens": 9})
        assert turn.call.model == "m-live"
        assert (turn.call.size.output_cap, turn.call.size.presumed_output) == (9, "output")
        assert turn.call.size.unbounded_why
        assert not turn.begun


@pytest.mark.parametrize(
    "message",
    [
        {"clientContent": {"turnComplete": True}},
        {"setup": None},
        {"setup": {}},
        {"setup": {"model": "models/"}},
        {"setup": {"model": "m", "generationConfig": {}, "generation_config": {}}},
    ],
)
def test_nothing_comes_before_the_setup(message: Any) -> None:
    """Without a model no price is known; with two settings nobody knows which counts."""
    with pytest.raises(InvalidRequest):
        asked(LiveSession(), message)


def test_a_session_is_set_up_once() -> None:
    """Another setup could name another model."""
    session, _ = set_up()
    with pytest.raises(InvalidRequest):
        asked(session, SETUP)


def test_each_usage_ends_a_turn_and_holds_the_next() -> None:
    """Under its own names of the Live API, with thoughts on top; also in binary frames, which are JSON as well."""
    session, turn = set_up()
    assert heard(session, {"setupComplete": {}}) == Heard()
    asked(session, {"client_content": {"turns": [], "turn_complete": True}})
    assert turn.begun
    heard(session, said({"inlineData": {"mimeType": "audio/pcm", "data": SECOND}}))

    last = heard(session, {"serverContent": {"turnComplete": True}, "usageMetadata": USAGE})

    assert last.ended == (turn,)
    assert turn.reading().parts == ((None, COUNTS),)
    assert (turn.reading().complete, turn.reading().finished) == (True, True)
    assert last.needed is not None
    assert not last.needed.begun
    again = heard(session, {"usageMetadata": {**USAGE, "responseTokenCount": 1, "responseTokensDetails": []}})
    assert again.ended == (last.needed,)
    assert last.needed.reading().parts == ((None, Usage(input=1150, output=1, reasoning=28)),)


def test_what_is_heard_begins_no_turn() -> None:
    """Only what the model says does, or a content that is whole, or the result of a tool."""
    session, turn = set_up()
    asked(session, {"realtimeInput": {"audio": {"mimeType": "audio/pcm;rate=16000", "data": SECOND}}})
    asked(session, {"clientContent": {"turns": [], "turnComplete": False}})
    heard(session, {"serverContent": {"inputTranscription": {"text": "hi"}}})
    assert not turn.begun

    heard(session, {"toolCall": {"functionCalls": [{"name": "weather", "args": {"city": "Oslo"}}]}})
    assert turn.begun
    session, turn = set_up()
    asked(session, {"toolResponse": {"functionResponses": []}})
    assert turn.begun


def test_a_turn_that_was_cut_is_counted_from_what_passed() -> None:
    """Its sound by its length, what was written of it as text, and what was said before it as its input."""
    session, _ = set_up()
    heard(session, {"serverContent": {"turnComplete": True}, "usageMetadata": USAGE})
    sound = {"mimeType": "audio/pcm;rate=16000", "data": base64.b64encode(bytes(32_000)).decode()}
    asked(session, {"realtimeInput": {"audio": sound}})
    asked(session, {"realtimeInput": {"mediaChunks": [sound, {"mimeType": "image/jpeg", "data": "AA"}]}})
    asked(session, {"realtimeInput": {"text": "x" * 40}})
    heard(session, said({"inlineData": {"mimeType": "audio/pcm", "data": SECOND}}, {"text": "seen "}))
    heard(session, {"serverContent": {"outputTranscription": {"text": "heard"}}})

    assert session._answer is not None
    reading = session._answer.reading()

    ((model, usage),) = reading.parts
    assert model is None
    assert (usage.input, usage.input_audio, usage.output_audio) == (10, 50, 25)
    assert (usage.cache_read, usage.cache_read_audio) == (1150, 85)
    assert usage.input_image > 0
    assert reading.passed_text == "seen heard"
    assert not reading.complete
    assert not reading.finished


def test_a_turn_without_a_bill_ends_when_the_next_begins() -> None:
    """An interrupted one may have none: it is estimated by what passed, and the next is held as it begins."""
    session, turn = set_up()
    heard(session, said({"text": "Once upon a time"}))
    assert heard(session, {"serverContent": {"interrupted": True}}) == Heard()
    assert heard(session, {"serverContent": {"turnComplete": True}}) == Heard()

    begun = heard(session, said({"text": "Sorry?"}))

    assert begun.ended == (turn,)
    assert turn.reading().passed_text == "Once upon a time"
    assert (turn.reading().finished, turn.reading().complete) == (True, False)
    assert begun.needed is not None
    assert begun.needed.begun
    assert heard(session, {"usageMetadata": USAGE}).ended == (begun.needed,)


def test_searches_are_billed_with_their_turn() -> None:
    """As those of an answer over HTTP."""
    session, turn = set_up()
    heard(session, said({"text": "x"}, groundingMetadata={"webSearchQueries": ["a", "b"]}))
    heard(session, {"usageMetadata": USAGE})

    assert turn.reading().parts[0][1].units == {"web_searches": 1}


def test_a_refusal_has_no_message() -> None:
    """The protocol has none, so the connection is closed with it; and the setup is as if it had not been sent."""
    session, turn = set_up()
    assert session.refusal(BudgetExceeded("spent"), {}, b"{}") is None
    session.withdrawn(turn)
    assert asked(session, SETUP) is not None


def test_a_query_that_hides_the_bill_opens_nothing() -> None:
    """As over HTTP: a mask of fields could leave the usage out."""
    opens = next(route.opens for route in Google.routes if route.opens is not None)
    assert isinstance(opens(Request("live", b"", query="key=made-up")), LiveSession)
    with pytest.raises(InvalidRequest):
        opens(Request("live", b"", query="$fields=serverContent"))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
MEMBERS = (
    "serverContent",
    "server_content",
    "modelTurn",
    "parts",
    "inlineData",
    "outputTranscription",
    "toolCall",
    "usageMetadata",
    "promptTokenCount",
    "responseTokensDetails",
)
MESSAGE = st.recursive(
    JSON, lambda inner: st.dictionaries(st.sampled_from(MEMBERS), inner | st.lists(inner, max_size=2)), max_leaves=12
)


@given(st.lists(MESSAGE, max_size=5))
def test_nothing_a_provider_says_breaks_a_session(messages: list[Any]) -> None:
    """Whatever the frames hold, they are read without an error, and every turn can say what is known of it."""
    session, first = set_up()
    turns: list[Turn | None] = [first]
    for message in messages:
        frame = heard(session, message)
        turns += [*frame.ended, frame.needed]
    for turn in turns:
        assert turn is None or isinstance(turn.reading(), Reading)
