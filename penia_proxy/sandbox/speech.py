"""
Decide what a model makes of a question: thoughts, text or calls of tools, cut at the cap.

Rules: what is made depends on the seed and on the wish alone; each piece is one token, and so is the head of a call.
It must not know any provider's words for what it is given.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from penia_proxy.sandbox.answer import until_stop
from penia_proxy.sandbox.schemas import arguments_of, example_of
from penia_proxy.sandbox.words import derive, number, pieces, speech

COMPACT = (",", ":")
SPACED = (", ", ": ")
"""How JSON that a model writes is separated: most write it compact, Mistral's and Cohere's with spaces."""


@dataclass(frozen=True, slots=True)
class Tool:
    """A function that may be called."""

    name: str
    schema: object


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What is asked of the model."""

    cap: int | None = None
    """The most it may make, thoughts included."""
    thoughts: int = 0
    """How long it thinks, uncapped."""
    tools: Sequence[Tool] = ()
    """What it calls, instead of speaking."""
    form: Literal["text", "object", "schema"] = "text"
    schema: object = None
    stops: Sequence[str] = ()
    length: int | None = None
    """Tokens of text, uncapped; None: some dozens, by the seed."""
    separators: tuple[str, str] = COMPACT


@dataclass(frozen=True, slots=True)
class Use:
    """One call of a tool, its arguments perhaps cut."""

    seed: bytes
    name: str
    arguments: dict[str, Any]
    """The whole ones; none where they were cut."""
    written: list[str]
    """The same as JSON, as far as it got."""


@dataclass(frozen=True, slots=True)
class Said:
    """What the model made."""

    thoughts: int = 0
    text: list[str] = field(default_factory=list)
    uses: list[Use] = field(default_factory=list)
    end: Literal["stop", "length", "tools"] = "stop"
    stopped_by: str | None = None
    """The stop sequence that ended it."""

    @property
    def visible(self) -> int:
        """Output tokens but the thoughts."""
        return len(self.text) + sum(1 + len(use.written) for use in self.uses)


def said(seed: bytes, wish: Wish) -> Said:
    """Return what the model makes of the wish."""
    thoughts = wish.thoughts if wish.cap is None else min(wish.thoughts, wish.cap)
    left = None if wish.cap is None else wish.cap - thoughts
    if wish.tools:
        uses, cut = _uses(seed, wish, left)
        return Said(thoughts, [], uses, "length" if cut else "tools")
    text, stop = until_stop(_text(seed, wish), wish.stops)
    kept = text if left is None else text[:left]
    cut = len(kept) < len(text) or thoughts < wish.thoughts
    return Said(thoughts, kept, [], "length" if cut else "stop", None if cut else stop)


def _text(seed: bytes, wish: Wish) -> list[str]:
    if wish.length is not None or wish.form == "text":
        return speech(seed, number(seed, "length", 12, 60) if wish.length is None else wish.length)
    if wish.form == "object":
        return pieces(json.dumps({"answer": "".join(speech(seed, 6))}))
    return pieces(json.dumps(example_of(wish.schema, seed), separators=wish.separators, ensure_ascii=False))


def _uses(seed: bytes, wish: Wish, left: int | None) -> tuple[list[Use], bool]:
    """Return the calls within the cap, the last one's arguments perhaps cut, and whether anything was."""
    made: list[Use] = []
    for index, tool in enumerate(wish.tools):
        if left is not None and left < 1:
            return made, True
        own = derive(seed, index)
        arguments = arguments_of(tool.schema, own)
        written = pieces(json.dumps(arguments, separators=wish.separators, ensure_ascii=False))
        kept = written if left is None else written[: left - 1]
        cut = len(kept) < len(written)
        made.append(Use(own, tool.name, {} if cut else arguments, kept))
        if cut:
            return made, True
        left = None if left is None else left - 1 - len(kept)
    return made, False
