"""
Read OpenAI's responses over a WebSocket, and xAI's.

Its one job: which frame asks for a response, and which ends it.
Rules: each ``response.create`` is a call of its own, with the fields of one over HTTP. What has the same ``stream_id``
is answered in the order in which it was asked, and its events name it; other lanes run at the same time. Anything else
a client says is refused: ``response.steer`` begins a response that nobody asked for in so many words. No event ends a
response early (ResponsesClientEvent has two, create and steer), so it is capped before it is asked for. Sources:
wire_formats.md §1.1; openai-python 3.57.0's types (ResponsesClientEvent, ResponsesServerEvent); OpenAI's guide to
WebSocket mode (developers.openai.com/api/docs/guides/websocket-mode).
"""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from penia_proxy.budget.estimate import Size
from penia_proxy.errors import InvalidRequest, PeniaError
from penia_proxy.wire.body import flag, read_object, text_or_none
from penia_proxy.wire.call import Call, Request
from penia_proxy.wire.families import Family
from penia_proxy.wire.openai_errors import error_event
from penia_proxy.wire.openai_responses import TERMINAL, ResponseReader, responses_call
from penia_proxy.wire.reported import json_of
from penia_proxy.wire.session import NOTHING, Heard, Turn

OPEN_MAX = 64
"""Responses of one connection that are asked for and not answered; OpenAI runs 16 at a time (its guide)."""

LANE_LENGTH_MAX = 256

UNNAMED = "unknown"
"""The model of an answer that names none: no price is known for it, and its record says so."""


@dataclass(slots=True, eq=False)
class _Answer:
    turn: Turn
    reader: ResponseReader
    lane: str | None
    response_id: str | None = None
    """Known once it runs."""


