"""What a realtime session asks for, and what its events bill."""

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penia_proxy.budget.usage import Usage
from penia_proxy.errors import BudgetExceeded, InvalidRequest
from penia_proxy.wire.call import Reading, Request
from penia_proxy.wire.families import OPENAI, XAI, Family
from penia_proxy.wire.openai_usage import realtime_usage_of
from penia_proxy.wire.realtime import RealtimeSession
from penia_proxy.wire.session import Heard, Session, Turn

SECOND = base64.b64encode(bytes(48_000)).decode()
USAGE = {
    "total_tokens": 219,
    "input_tokens": 122,
    "output_tokens": 97,
    "input_token_details": {
        "text_tokens": 96,
        "audio_tokens": 26,
        "image_tokens": 0,
        "cached_tokens": 64,
        "cached_tokens_details": {"text_tokens": 64, "audio_tokens": 0, "image_tokens": 0},
    },
    "output_token_details": {"text_tokens": 28, "audio_tokens": 69},
}
COUNTS = Usage(input=32, cache_read=64, input_audio=26, output=28, output_audio=69)


def opened(query: str = "model=gpt-realtime", family: Family = OPENAI) -> RealtimeSession:
    return RealtimeSession(Request("realtime", b"", query=query), family)


def asked(session: Session, kind: str, /, **members: Any) -> Turn | None:
    return session.asked(json.dumps({"type": kind, **members}).encode())


def heard(session: Session, kind: str, /, **members: Any) -> Heard:
    return session.heard(json.dumps({"type": kind, **members}).encode())


def response(name: str = "resp_1", **members: Any) -> dict[str, Any]:
    return {"id": name, "conversation_id": "conv_1", "status": "in_progress", "usage": None, **members}


def done(name: str = "resp_1", **members: Any) -> dict[str, Any]:
    return response(name, **{"status": "completed", "usage": USAGE, **members})


@pytest.mark.parametrize(
    ("report", "counts"),
    [
        (USAGE, COUNTS),
        ({"input_tokens": 12, "output_tokens": 3}, Usage(input=12, output=3)),
        # Where the details of what is cached are left out, it is text first, then sound.
        (
            {
                "input_tokens": 10,
                "output_tokens": 0,
                "input_token_details": {"text_tokens": 4, "audio_tokens": 6, "cached_tokens": 7},
            },
            Usage(cache_read=4, cache_read_audio=3, input_audio=3),
        ),
        # What contradicts its total is clamped to it.
        (
            {
                "input_tokens": 10,
                "output_tokens": 5,
                "input_token_details": {"audio_tokens": 90, "cached_tokens": 90},
                "output_token_details": {"audio_tokens": 90, "reasoning_tokens": 9},
            },
            Usage(cache_read_audio=10, output_audio=5),
        ),
        (
            {
                "input_tokens": 20,
                "output_tokens": 9,
                "input_token_details": {
                    "audio_tokens": 8,
                    "image_tokens": 6,
                    "cached_tokens": 11,
                    "cached_tokens_details": {"text_tokens": 2, "audio_tokens": 5, "image_tokens": 4},
                },
                "output_token_details": {"audio_tokens": 3, "reasoning_tokens": 4},
            },
            Usage(
                input=4,
                cache_read=6,
                cache_read_audio=5,
                input_audio=3,
                input_image=2,
                output=2,
                reasoning=4,
                output_audio=3,
            ),
        ),
        ({}, None),
        (None, None),
        ({"input_tokens": -1, "output_tokens": 1}, None),
    ],
)
def test_usage_is_disjoint(report: Any, counts: Usage | None) -> None:
    """Text, sound and images apart, cached and not, and no token twice."""
    assert realtime_usage_of(report) == counts


def test_an_answer_that_begins_by_itself_was_held_before_it_could() -> None:
    """From the opening on there is one turn for the next answer, and a new one when that has ended."""
    session = opened()
    opening = session.opening()
    assert opening is not None
    assert not opening.begun
    assert opening.call.model == "gpt-realtime"
    assert opening.call.size.unbounded_why

    assert heard(session, "response.created", response=response()) == Heard()
    assert opening.begun
    last = heard(session, "response.done", response=done())

    assert last.ended == (opening,)
    assert last.needed is not None
    assert not last.needed.begun
    reading = opening.reading()
    assert reading.parts == (("gpt-realtime", COUNTS),)
    assert (reading.complete, reading.finished, reading.failed) == (True, True, False)


