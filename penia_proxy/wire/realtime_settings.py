"""
Read the settings of a realtime session.

Its one job: what of a session's settings decides what its answers cost, from the client's updates and from what the
provider says is in force.
Rules: what is absent leaves what was there. The settings have two shapes, of the preview and of the release; both are
read. Sources: openai-python 3.57.0's types (RealtimeSessionCreateRequest, RealtimeSessionCreateResponse); recorded
sessions of OpenAI, Azure, Azure Voice Live and xAI.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from penia_proxy.wire.conversation import PCM_BYTES_PER_MS

NAME_LENGTH_MAX = 256

_G711_BYTES_PER_MS = 8
_PCM_BYTES_PER_HZ_MS = 2 / 1000
_RATE_MIN, _RATE_MAX = 8_000, 192_000


@dataclass(slots=True)
class Settings:
    """What is in force."""

    model: str | None
    speaks: bool = True
    """Whether answers are sound."""
    output_cap: int | None = None
    transcriber: str | None = None
    """The model that writes down what the caller says."""
    transcribes: bool = False
    """Whether the session only writes down: then no answer is made."""
    heard_bytes_per_ms: float = PCM_BYTES_PER_MS
    spoken_bytes_per_ms: float = PCM_BYTES_PER_MS

    def take(self, session: object) -> None:
        """Take a ``session`` object."""
        if not isinstance(session, dict):
            return
        self.model = _name(session.get("model")) or self.model
        modalities = session.get("output_modalities", session.get("modalities"))
        if isinstance(modalities, list) and modalities:
            self.speaks = "audio" in modalities
        for cap in ("max_output_tokens", "max_response_output_tokens"):
            if cap in session:
                self.output_cap = _cap(session[cap])
        if isinstance(session.get("type"), str):
            self.transcribes = session["type"] == "transcription"
        self._take_sound(session)

    def _take_sound(self, session: Mapping[str, Any]) -> None:
        audio = session.get("audio")
        heard = audio.get("input") if isinstance(audio, dict) else None
        spoken = audio.get("output") if isinstance(audio, dict) else None
        written = session.get("input_audio_transcription")
        if isinstance(heard, dict):
            written = heard.get("transcription", written)
            self.heard_bytes_per_ms = _bytes_per_ms(heard.get("format"), self.heard_bytes_per_ms)
        if isinstance(spoken, dict):
            self.spoken_bytes_per_ms = _bytes_per_ms(spoken.get("format"), self.spoken_bytes_per_ms)
        self.heard_bytes_per_ms = _bytes_per_ms(session.get("input_audio_format"), self.heard_bytes_per_ms)
        self.spoken_bytes_per_ms = _bytes_per_ms(session.get("output_audio_format"), self.spoken_bytes_per_ms)
        if isinstance(written, dict):
            self.transcriber = _name(written.get("model")) or self.transcriber


def _bytes_per_ms(form: object, otherwise: float) -> float:
    kind = form.get("type") if isinstance(form, dict) else form
    if not isinstance(kind, str):
        return otherwise
    if kind in ("audio/pcmu", "audio/pcma") or kind.startswith("g711"):
        return _G711_BYTES_PER_MS
    rate = form.get("rate") if isinstance(form, dict) else None
    if isinstance(rate, int) and _RATE_MIN <= rate <= _RATE_MAX:
        return rate * _PCM_BYTES_PER_HZ_MS
    return PCM_BYTES_PER_MS


def _cap(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None


def _name(value: object) -> str | None:
    named = isinstance(value, str) and 0 < len(value) <= NAME_LENGTH_MAX and value.isprintable()
    return str(value) if named else None
