"""
Remember which prompts were seen, as the providers' prompt caches do.

Two rules, one a provider: OpenAI finds the longest known prefix by itself, in steps of 128 tokens from 1,024 on
(https://platform.openai.com/docs/guides/prompt-caching); Anthropic keeps what the caller marks with ``cache_control``.
Only hashes are kept, the least recently used is forgotten first, and nothing expires, so that answers repeat.
It must not know how a prompt is written in a request: it is given bytes and token counts.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from penia_proxy.sandbox.words import BYTES_PER_TOKEN

TOKENS_MIN = 1024
"""A shorter prefix is not kept. Anthropic's minimum is higher for some models; this is the lowest, for all."""

STEP_TOKENS = 128
ENTRIES_MAX = 65_536

Lifetime = Literal["5m", "1h"]


@dataclass(frozen=True, slots=True)
class Mark:
    """One cache breakpoint: everything before it, and how long it is to be kept."""

    prefix: bytes
    """A digest of all content up to the mark."""
    tokens: int
    """Input tokens up to the mark."""
    lifetime: Lifetime


@dataclass(frozen=True, slots=True)
class Cached:
    """How the input of one call divides."""

    read: int = 0
    write_5m: int = 0
    write_1h: int = 0


class PromptCache:
    """One cache for one sandbox; models and callers' keys do not share entries, so they are part of ``owner``."""

    def __init__(self, *, tokens_min: int = TOKENS_MIN, entries_max: int = ENTRIES_MAX) -> None:
        self._tokens_min = tokens_min
        self._entries_max = entries_max
        self._seen: OrderedDict[bytes, None] = OrderedDict()

    def forget(self) -> None:
        """Start empty again."""
        self._seen.clear()

    def by_prefix(self, owner: str, prompt: bytes, tokens: int) -> Cached:
        """Return what is known of the prompt's beginning, and remember the whole: OpenAI's rule."""
        step = STEP_TOKENS * BYTES_PER_TOKEN
        running = hashlib.sha256(owner.encode())
        known = longest = 0
        for end in range(step, len(prompt) + 1, step):
            running.update(prompt[end - step : end])
            length = end // BYTES_PER_TOKEN
            if length < self._tokens_min or length > tokens:
                continue
            if self._known(running.digest()):
                known = length
            self._remember(running.digest())
            longest = length
        return Cached(read=known, write_5m=longest - known)

    def by_marks(self, owner: str, marks: Sequence[Mark]) -> Cached:
        """Return what is read up to the longest known mark and written up to the last one: Anthropic's rule."""
        kept = [mark for mark in marks if mark.tokens >= self._tokens_min]
        keys = [hashlib.sha256(owner.encode() + mark.prefix).digest() for mark in kept]
        read = max((mark.tokens for mark, key in zip(kept, keys, strict=True) if self._known(key)), default=0)
        written = {"5m": 0, "1h": 0}
        reached = read
        for mark, key in zip(kept, keys, strict=True):
            if mark.tokens > reached:
                written[mark.lifetime] += mark.tokens - reached
                reached = mark.tokens
            self._remember(key)
        return Cached(read=read, write_5m=written["5m"], write_1h=written["1h"])

    def _known(self, key: bytes) -> bool:
        return key in self._seen

    def _remember(self, key: bytes) -> None:
        self._seen[key] = None
        self._seen.move_to_end(key)
        if len(self._seen) > self._entries_max:
            self._seen.popitem(last=False)