def test_what_a_client_asks_for_takes_the_turn_that_is_held() -> None:
    """No second hold for the same answer; while one runs, the next is held before its frame is passed on."""
    session = opened()
    opening = session.opening()
    assert asked(session, "response.create") is None
    assert opening is not None
    assert opening.begun

    heard(session, "response.created", response=response())
    second = asked(session, "response.create")
    assert second is not None
    assert second.begun
    assert asked(session, "response.create") is None

    last = heard(session, "response.done", response=done())
    assert last.ended == (opening,)
    assert last.needed is None
    heard(session, "response.created", response=response("resp_2"))
    assert heard(session, "response.done", response=done("resp_2")).ended == (second,)


def test_an_answer_apart_from_the_conversation_has_a_turn_of_its_own() -> None:
    """It runs beside one of the conversation, and neither takes the other's."""
    session = opened()
    opening = session.opening()
    apart = asked(session, "response.create", response={"conversation": "none"})
    assert apart is not None

    heard(session, "response.created", response=response("resp_1"))
    heard(session, "response.created", response=response("resp_2", conversation_id=None))

    own = heard(session, "response.done", response=done("resp_2", conversation_id=None))
    assert (own.ended, own.needed) == ((apart,), None)
    other = heard(session, "response.done", response=done("resp_1"))
    assert other.ended == (opening,)
    assert other.needed is not None


def test_a_refused_turn_leaves_no_trace() -> None:
    """The frame was not passed on: the next one asks anew."""
    session = opened()
    session.opening()
    heard(session, "response.created", response=response())
    for members in ({}, {"response": {"conversation": "none"}}):
        turn = asked(session, "response.create", **members)
        assert turn is not None
        session.withdrawn(turn)
        again = asked(session, "response.create", **members)
        assert again is not None
        assert again is not turn
        session.withdrawn(again)


@pytest.mark.parametrize(
    ("asked_as", "error", "is_over"),
    [
        ({"event_id": "mine"}, {"event_id": "mine"}, True),
        ({"event_id": "mine"}, {"event_id": "another"}, False),
        ({"event_id": "mine"}, {"event_id": None}, False),
        ({}, {"event_id": None}, True),
        ({}, {"event_id": "another"}, False),
        ({"event_id": "mine"}, {"event_id": None, "code": "conversation_already_has_active_response"}, True),
        ({}, {"event_id": ["x"]}, True),
    ],
)
def test_an_error_ends_what_it_is_about(asked_as: dict[str, Any], error: dict[str, Any], is_over: bool) -> None:
    """A request that the provider refused is no longer under way; its turn waits for the next."""
    session = opened()
    opening = session.opening()
    assert opening is not None
    asked(session, "response.create", **asked_as)

    heard(session, "error", error={"type": "invalid_request_error", "message": "no", **error})

    assert opening.begun is not is_over


def test_an_answer_that_was_cut_is_counted_from_what_passed() -> None:
    """Its sound by its length, its text as text, and what it read from what was said before it."""
    session = opened()
    opening = session.opening()
    assert opening is not None
    heard(session, "response.created", response=response())
    heard(session, "response.done", response=done())
    turn = session.asked(b'{"type": "input_audio_buffer.append", "audio": "%s"}' % SECOND.encode())
    assert turn is None
    heard(session, "input_audio_buffer.speech_started", audio_start_ms=0)
    heard(session, "input_audio_buffer.speech_stopped", audio_end_ms=600)
    heard(session, "input_audio_buffer.committed")
    begun = heard(session, "response.created", response=response("resp_2"))
    assert begun.needed is None
    heard(session, "response.output_audio.delta", response_id="resp_2", delta=SECOND)
    heard(session, "response.output_audio_transcript.delta", response_id="resp_2", delta="Hello")
    heard(session, "response.function_call_arguments.delta", response_id="resp_2", delta='{"a"')

    reading = running(session, "resp_2")

    # 600 ms of speech are 6 tokens, a second spoken 20; what the first answer read and wrote comes from the cache.
    assert reading.parts == (
        ("gpt-realtime", Usage(cache_read=96 + 28, cache_read_audio=26 + 69, input_audio=6, output_audio=20)),
    )
    assert reading.passed_text == 'Hello{"a"'
    assert not reading.complete
    assert not reading.finished


def running(session: RealtimeSession, name: str) -> Reading:
    return session._running[name].reading()


