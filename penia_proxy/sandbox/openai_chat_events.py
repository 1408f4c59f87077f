"""
Stream a chat completion of OpenAI or a relative: its chunks, in their order.

Rules: one piece of text, thought or arguments is one token, and so is the head of a call; hidden thoughts were produced
before the first chunk leaves; the usage is where the provider has it. Source: recorded streams.
"""

from collections.abc import Iterator, Mapping
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

import orjson

from penia_proxy.sandbox.answer import Piece
from penia_proxy.sandbox.manner import ordered

if TYPE_CHECKING:
    from penia_proxy.sandbox.openai_chat import Completion
    from penia_proxy.sandbox.speech import Said

_OBFUSCATION = "kQ7zXw3Lr9TbN5vH"

_Step = tuple[dict[str, Any], bool, int]
"""A delta, whether it is the choice's last, and the tokens that leave with it."""


def events(completion: "Completion") -> Iterator[Piece]:
    """Yield the events."""
    manner, fault = completion.manner, completion.question.behaviour.usage
    options = completion.question.body.get("stream_options")
    options = options if isinstance(options, Mapping) else {}
    asked = options.get("include_usage") is True and fault != "omit"
    usage = None if fault == "null" else completion.usage
    obfuscated = options.get("include_obfuscation") is not False
    frame = completion.frame | {"object": "chat.completion.chunk"}
    separate = asked and manner.usage_in != "last"
    count = 0
    for count, (choice, size, tokens, is_last) in enumerate(_choices(completion), 1):
        chunk = frame | {"choices": [choice]} | _beside(completion, first=count == 1, last=is_last, usage=usage)
        if separate and manner.usage_in == "asked":
            chunk["usage"] = None
        yield Piece(_event(completion, chunk, count + size, obfuscated=obfuscated), tokens)
    if separate:
        last = _event(completion, frame | {"choices": [], "usage": usage}, count, obfuscated=obfuscated)
        for _ in range(2 if fault == "twice" else 1):
            yield Piece(last)
    if not completion.question.behaviour.no_end:
        yield Piece(b"data: [DONE]\n\n")


def _beside(completion: "Completion", *, first: bool, last: bool, usage: dict[str, Any] | None) -> dict[str, Any]:
    """Return what a chunk has beside its choice, where the provider reports without being asked."""
    manner = completion.manner
    reported = last and completion.question.behaviour.usage != "omit"
    if manner.usage_in == "last" and reported:
        return {"usage": usage}
    if manner.usage_in == "x_groq" and (first or last):
        name = {"id": manner.besides(completion.seed)["x_groq"]["id"]}
        return {"x_groq": name | ({"usage": usage} if reported else {})}
    return {}


def _event(completion: "Completion", chunk: dict[str, Any], size: int, *, obfuscated: bool) -> bytes:
    """Return one event. The padding hides a chunk's length, as the API's does; it is no secret here, only there."""
    if obfuscated:
        chunk = chunk | {"obfuscation": _OBFUSCATION[: 1 + size % len(_OBFUSCATION)]}
    return b"data: " + orjson.dumps(ordered(completion.manner.chunk, chunk)) + b"\n\n"


def _choices(completion: "Completion") -> Iterator[tuple[dict[str, Any], int, int, bool]]:
    """Yield ``(choice, size of its text, tokens, whether it is the last of all)``: the choices take turns."""
    manner = completion.manner
    running = len(completion.choices)
    turns = zip_longest(*(_steps(completion, index, choice) for index, choice in enumerate(completion.choices)))
    for turn in turns:
        for index, step in enumerate(turn):
            if step is None:
                continue
            delta, ends, tokens = step
            running -= ends
            text = delta.get("content") or ""
            finish = finish_of(completion.choices[index]) if ends else None
            choice = {"index": index, "delta": delta, "finish_reason": finish}
            choice |= completion.logprobs([text] if text else [])
            yield ordered(manner.chunk_choice, choice), len(text), tokens, running == 0


def _steps(completion: "Completion", index: int, choice: "Said") -> Iterator[_Step]:
    manner = completion.manner
    hidden = 0 if manner.shows_thoughts else choice.thoughts
    # A single call's head travels with the role; with several, the role goes first (both as recorded, of OpenAI).
    alone = manner.calls_in_pieces and len(choice.uses) == 1
    if manner.first_delta is not None:
        role: dict[str, Any] = {"role": "assistant", "content": manner.content_of_calls if choice.uses else ""}
        if alone:
            role |= _head(completion, choice, 0)
        yield {**role, **manner.first_delta}, False, hidden + alone
    for piece in completion.thought(index):
        yield {**manner.every_delta, "reasoning": piece}, False, 1
    for piece in choice.text:
        yield {**manner.every_delta, "content": piece}, False, 1
    for place, use in enumerate(choice.uses):
        if not manner.calls_in_pieces:
            whole = {"tool_calls": [completion.call(use, place) | {"index": place}]}
            yield {**manner.every_delta, **whole}, False, 1 + len(use.written)
            continue
        if not alone:
            yield _head(completion, choice, place), False, 1
        for piece in use.written:
            yield {"tool_calls": [{"index": place, "function": {"arguments": piece}}]}, False, 1
    yield {**manner.every_delta, **manner.last_delta}, True, 0


def _head(completion: "Completion", choice: "Said", place: int) -> dict[str, Any]:
    use = choice.uses[place]
    function = {"name": use.name, "arguments": ""}
    head = {"index": place, "id": completion.manner.call_id(use.seed), "type": "function", "function": function}
    return {"tool_calls": [head]}


def finish_of(choice: "Said") -> str:
    """Return what the API calls its end."""
    return "tool_calls" if choice.end == "tools" else choice.end