class ResponsesSession:
    """One connection; see `penia_proxy.wire.session.Session`."""

    def __init__(self, family: Family) -> None:
        self._family = family
        self._asked: dict[str | None, deque[_Answer]] = {}
        """By lane, oldest first: asked for, and not begun."""
        self._running: list[_Answer] = []
        self._ended: deque[str] = deque(maxlen=OPEN_MAX)

    def opening(self) -> Turn | None:
        return None

    def asked(self, frame: bytes) -> Turn | None:
        members = read_object(frame)
        kind = members.get("type")
        if kind == "response.steer":
            raise InvalidRequest(
                "'response.steer' is not metered: it begins responses of its own. Send its input with the next"
                " 'response.create'."
            )
        if kind != "response.create":
            raise InvalidRequest("Only 'response.create' can be metered here; other messages are not passed on.")
        lane = text_or_none(members, "stream_id")
        if lane is not None and len(lane) > LANE_LENGTH_MAX:
            raise InvalidRequest("'stream_id' is too long.")
        if len(self._running) + sum(map(len, self._asked.values())) >= OPEN_MAX:
            raise InvalidRequest(f"{OPEN_MAX} responses of this connection are unanswered; wait for one of them.")
        answer = self._answer(_call(frame, members, self._family), lane)
        answer.turn.begun = True
        self._asked.setdefault(lane, deque()).append(answer)
        return answer.turn

    def withdrawn(self, turn: Turn) -> None:
        for lane, waiting in list(self._asked.items()):
            if waiting[-1].turn is turn:
                waiting.pop()
                if not waiting:
                    del self._asked[lane]

    def heard(self, frame: bytes) -> Heard:
        event = json_of(frame)
        kind = event.get("type") if isinstance(event, dict) else None
        if not isinstance(kind, str):
            return NOTHING
        lane = event.get("stream_id")
        lane = lane if isinstance(lane, str) else None
        if kind == "error":
            return self._failed(event, lane, frame)
        response = event.get("response")
        response_id = response.get("id") if isinstance(response, dict) else None
        answer = self._running_as(response_id) if isinstance(response_id, str) else self._running_in(lane)
        heard = NOTHING
        if answer is None and isinstance(response, dict) and isinstance(response_id, str):
            if response_id in self._ended:
                return NOTHING
            answer, heard = self._begun(response_id, lane, response)
        if answer is None:
            return NOTHING
        answer.reader.event(frame)
        if kind in TERMINAL:
            self._end(answer)
            heard = replace(heard, ended=(*heard.ended, answer.turn))
        return heard

    def cancelling(self, turn: Turn) -> bytes | None:  # noqa: ARG002 - a response can only be capped
        return None

    def refusal(self, error: PeniaError, penia: Mapping[str, object], frame: bytes | None) -> bytes | None:
        members = json_of(frame or b"")
        lane = members.get("stream_id") if isinstance(members, dict) else None
        return error_event(error, penia, status=error.status, stream_id=lane if isinstance(lane, str) else None)

    def _answer(self, call: Call, lane: str | None) -> _Answer:
        reader = ResponseReader(family=self._family)
        return _Answer(Turn(call, reader.reading, passed=reader.passed), reader, lane)

    def _running_as(self, response_id: str) -> _Answer | None:
        return next((answer for answer in self._running if answer.response_id == response_id), None)

    def _running_in(self, lane: str | None) -> _Answer | None:
        return next((answer for answer in self._running if answer.lane == lane), None)

    def _begun(self, response_id: str, lane: str | None, response: Mapping[str, Any]) -> tuple[_Answer, Heard]:
        """Return the answer of a new id: the oldest that its lane waits for, else one that is to be held now."""
        # A lane runs one response at a time: what ran in it and failed without a last word has ended.
        stale = self._running_in(lane)
        ended: tuple[Turn, ...] = ()
        if stale is not None and stale.reader.reading().failed:
            self._end(stale)
            ended = (stale.turn,)
        needed = None
        waiting = self._asked.get(lane)
        if waiting:
            answer = self._next_in(waiting, lane)
        else:
            model = response.get("model")
            answer = self._answer(_unasked(model if isinstance(model, str) and model else UNNAMED), lane)
            answer.turn.begun = True
            needed = answer.turn
        answer.response_id = response_id
        self._running.append(answer)
        return answer, Heard(ended=ended, needed=needed)

    def _failed(self, event: Mapping[str, Any], lane: str | None, frame: bytes) -> Heard:
        """Take an error: the events of a running response are numbered, the refusal of a request is not."""
        running, waiting = self._running_in(lane), self._asked.get(lane)
        if waiting and (running is None or event.get("sequence_number") is None):
            answer = self._next_in(waiting, lane)
            answer.reader.event(frame)
            return Heard(ended=(answer.turn,))
        if running is not None:
            running.reader.event(frame)  # its own last word may follow, with a bill
        return NOTHING

    def _next_in(self, waiting: deque[_Answer], lane: str | None) -> _Answer:
        answer = waiting.popleft()
        if not waiting:
            del self._asked[lane]
        return answer

    def _end(self, answer: _Answer) -> None:
        self._running.remove(answer)
        if answer.response_id is not None:
            self._ended.append(answer.response_id)


def _call(frame: bytes, members: dict[str, Any], family: Family) -> Call:
    """Return the call that a frame is. Raises InvalidRequest."""
    if flag(members, "background"):
        raise InvalidRequest("'background' is not supported over a WebSocket.")
    call = responses_call(Request("responses", frame), family)
    if members.get("generate") is not None and not flag(members, "generate"):
        # It prepares what a later response begins from, and writes nothing.
        call = replace(call, size=replace(call.size, no_output=True))
    return replace(call, stream=True, cuttable=False)


def _unasked(model: str) -> Call:
    """Return the call of a response that nobody asked for in this connection."""
    return Call(
        operation="responses",
        model=model,
        stream=True,
        size=Size(text_bytes=0, beyond_body=True, unbounded_why="it began by itself"),
        body=b"",
        text=str,
    )