def test_what_was_said_makes_the_next_answer_dearer() -> None:
    """Text, sound and pictures that are sent are read by the next answer."""
    session = opened()
    asked(session, "conversation.item.create", item={"content": [{"type": "input_text", "text": "x" * 400}]})
    asked(session, "conversation.item.create", item={"content": [{"type": "input_audio", "audio": SECOND}]})
    asked(session, "conversation.item.create", item={"content": [{"type": "input_image", "image_url": "data:,"}]})

    presumed = session.call().size.presumed

    assert presumed is not None
    assert presumed.input > 100
    assert presumed.input_audio == 10
    assert presumed.input_image > 0


@pytest.mark.parametrize(
    ("settings", "kind", "cap"),
    [
        ({}, "output_audio", None),
        ({"output_modalities": ["text"], "max_output_tokens": 77}, "output", 77),
        ({"modalities": ["text", "audio"], "max_response_output_tokens": "inf"}, "output_audio", None),
    ],
)
def test_settings_of_both_shapes_are_read(settings: dict[str, Any], kind: str, cap: int | None) -> None:
    """What answers are made of, and how long they may be: from the client, and from what the provider confirms."""
    for tell in (asked, heard):
        session = opened()
        tell(session, "session.update" if tell is asked else "session.updated", session=settings)
        size = session.call().size
        assert (size.presumed_output, size.output_cap) == (kind, cap)


def test_the_model_is_the_one_in_force() -> None:
    """A deployment's name holds, and the model that the provider names is billed."""
    session = opened("api-version=1&deployment=mine")
    opening = session.opening()
    assert opening is not None
    assert opening.call.model == "mine"
    heard(session, "session.created", session={"model": "gpt-realtime-2025-08-28"})
    heard(session, "response.done", response=done())

    assert opening.reading().parts[0][0] == "gpt-realtime-2025-08-28"


@pytest.mark.parametrize(
    ("usage", "counts"),
    [
        ({"type": "duration", "seconds": 2.4}, Usage(units={"input_audio_seconds": 3})),
        (
            {
                "type": "tokens",
                "input_tokens": 26,
                "output_tokens": 9,
                "input_token_details": {"text_tokens": 0, "audio_tokens": 26},
            },
            Usage(input_audio=26, output=9),
        ),
    ],
)
def test_a_transcript_is_another_models_bill(usage: dict[str, Any], counts: Usage) -> None:
    """Its seconds or tokens, under its own name, and once for each piece of what was said."""
    session = opened()
    asked(session, "session.update", session={"audio": {"input": {"transcription": {"model": "gpt-4o-transcribe"}}}})

    said = heard(
        session,
        "conversation.item.input_audio_transcription.completed",
        item_id="item_1",
        content_index=0,
        transcript="hi",
        usage=usage,
    )

    (aside,) = said.asides
    assert (aside.model, aside.usage, aside.key, aside.reported) == ("gpt-4o-transcribe", counts, "item_1/0", True)
    assert not said.ended


def test_a_transcript_that_states_nothing_is_estimated() -> None:
    """By the seconds that were said; the settings of the preview name its model elsewhere."""
    session = opened()
    asked(session, "session.update", session={"input_audio_transcription": {"model": "whisper-1"}})
    asked(session, "input_audio_buffer.append", audio=SECOND)
    heard(session, "input_audio_buffer.committed")

    (aside,) = heard(session, "conversation.item.input_audio_transcription.completed", item_id="item_1").asides

    assert (aside.model, aside.usage) == ("whisper-1", Usage(units={"input_audio_seconds": 1}))
    assert not aside.reported


def test_a_session_that_only_writes_down_holds_for_each_transcript() -> None:
    """Its model is known from its settings; from then on a turn is held for the next transcript."""
    session = opened("intent=transcription")
    assert session.opening() is None
    settings = {"type": "transcription", "audio": {"input": {"transcription": {"model": "gpt-realtime-whisper"}}}}
    turn = asked(session, "session.update", session=settings)
    assert turn is not None
    assert turn.call.model == "gpt-realtime-whisper"
    assert turn.call.size.presumed == Usage(units={"input_audio_seconds": 30})
    asked(session, "input_audio_buffer.append", audio=SECOND)
    heard(session, "input_audio_buffer.committed")
    assert turn.begun
    assert turn.reading().parts == (("gpt-realtime-whisper", Usage(units={"input_audio_seconds": 1})),)

    last = heard(
        session,
        "conversation.item.input_audio_transcription.completed",
        item_id="item_1",
        usage={"type": "duration", "seconds": 2},
    )

    assert last.ended == (turn,)
    assert last.needed is not None
    assert not last.asides
    assert turn.reading().parts == (("gpt-realtime-whisper", Usage(units={"input_audio_seconds": 2})),)


