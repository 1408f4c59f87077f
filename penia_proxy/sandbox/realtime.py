"""
Answer OpenAI's realtime sessions.

Rules: the session hears speech by itself: each second of sound that is sent is an utterance, which is written down
where that was asked for, and answered. A conversation has one answer at a time; each reads all that was said before.
One piece is one token of text and 50 ms of sound, which is one token as well. Sources: the types of the ``openai`` SDK
3.57 (types/realtime); recorded sessions for the order of events and their keys.
"""

import asyncio
import base64
from collections.abc import Mapping
from functools import partial
from typing import Any

from penia_proxy.sandbox.bill import Tokens
from penia_proxy.sandbox.sockets import Line, Turn, usage_said
from penia_proxy.sandbox.words import identifier, tokens_of

BYTES_PER_SECOND = 48_000
HEARD_TOKENS_PER_SECOND = 10
CACHED_IN_STEPS_OF = 64
PIECE_OF_SOUND = base64.b64encode(bytes(BYTES_PER_SECOND // 20)).decode()


class Realtime:
    """One session."""

    def __init__(self, line: Line) -> None:
        self._line = line
        self._session: dict[str, Any] = {
            "type": "realtime",
            "object": "realtime.session",
            "id": identifier("sess_", line.seed("session"), 21),
            "model": line.query.get("model") or line.query.get("deployment"),
            "output_modalities": ["audio"],
            "instructions": "",
            "tools": [],
            "max_output_tokens": "inf",
            "audio": {
                "input": {
                    "format": {"type": "audio/pcm", "rate": 24000},
                    "transcription": None,
                    "turn_detection": {"type": "server_vad", "create_response": True, "interrupt_response": True},
                },
                "output": {"format": {"type": "audio/pcm", "rate": 24000}, "voice": "alloy", "speed": 1.0},
            },
        }
        self._conversation = identifier("conv_", line.seed("conversation"), 21)
        self._text = 0
        self._sound = 0
        """Tokens in the conversation."""
        self._cached = 0
        self._sound_bytes = 0
        self._heard_ms = 0
        self._running: asyncio.Task[None] | None = None
        """The conversation's answer."""
        self._answers: dict[str, asyncio.Task[None]] = {}
        """All of them, by name."""

    async def open(self) -> None:
        await self._event("session.created", session=self._session)

    async def take(self, message: Mapping[str, Any]) -> None:
        match message.get("type"):
            case "session.update":
                await self._update(message.get("session"))
            case "conversation.item.create":
                await self._item(message.get("item"))
            case "input_audio_buffer.append":
                await self._hear(len(str(message.get("audio"))) * 3 // 4)
            case "response.create":
                await self._asked(message)
            case "response.cancel":
                await self._cancel(message)
            case kind:
                await self._fail("unknown_event", f"Unknown event {str(kind)[:64]!r}.", message)

    async def _update(self, told: Any) -> None:
        if isinstance(told, Mapping):
            audio = {
                side: {**settings, **(told.get("audio") or {}).get(side, {})}
                for side, settings in self._session["audio"].items()
            }
            self._session = {**self._session, **told, "audio": audio}
            self._text += tokens_of(str(told.get("instructions") or ""))
        await self._event("session.updated", session=self._session)

    async def _item(self, item: Any) -> None:
        item = {"id": identifier("item_", self._line.seed("item"), 21), "status": "completed", **dict(item or {})}
        self._text += tokens_of(str(item.get("content") or item.get("output")))
        await self._event("conversation.item.added", previous_item_id=None, item=item)
        await self._event("conversation.item.done", previous_item_id=None, item=item)

    async def _hear(self, size: int) -> None:
        self._sound_bytes += size
        while self._sound_bytes >= BYTES_PER_SECOND:
            self._sound_bytes -= BYTES_PER_SECOND
            await self._utterance()

    async def _utterance(self) -> None:
        item_id = identifier("item_", self._line.seed("item"), 21)
        await self._event("input_audio_buffer.speech_started", audio_start_ms=self._heard_ms, item_id=item_id)
        self._heard_ms += 1000
        await self._event("input_audio_buffer.speech_stopped", audio_end_ms=self._heard_ms, item_id=item_id)
        await self._event("input_audio_buffer.committed", previous_item_id=None, item_id=item_id)
        self._sound += HEARD_TOKENS_PER_SECOND
        written = self._session["audio"]["input"].get("transcription")
        if written:
            usage: dict[str, Any] = {"type": "duration", "seconds": 1}
            if "gpt-4o" in str(written.get("model")):
                details = {"text_tokens": 0, "audio_tokens": HEARD_TOKENS_PER_SECOND}
                usage = {"type": "tokens", "total_tokens": 14, "input_tokens": HEARD_TOKENS_PER_SECOND}
                usage |= {"input_token_details": details, "output_tokens": 4}
            await self._event(
                "conversation.item.input_audio_transcription.completed",
                item_id=item_id,
                content_index=0,
                transcript="Hello there.",
                usage=usage,
            )
        if self._session["type"] == "realtime" and self._session["audio"]["input"].get("turn_detection"):
            await self._asked({})

    async def _asked(self, message: Mapping[str, Any]) -> None:
        told = message.get("response")
        apart = isinstance(told, Mapping) and told.get("conversation") == "none"
        if self._running is not None and not self._running.done() and not apart:
            await self._fail(
                "conversation_already_has_active_response",
                "Conversation already has an active response in progress.",
                message,
            )
            return
        turn = self._line.turn("openai", self._session["model"], message)
        response_id = identifier("resp_", turn.seed, 21)
        running = self._line.answer(turn, partial(self._say, turn, response_id, apart=apart))
        self._answers[response_id] = running
        running.add_done_callback(lambda _: self._answers.pop(response_id))
        if not apart:
            self._running = running

    async def _cancel(self, message: Mapping[str, Any]) -> None:
        named = message.get("response_id")
        running = self._running if named is None else self._answers.get(named)
        if running is None or running.done():
            await self._fail("response_cancel_not_active", "Cancellation failed: no active response found.", message)
        else:
            running.cancel()

    async def _say(self, turn: Turn, response_id: str, *, apart: bool) -> None:
        spoken = "audio" in self._session["output_modalities"]
        response: dict[str, Any] = {
            "object": "realtime.response",
            "id": response_id,
            "status": "in_progress",
            "status_details": None,
            "output": [],
            "conversation_id": None if apart else self._conversation,
            "output_modalities": self._session["output_modalities"],
            "usage": None,
        }
        turn.call.request_id = response["id"]
        given, sound, cached = self._text + 8, self._sound, 0 if apart else self._cached
        made = 0
        try:
            await self._event("response.created", response=response)
            where = {"response_id": response["id"], "output_index": 0, "content_index": 0}
            where["item_id"] = identifier("item_", turn.seed, 21)
            for piece in turn.said:
                await self._line.pause(turn)
                made += 1
                turn.call.produced_tokens = made * (1 + spoken)
                if spoken:
                    await self._event("response.output_audio.delta", **where, delta=PIECE_OF_SOUND)
                kind = "response.output_audio_transcript.delta" if spoken else "response.output_text.delta"
                await self._event(kind, **where, delta=piece)
            status, details = "completed", None
        except asyncio.CancelledError:
            status, details = "cancelled", {"type": "cancelled", "reason": "client_cancelled"}
        tokens = Tokens(input=given + sound - cached, cache_read=cached, output=made * (1 + spoken))
        turn.call.report(tokens)
        if not apart:
            self._text += made
            self._sound += made * spoken
            # What was read once comes from the cache, in whole steps.
            self._cached = (given + made) // CACHED_IN_STEPS_OF * CACHED_IN_STEPS_OF
        usage = usage_said(turn, _usage(given, sound, cached, made, made * spoken))
        if not turn.behaviour.no_end:
            last = {**response, "status": status, "status_details": details, "usage": usage}
            await self._event("response.done", response=last)

    async def _event(self, kind: str, **members: Any) -> None:
        await self._line.send({"type": kind, "event_id": identifier("event_", self._line.seed("event"), 21), **members})

    async def _fail(self, code: str, said: str, about: Mapping[str, Any]) -> None:
        error = {"type": "invalid_request_error", "code": code, "message": said, "param": None}
        await self._event("error", error={**error, "event_id": about.get("event_id")})


def _usage(text: int, sound: int, cached: int, text_out: int, sound_out: int) -> dict[str, Any]:
    return {
        "total_tokens": text + sound + text_out + sound_out,
        "input_tokens": text + sound,
        "output_tokens": text_out + sound_out,
        "input_token_details": {
            "text_tokens": text,
            "audio_tokens": sound,
            "image_tokens": 0,
            "cached_tokens": cached,
            "cached_tokens_details": {"text_tokens": cached, "audio_tokens": 0, "image_tokens": 0},
        },
        "output_token_details": {"text_tokens": text_out, "audio_tokens": sound_out},
    }
