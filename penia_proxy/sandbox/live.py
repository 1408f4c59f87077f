"""
Answer sessions of Google's Live API.

Rules: messages to the client are JSON in binary frames. The setup comes first, and is confirmed; then a whole content,
the result of a tool, or a second of sound is a turn, which ends with its usage. Sources: google-genai 3.6.1's live.py
and types; recorded sessions for the order of messages and their keys.
"""

import base64
from collections.abc import Mapping
from functools import partial
from typing import Any

from penia_proxy.sandbox.bill import Tokens
from penia_proxy.sandbox.sockets import Line, Turn, usage_said
from penia_proxy.sandbox.words import tokens_of

HEARD_BYTES_PER_SECOND = 32_000
TOKENS_PER_SECOND = 25
PIECE_OF_SOUND = base64.b64encode(bytes(1_920)).decode()
"""40 ms, which is a token."""


class Live:
    """One session."""

    def __init__(self, line: Line) -> None:
        self._line = line
        self._model: str | None = None
        self._speaks = True
        self._text = 0
        self._sound = 0
        self._sound_bytes = 0

    async def open(self) -> None:
        """Say nothing before the setup."""

    async def take(self, message: Mapping[str, Any]) -> None:
        setup = message.get("setup")
        if self._model is None:
            if not isinstance(setup, Mapping) or not isinstance(setup.get("model"), str):
                await self._line.close(1007, "setup must be the first message")
                return
            self._model = str(setup["model"])
            config = setup.get("generationConfig") or {}
            self._speaks = "AUDIO" in config.get("responseModalities", ["AUDIO"])
            self._text += tokens_of(str(setup.get("systemInstruction") or ""))
            await self._send({"setupComplete": {"sessionId": self._line.seed("session").hex()[:32]}})
            return
        said = message.get("client_content", message.get("clientContent"))
        heard = message.get("realtime_input", message.get("realtimeInput"))
        result = message.get("tool_response", message.get("toolResponse"))
        if isinstance(heard, Mapping):
            await self._hear(heard)
            return
        self._text += tokens_of(str(said or result))
        if result is not None or (isinstance(said, Mapping) and said.get("turnComplete", said.get("turn_complete"))):
            self._answer(message)

    async def _hear(self, heard: Mapping[str, Any]) -> None:
        chunks = [heard.get("audio"), *(heard.get("mediaChunks") or heard.get("media_chunks") or [])]
        self._sound_bytes += sum(len(str(chunk.get("data"))) * 3 // 4 for chunk in chunks if isinstance(chunk, Mapping))
        while self._sound_bytes >= HEARD_BYTES_PER_SECOND:
            self._sound_bytes -= HEARD_BYTES_PER_SECOND
            self._sound += TOKENS_PER_SECOND
            self._answer({})

    def _answer(self, message: Mapping[str, Any]) -> None:
        turn = self._line.turn("google", str(self._model).rsplit("/", 1)[-1], message)
        self._line.answer(turn, partial(self._say, turn))

    async def _say(self, turn: Turn) -> None:
        text, sound = self._text, self._sound
        for piece in turn.said:
            await self._line.pause(turn)
            turn.call.produced_tokens += 1
            part: dict[str, Any] = {"text": piece}
            if self._speaks:
                part = {"inlineData": {"mimeType": "audio/pcm;rate=24000", "data": PIECE_OF_SOUND}}
            await self._send({"serverContent": {"modelTurn": {"role": "model", "parts": [part]}}})
        made = len(turn.said)
        turn.call.report(Tokens(input=text + sound, output=made))
        self._text += made * (not self._speaks)
        self._sound += made * self._speaks
        await self._send({"serverContent": {"generationComplete": True}})
        last: dict[str, Any] = {"serverContent": {"turnComplete": True}}
        usage = usage_said(turn, _usage(text, sound, made, "AUDIO" if self._speaks else "TEXT"))
        if usage is not None:
            last["usageMetadata"] = usage
        if not turn.behaviour.no_end:
            await self._send(last)

    async def _send(self, message: Mapping[str, Any]) -> None:
        await self._line.send(message, binary=True)


def _usage(text: int, sound: int, made: int, modality: str) -> dict[str, Any]:
    heard = [{"modality": "AUDIO", "tokenCount": sound}] if sound else []
    return {
        "promptTokenCount": text + sound,
        "responseTokenCount": made,
        "totalTokenCount": text + sound + made,
        "promptTokensDetails": [{"modality": "TEXT", "tokenCount": text}, *heard],
        "responseTokensDetails": [{"modality": modality, "tokenCount": made}],
    }
