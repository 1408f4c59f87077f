"""
Read realtime sessions: OpenAI's, Azure's and xAI's.

Its one job: which frame begins an answer, and what ends it; the transcripts beside it.
Rules: an answer can begin by itself, when the caller falls silent. So there is one turn for the next answer at every
moment at which none of the conversation runs, and a conversation has one answer at a time; one that is asked for apart
from it (``conversation: none``) has a turn of its own. A session that only writes down has a turn for each transcript.
What bills sound by the second states no usage: it is counted as it passes. Sources: wire_formats.md §1.1;
openai-python 3.57.0's types/realtime; developers.openai.com/api/docs/guides/realtime-costs; recorded sessions.
"""

import math
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl

import orjson

from penia_proxy.budget.estimate import Size
from penia_proxy.budget.tokens import image_tokens_max
from penia_proxy.budget.usage import Usage
from penia_proxy.errors import InvalidRequest, PeniaError
from penia_proxy.ids import new_id
from penia_proxy.wire.body import model_of, read_object
from penia_proxy.wire.call import Call, Reading, Request
from penia_proxy.wire.content import dicts
from penia_proxy.wire.conversation import OPENAI_PACE, Conversation, sound_ms
from penia_proxy.wire.families import Family
from penia_proxy.wire.openai_audio import audio_usage_of, presumed_of
from penia_proxy.wire.openai_errors import error_event
from penia_proxy.wire.openai_usage import realtime_usage_of
from penia_proxy.wire.realtime_settings import Settings
from penia_proxy.wire.reported import Passed, json_of
from penia_proxy.wire.responses_socket import UNNAMED
from penia_proxy.wire.session import NOTHING, Aside, Heard, Turn, in_sound, in_writing

OPEN_MAX = 64
"""Answers of one session that run at a time; beyond it a client's are refused, and a provider's not followed."""

PRESUMED_SECONDS = 30
"""Of sound in one answer or transcript, before it is made: where it is billed by the second."""

_UNBOUNDED = "an answer of a session can begin by itself, and reads all that was said before it"
_ACTIVE = "conversation_already_has_active_response"


class _Answer:
    """One answer, or one transcript, from its hold to its bill."""

    def __init__(self, session: "RealtimeSession", *, apart: bool = False) -> None:
        self._session = session
        self.apart = apart
        """Whether it is no part of the conversation."""
        self.passed = Passed()
        text = Passed() if session.by_sound or session.settings.transcribes else self.passed
        self.turn = Turn(session.call(), self.reading, passed=text, further=self._further)
        self.spoken_ms = 0.0
        self.heard_ms = 0.0
        self.messages = 0
        self.usage: Usage | None = None
        self.finished = False
        self.failed = False
        self.event_ids: set[str] = set()
        """Of the frames that asked for it, as the client named them."""

    def reading(self) -> Reading:
        settings = self._session.settings
        if settings.transcribes:
            model = settings.transcriber or settings.model
            parts = ((model, self.usage or presumed_of(math.ceil(self.heard_ms / 1000), model or "")),)
        elif self._session.by_sound:
            parts = ((settings.model, self.usage or self.by_sound()),)
        else:
            parts = ((settings.model, self.usage or self._made()),)
        return Reading(
            parts=parts,
            complete=self.usage is not None and not self._session.by_sound,
            finished=self.finished,
            failed=self.failed,
            passed_text="" if self._session.by_sound else self.passed.text,
            passed_bytes=self.passed.bytes,
            model=settings.model,
        )

    def by_sound(self, carried_ms: float = 0) -> Usage:
        """Return the seconds and messages that passed."""
        seconds = math.ceil((self.heard_ms + self.spoken_ms + carried_ms) / 1000)
        units = {"audio_seconds": seconds, "input_text_messages": self.messages}
        return Usage(units={name: count for name, count in units.items() if count})

    def sounded(self) -> None:
        """Note how much sound has passed, in what it is billed by."""
        if self._session.settings.transcribes or self._session.by_sound:
            self.turn.sounded(math.ceil((self.heard_ms + self.spoken_ms) / 1000))
        else:
            self.turn.sounded(self._session.conversation.spoken(self.spoken_ms))

    def _further(self, usage: Usage, more: int) -> Usage:
        settings = self._session.settings
        if settings.transcribes:
            return usage.plus(presumed_of(more, settings.transcriber or settings.model or ""))
        if self._session.by_sound:
            return usage.plus(Usage(units={"audio_seconds": more}))
        return (in_sound if settings.speaks or self.spoken_ms else in_writing)(usage, more)

    def _made(self) -> Usage:
        conversation = self._session.conversation
        return conversation.input().plus(Usage(output_audio=conversation.spoken(self.spoken_ms)))