def test_what_bills_sound_by_the_second_is_counted() -> None:
    """Sound both ways and messages of text; what one bill rounds up, the next has less."""
    session = opened("model=grok-voice-latest", XAI)
    opening = session.opening()
    assert opening is not None
    asked(session, "input_audio_buffer.append", audio=base64.b64encode(bytes(48 * 700)).decode())
    assert opening.begun
    asked(session, "conversation.item.create", item={"type": "message", "content": [{"type": "input_text"}]})
    asked(session, "conversation.item.create", item={"type": "function_call_output", "output": "x"})
    heard(session, "response.created", response={"id": "1"})
    heard(session, "response.output_audio.delta", response_id="1", delta="AAAA", audio_duration_ms=500)
    first = heard(session, "response.done", response={"id": "1", "usage": {}})

    assert opening.reading().parts == (
        ("grok-voice-latest", Usage(units={"audio_seconds": 2, "input_text_messages": 1})),
    )
    assert opening.reading().finished
    assert not opening.reading().complete
    assert first.needed is not None

    # 800 ms of the two seconds were not heard yet: 700 more cost nothing.
    asked(session, "input_audio_buffer.append", audio=base64.b64encode(bytes(48 * 700)).decode())
    heard(session, "response.done", response={"id": "2", "usage": {}})
    assert first.needed.reading().parts == (("grok-voice-latest", Usage()),)
    assert not heard(session, "conversation.item.input_audio_transcription.completed", item_id="i").asides


@pytest.mark.parametrize(
    "query",
    ["", "api-version=1", "model=", "model=a&model=b", "model=gpt-realtime&call_id=rtc_1", "model=%00"],
)
def test_what_cannot_be_metered_is_not_opened(query: str) -> None:
    """No model, two of them, or a call that was begun elsewhere."""
    with pytest.raises(InvalidRequest):
        opened(query)


@pytest.mark.parametrize("frame", [b"", b"[]", b"{", b'{"type": "a", "type": "response.create"}', b"\xff"])
def test_a_frame_that_could_be_read_two_ways_is_not_passed_on(frame: bytes) -> None:
    """As a body over HTTP: one reading that every parser would agree with, or none."""
    with pytest.raises(InvalidRequest):
        opened().asked(frame)


def test_a_session_has_so_many_answers_at_a_time() -> None:
    """Beyond that they are refused: each holds money."""
    session = opened()
    for _ in range(64):
        assert asked(session, "response.create", response={"conversation": "none"}) is not None
    with pytest.raises(InvalidRequest):
        asked(session, "response.create", response={"conversation": "none"})


def test_a_refusal_is_an_event_in_the_providers_shape() -> None:
    """It names the client's own event, so that the SDK can tell what was refused."""
    event = opened().refusal(BudgetExceeded("spent"), {"code": "budget_exceeded"}, b'{"event_id": "mine"}')

    assert event is not None
    said = json.loads(event)
    assert said["type"] == "error"
    assert said["event_id"].startswith("event_")
    assert said["error"]["code"] == "budget_exceeded"
    assert said["error"]["event_id"] == "mine"
    assert said["error"]["type"] == "insufficient_quota"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
KINDS = (
    "session.created",
    "response.created",
    "response.done",
    "response.output_audio.delta",
    "conversation.item.input_audio_transcription.completed",
    "input_audio_buffer.speech_started",
    "input_audio_buffer.speech_stopped",
    "input_audio_buffer.committed",
    "error",
)
MEMBERS = ("session", "response", "response_id", "delta", "usage", "item_id", "audio_start_ms", "error", "id")


@given(
    st.lists(
        st.tuples(st.sampled_from(KINDS) | JSON, st.dictionaries(st.sampled_from(MEMBERS), JSON, max_size=4)),
        max_size=6,
    ),
    st.sampled_from([OPENAI, XAI]),
)
def test_nothing_a_provider_says_breaks_a_session(said: list[tuple[Any, dict[str, Any]]], family: Family) -> None:
    """Whatever the frames hold, they are read without an error, and every turn can say what is known of it."""
    session = opened("model=m", family)
    turns = [session.opening()]
    for kind, members in said:
        frame = session.heard(json.dumps({**members, "type": kind}).encode())
        turns += [*frame.ended, frame.needed]
    for turn in turns:
        assert turn is None or isinstance(turn.reading(), Reading)
