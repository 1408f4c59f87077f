"""
Know what a session's next answer will read.

Its one job: everything that was said in one session so far, as counts: each answer reads all of it again, and its
provider says how much that was only when the answer has ended.
Rules: counts only, and an estimate: it is used for what is held, and for an answer that was cut. What an answer has
reported replaces what was counted before it, and is taken to come from the cache from then on.
"""

import math
from dataclasses import dataclass

from penia_proxy.budget.usage import Usage

BYTES_PER_TEXT_TOKEN = 4
"""Of English prose (wire_formats.md §3)."""

PCM_BYTES_PER_MS = 48
"""Of 24,000 samples of 16 bits a second, which is what OpenAI, xAI and Gemini send where nothing else is asked for."""


@dataclass(frozen=True, slots=True)
class Pace:
    """Tokens of a second of sound, as it is heard and as it is spoken."""

    heard: int
    spoken: int


OPENAI_PACE = Pace(10, 20)
"""One in 100 ms and one in 50 ms (developers.openai.com/api/docs/guides/realtime-costs)."""

GEMINI_PACE = Pace(25, 25)
"""Vertex AI's guide to provisioned throughput for the Live API: 10 seconds are 250 tokens."""


class Conversation:
    """What was said in one session."""

    def __init__(self, pace: Pace) -> None:
        self.pace = pace
        self._known = Usage()
        self._text_bytes = 0
        self._sound_ms = 0.0
        self._image_tokens = 0

    def add(self, *, text_bytes: int = 0, sound_ms: float = 0, image_tokens: int = 0) -> None:
        """Take what was said."""
        self._text_bytes += text_bytes
        self._sound_ms += sound_ms
        self._image_tokens += image_tokens

    def answered(self, usage: Usage) -> None:
        """Take what an answer has read and written: the next one reads both."""
        text = usage.input + usage.cache_read + usage.cache_write + usage.input_image + usage.output
        sound = usage.input_audio + usage.cache_read_audio + usage.output_audio
        self._known = Usage(cache_read=text, cache_read_audio=sound)
        self._text_bytes = self._image_tokens = 0
        self._sound_ms = 0

    def input(self) -> Usage:
        """Return what an answer that begins now reads."""
        return Usage(
            input=math.ceil(self._text_bytes / BYTES_PER_TEXT_TOKEN),
            input_audio=math.ceil(self._sound_ms * self.pace.heard / 1000),
            input_image=self._image_tokens,
            cache_read=self._known.cache_read,
            cache_read_audio=self._known.cache_read_audio,
        )

    def spoken(self, sound_ms: float) -> int:
        """Return the tokens of sound that an answer made."""
        return math.ceil(sound_ms * self.pace.spoken / 1000)


def sound_ms(encoded: object, bytes_per_ms: float = PCM_BYTES_PER_MS) -> float:
    """Return how long base64 sound is, 0 for what is none."""
    if not isinstance(encoded, str):
        return 0
    return (len(encoded) * 3 // 4 - encoded.count("=", -2)) / bytes_per_ms
