"""Which frame of a WebSocket asks for a response, and which ends it."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penia_proxy.budget.usage import Usage
from penia_proxy.errors import BudgetBusy, InvalidRequest
from penia_proxy.wire.call import Reading
from penia_proxy.wire.families import OPENAI, XAI
from penia_proxy.wire.responses_socket import ResponsesSession
from penia_proxy.wire.session import Heard, Turn

USAGE = {
    "input_tokens": 100,
    "input_tokens_details": {"cached_tokens": 60},
    "output_tokens": 50,
    "output_tokens_details": {"reasoning_tokens": 20},
    "total_tokens": 150,
}
COUNTS = Usage(input=40, cache_read=60, output=30, reasoning=20)


def create(session: ResponsesSession, **members: Any) -> Turn:
    frame = {"type": "response.create", "model": "gpt-5", "input": "hi", **members}
    turn = session.asked(json.dumps(frame).encode())
    assert turn is not None
    return turn


def heard(session: ResponsesSession, kind: str, name: str | None = None, **members: Any) -> Heard:
    response = {} if name is None else {"response": {"id": name, "model": "gpt-5-2025-08-07", **members.pop("of", {})}}
    return session.heard(json.dumps({"type": kind, **response, **members}).encode())


def test_each_create_is_a_call_of_its_own() -> None:
    """With the bounds of one over HTTP, and the bill of its own last event."""
    session = ResponsesSession(OPENAI)
    assert session.opening() is None
    first = create(session, max_output_tokens=10)
    assert (first.call.model, first.call.size.output_cap, first.call.stream) == ("gpt-5", 10, True)
    assert first.begun
    assert heard(session, "response.created", "resp_1") == Heard()
    assert heard(session, "response.output_text.delta", delta="héllo") == Heard()

    assert heard(session, "response.completed", "resp_1", of={"usage": USAGE}).ended == (first,)
    assert first.reading().parts == (("gpt-5-2025-08-07", COUNTS),)
    assert first.reading().passed_text == "héllo"

    second = create(session, previous_response_id="resp_1")
    assert second.call.size.beyond_body
    heard(session, "response.created", "resp_2")
    assert heard(session, "response.incomplete", "resp_2", of={"usage": USAGE}).ended == (second,)


def test_lanes_do_not_take_each_others_events() -> None:
    """What has one stream_id is answered in order; what has another runs beside it."""
    session = ResponsesSession(OPENAI)
    a1, b1, a2 = create(session, stream_id="a"), create(session, stream_id="b"), create(session, stream_id="a")
    heard(session, "response.created", "resp_b1", stream_id="b")
    heard(session, "response.created", "resp_a1", stream_id="a")
    heard(session, "response.output_text.delta", delta="to b", stream_id="b")
    heard(session, "response.output_text.delta", delta="to a", stream_id="a")

    assert heard(session, "response.completed", "resp_a1", stream_id="a", of={"usage": USAGE}).ended == (a1,)
    heard(session, "response.created", "resp_a2", stream_id="a")
    assert heard(session, "response.completed", "resp_a2", stream_id="a", of={"usage": USAGE}).ended == (a2,)
    assert heard(session, "response.completed", "resp_b1", stream_id="b", of={"usage": USAGE}).ended == (b1,)
    assert (a1.reading().passed_text, b1.reading().passed_text) == ("to a", "to b")


def test_the_refusal_of_a_request_ends_it() -> None:
    """Nothing ran, so nothing is billed; a response that runs in its lane goes on."""
    session = ResponsesSession(OPENAI)
    running, refused = create(session), create(session)
    heard(session, "response.created", "resp_1")
    heard(session, "response.output_text.delta", delta="x")

    last = heard(session, "error", status=400, error={"code": "previous_response_not_found"})

    assert last.ended == (refused,)
    assert refused.reading().failed
    assert not refused.reading().wrote
    assert heard(session, "response.completed", "resp_1", of={"usage": USAGE}).ended == (running,)


def test_a_response_that_fails_has_its_bill_in_its_last_word() -> None:
    """The numbered error before it ends nothing yet; without a last word it ends when the lane goes on."""
    session = ResponsesSession(OPENAI)
    failed = create(session)
    heard(session, "response.created", "resp_1")
    assert heard(session, "error", sequence_number=4, error={"code": "server_error"}) == Heard()
    assert heard(session, "response.failed", "resp_1", of={"usage": USAGE}).ended == (failed,)
    assert failed.reading().complete
    assert failed.reading().failed

    silent, following = create(session), create(session)
    heard(session, "response.created", "resp_2")
    heard(session, "response.output_text.delta", delta="x")
    heard(session, "error", sequence_number=9, error={"code": "server_error"})
    assert heard(session, "response.created", "resp_3").ended == (silent,)
    assert heard(session, "response.completed", "resp_3", of={"usage": USAGE}).ended == (following,)


def test_a_last_word_that_is_repeated_is_nothing() -> None:
    """It is not the beginning of a response that nobody asked for."""
    session = ResponsesSession(OPENAI)
    create(session)
    heard(session, "response.created", "resp_1")
    heard(session, "response.completed", "resp_1", of={"usage": USAGE})

    assert heard(session, "response.completed", "resp_1", of={"usage": USAGE}) == Heard()


def test_a_response_that_nobody_asked_for_is_held_when_it_begins() -> None:
    """Late, since nothing announced it; and it is billed like any other."""
    session = ResponsesSession(OPENAI)

    begun = heard(session, "response.created", "resp_1")

    assert begun.needed is not None
    assert begun.needed.begun
    assert begun.needed.call.size.unbounded_why
    assert heard(session, "response.completed", "resp_1", of={"usage": USAGE}).ended == (begun.needed,)
    assert begun.needed.reading().parts == (("gpt-5-2025-08-07", COUNTS),)


def test_a_refused_turn_leaves_no_trace() -> None:
    """Its frame was not passed on, so the next answer of the lane is not its own."""
    session = ResponsesSession(OPENAI)
    first, refused = create(session, stream_id="a"), create(session, stream_id="a")
    session.withdrawn(refused)
    session.withdrawn(create(session, stream_id="b"))
    assert list(session._asked) == ["a"]

    heard(session, "response.created", "resp_1", stream_id="a")
    assert heard(session, "response.completed", "resp_1", stream_id="a", of={"usage": USAGE}).ended == (first,)


def test_what_prepares_writes_nothing() -> None:
    """`generate: false` is bounded by its input alone."""
    assert create(ResponsesSession(OPENAI), generate=False).call.size.no_output


def test_a_relatives_stated_cost_is_believed() -> None:
    """What xAI states in dollars is recorded, here as over HTTP."""
    session = ResponsesSession(XAI)
    turn = create(session)
    heard(session, "response.created", "resp_1")
    heard(session, "response.completed", "resp_1", of={"usage": {**USAGE, "cost_in_usd_ticks": 5 * 10**9}})

    assert str(turn.reading().cost_usd) == "0.5"


@pytest.mark.parametrize(
    "frame",
    [
        {"type": "response.steer", "previous_response_id": "resp_1", "input": "x"},
        {"type": "session.update"},
        {"type": "response.create"},
        {"type": "response.create", "model": "gpt-5", "background": True},
        {"type": "response.create", "model": "gpt-5", "stream_id": 7},
        {"type": "response.create", "model": "gpt-5", "stream_id": "x" * 300},
        {"type": "response.create", "model": "gpt-5", "generate": "no"},
        {"type": "response.create", "model": "gpt-5", "max_output_tokens": -1},
        {},
    ],
)
def test_what_cannot_be_metered_is_not_passed_on(frame: dict[str, Any]) -> None:
    """What begins an answer in another way, or has no bound that can be read."""
    session = ResponsesSession(OPENAI)
    with pytest.raises(InvalidRequest):
        session.asked(json.dumps(frame).encode())
    assert not session._asked


def test_a_connection_has_so_many_responses_at_a_time() -> None:
    """Beyond that they are refused: each holds money."""
    session = ResponsesSession(OPENAI)
    for _ in range(64):
        create(session)
    with pytest.raises(InvalidRequest):
        create(session)


def test_a_refusal_is_an_event_of_its_lane() -> None:
    """With the status and code that an answer over HTTP would have."""
    event = ResponsesSession(OPENAI).refusal(BudgetBusy("wait"), {"code": "budget_busy"}, b'{"stream_id": "a"}')

    assert event is not None
    said = json.loads(event)
    assert (said["type"], said["status"], said["stream_id"]) == ("error", 429, "a")
    assert (said["error"]["type"], said["error"]["code"]) == ("rate_limit_error", "budget_busy")
    assert said["error"]["penia"] == {"code": "budget_busy"}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
KINDS = ("response.created", "response.completed", "response.failed", "response.output_text.delta", "error")


@given(
    st.lists(
        st.tuples(
            st.sampled_from(KINDS) | JSON,
            st.dictionaries(st.sampled_from(("response", "stream_id", "sequence_number", "error", "delta")), JSON),
            st.sampled_from(("1", "2", None)),
        ),
        max_size=6,
    )
)
def test_nothing_a_provider_says_breaks_a_session(said: list[tuple[Any, dict[str, Any], str | None]]) -> None:
    """Whatever the frames hold, they are read without an error, and every turn can say what is known of it."""
    session = ResponsesSession(OPENAI)
    turns: list[Turn | None] = [create(session), create(session)]
    for kind, members, name in said:
        named = {} if name is None else {"response": {"id": name, "usage": members.get("response")}}
        frame = session.heard(json.dumps({**members, **named, "type": kind}).encode())
        turns += [*frame.ended, frame.needed]
    for turn in turns:
        assert turn is None or isinstance(turn.reading(), Reading)