class RealtimeSession:
    """One connection; see `penia_proxy.wire.session.Session`."""

    def __init__(self, request: Request, family: Family) -> None:
        self.by_sound = family.realtime_by_sound
        self.conversation = Conversation(OPENAI_PACE)
        self.settings = _settings_of(request.query)
        self._next: _Answer | None = None
        """The conversation's next answer, while none runs."""
        self._apart: list[_Answer] = []
        """Asked for apart from the conversation, and not begun."""
        self._running: dict[str, _Answer] = {}
        self._carried_ms = 0.0
        """Sound that was rounded up in an earlier bill, as a negative figure."""
        self._unwritten_ms = 0.0
        """Sound that was heard since the last of it was taken as said."""
        self._said_ms = 0.0
        """What was said last."""
        self._speech_from_ms: float | None = None
        self._speech_ms: float | None = None
        """Where the provider listens for speech, silence around it is not read."""

    def opening(self) -> Turn | None:
        if self.settings.model is None:
            return None  # a session that only writes down names its model later
        self._next = _Answer(self)
        return self._next.turn

    def call(self) -> Call:
        """Return what the next answer asks for."""
        settings = self.settings
        model = (settings.transcriber if settings.transcribes else None) or settings.model or UNNAMED
        if settings.transcribes:
            presumed = presumed_of(PRESUMED_SECONDS, model)
        elif self.by_sound:
            presumed = Usage(units={"audio_seconds": PRESUMED_SECONDS, "input_text_messages": 1})
        else:
            presumed = self.conversation.input()
        answers = not settings.transcribes and not self.by_sound
        return Call(
            operation="realtime",
            model=model,
            stream=True,
            size=Size(
                text_bytes=0,
                audio=True,
                output_cap=settings.output_cap,
                presumed=presumed,
                presumed_output="" if not answers else "output_audio" if settings.speaks else "output",
                unbounded_why=_UNBOUNDED,
            ),
            body=b"",
            text=str,
            # What is heard costs where sound is billed by the second, and a transcript cannot be cancelled.
            cuttable=answers,
        )

    def asked(self, frame: bytes) -> Turn | None:
        members = read_object(frame)
        match members.get("type"):
            case "session.update":
                self.settings.take(members.get("session"))
                self.conversation.add(text_bytes=len(frame))
                if self._next is None and self.settings.transcribes and self.settings.transcriber:
                    self._next = _Answer(self)
                    return self._next.turn
            case "conversation.item.create":
                self._said(members.get("item"), len(frame))
            case "input_audio_buffer.append":
                self._heard_sound(sound_ms(members.get("audio"), self.settings.heard_bytes_per_ms))
            case "input_audio_buffer.clear":
                self._unwritten_ms = 0
            case "response.create":
                return self._response_asked(members, len(frame))
        return None

    def withdrawn(self, turn: Turn) -> None:
        if self._next is not None and self._next.turn is turn:
            self._next = None
        self._apart = [answer for answer in self._apart if answer.turn is not turn]

    def heard(self, frame: bytes) -> Heard:
        event = json_of(frame)
        kind = event.get("type") if isinstance(event, dict) else None
        if not isinstance(kind, str):
            return NOTHING
        match kind:
            case "session.created" | "session.updated":
                self.settings.take(event.get("session"))
            case "response.created":
                return self._begun(event.get("response"))
            case "response.done":
                return self._done(event.get("response"))
            case "conversation.item.input_audio_transcription.completed":
                return self._written_down(event)
            case "error":
                self._wronged(event.get("error"))
            case _ if kind.startswith("input_audio_buffer."):
                self._listened(kind, event)
            case _ if kind.endswith(".delta"):
                self._passed(kind, event)
        return NOTHING

    def cancelling(self, turn: Turn) -> bytes | None:
        for response_id, answer in self._running.items():
            if answer.turn is turn:
                # Named, so that an error about it is taken for nobody else's.
                named = {"event_id": new_id("event"), "response_id": response_id}
                return orjson.dumps({"type": "response.cancel", **named})
        return None

    def refusal(self, error: PeniaError, penia: Mapping[str, object], frame: bytes | None) -> bytes | None:
        members = json_of(frame or b"")
        asked_as = members.get("event_id") if isinstance(members, dict) else None
        of = {"event_id": asked_as if isinstance(asked_as, str) else None}
        return error_event(error, penia, event_id=new_id("event"), of=of)

    def _response_asked(self, members: dict[str, Any], size: int) -> Turn | None:
        if len(self._running) + len(self._apart) >= OPEN_MAX:
            raise InvalidRequest(f"{OPEN_MAX} answers of this session are under way; wait for one of them.")
        asked = members.get("response")
        if isinstance(asked, dict) and asked.get("conversation") == "none":
            apart = _Answer(self, apart=True)
            apart.turn.begun = True
            self._apart.append(apart)
            return apart.turn
        self.conversation.add(text_bytes=size)
        held = None
        if self._next is None:
            # One runs: by the time that this is read it may have ended.
            self._next = _Answer(self)
            held = self._next.turn
        self._next.turn.begun = True
        named = members.get("event_id")
        if isinstance(named, str) and len(self._next.event_ids) < OPEN_MAX:
            self._next.event_ids.add(named)
        return held

    def _said(self, item: object, size: int) -> None:
        if not isinstance(item, dict):
            return
        contents = dicts(item.get("content"))
        sound = sum(sound_ms(part.get("audio"), self.settings.heard_bytes_per_ms) for part in contents)
        images = sum(part.get("type") == "input_image" for part in contents)
        tokens = images * image_tokens_max("openai", self.settings.model or "") if images else 0
        self.conversation.add(text_bytes=0 if sound or images else size, sound_ms=sound, image_tokens=tokens)
        if self.by_sound and item.get("type") != "function_call_output":
            answer = self._current()
            if sound:
                answer.heard_ms += sound
                answer.sounded()
            else:
                answer.messages += 1
            answer.turn.begun = True

    def _heard_sound(self, duration_ms: float) -> None:
        self._unwritten_ms += duration_ms
        if self.by_sound and duration_ms:
            answer = self._current()
            answer.heard_ms += duration_ms
            answer.sounded()
            answer.turn.begun = True

    def _current(self) -> _Answer:
        """Return the answer of what passes now."""
        return next(iter(self._running.values()), None) or self._next or _Answer(self)

    def _listened(self, kind: str, event: Mapping[str, Any]) -> None:
        if kind.endswith(".speech_started"):
            self._speech_from_ms = _number(event.get("audio_start_ms"))
        elif kind.endswith(".speech_stopped"):
            until = _number(event.get("audio_end_ms"))
            if self._speech_from_ms is not None and until is not None:
                self._speech_ms = max(0.0, until - self._speech_from_ms)
            self._speech_from_ms = None
        elif kind.endswith(".committed"):
            self._said_ms = self._unwritten_ms if self._speech_ms is None else self._speech_ms
            self._speech_ms = None
            self.conversation.add(sound_ms=self._said_ms)
            if self.settings.transcribes and self._next is not None:
                self._next.heard_ms += self._said_ms
                self._next.sounded()
                self._next.turn.begun = True
            self._unwritten_ms = 0

    def _begun(self, response: object) -> Heard:
        response_id = response.get("id") if isinstance(response, dict) else None
        if not isinstance(response, dict) or not isinstance(response_id, str) or response_id in self._running:
            return NOTHING
        if len(self._running) >= OPEN_MAX:
            return NOTHING
        needed = None
        if self._apart and response.get("conversation_id") is None:
            answer = self._apart.pop(0)
        elif self._next is not None:
            answer, self._next = self._next, None
        else:
            answer = _Answer(self)
            needed = answer.turn
        answer.turn.begun = True
        self._running[response_id] = answer
        return Heard(needed=needed)

    def _done(self, response: object) -> Heard:
        response_id = response.get("id") if isinstance(response, dict) else None
        if not isinstance(response, dict) or not isinstance(response_id, str):
            return NOTHING
        self._begun(response)  # where its beginning was not seen
        answer = self._running.pop(response_id, None)
        if answer is None:
            return NOTHING
        answer.finished = True
        answer.failed = response.get("status") == "failed"
        answer.usage = self._usage_of(answer, response)
        if answer.usage is not None and not answer.apart:
            self.conversation.answered(answer.usage)
        needed = None
        if self._next is None and all(running.apart for running in self._running.values()):
            self._next = _Answer(self)
            needed = self._next.turn
        return Heard(ended=(answer.turn,), needed=needed)

    def _usage_of(self, answer: _Answer, response: Mapping[str, Any]) -> Usage | None:
        if not self.by_sound:
            return realtime_usage_of(response.get("usage"))
        usage = answer.by_sound(self._carried_ms)
        self._carried_ms += answer.heard_ms + answer.spoken_ms - usage.units.get("audio_seconds", 0) * 1000
        return usage

    def _passed(self, kind: str, event: Mapping[str, Any]) -> None:
        answer = self._running.get(str(event.get("response_id")))
        if answer is None:
            return
        if kind.endswith("audio.delta"):
            told = _number(event.get("audio_duration_ms"))
            answer.spoken_ms += (
                sound_ms(event.get("delta"), self.settings.spoken_bytes_per_ms) if told is None else told
            )
            answer.sounded()
        else:
            answer.passed.add(event.get("delta"))

    def _written_down(self, event: Mapping[str, Any]) -> Heard:
        if self.by_sound:
            return NOTHING  # in the price of the sound
        usage = audio_usage_of(event.get("usage"))
        if self.settings.transcribes and self._next is not None:
            answer, self._next = self._next, None
            answer.usage, answer.finished = usage, True
            answer.turn.begun = True
            self._next = _Answer(self)
            return Heard(ended=(answer.turn,), needed=self._next.turn)
        model = self.settings.transcriber or UNNAMED
        told = usage or presumed_of(math.ceil(self._said_ms / 1000), model)
        item = event.get("item_id")
        key = f"{item}/{event.get('content_index')}" if isinstance(item, str) else None
        return Heard(asides=(Aside(model, told, key, reported=usage is not None),))

    def _wronged(self, error: object) -> None:
        """Take an error: where it may be about the answer that was asked for, that has not begun."""
        answer = self._next
        if answer is None or not isinstance(error, dict) or self.by_sound:
            return
        about = error.get("event_id")
        about = about if isinstance(about, str) else None
        if about in answer.event_ids or (about is None and not answer.event_ids) or error.get("code") == _ACTIVE:
            answer.turn.begun = False
            answer.event_ids.clear()


def _settings_of(query: str) -> Settings:
    """Return what the address says of a session. Raises InvalidRequest for what cannot be metered."""
    said = parse_qsl(query, keep_blank_values=True)
    named = {name: value for name, value in said if name in ("model", "deployment", "intent", "call_id")}
    if len(named) != sum(name in named for name, _ in said):
        raise InvalidRequest("The query names the same thing twice; parsers differ about which one counts.")
    if "call_id" in named:
        raise InvalidRequest(
            "A call that was begun elsewhere ('call_id') cannot be metered: its answers do not need this connection."
        )
    writes_down = named.get("intent") == "transcription"
    model = named.get("model") or named.get("deployment") or None
    if model is None and not writes_down:
        raise InvalidRequest("The query must name the model: ?model=…")
    return Settings(model=None if model is None else model_of({"model": model}), transcribes=writes_down)


def _number(value: object) -> float | None:
    is_one = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 10**12
    return float(value) if is_one else None  # type: ignore[arg-type]
