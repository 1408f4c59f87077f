"""
Stream an OpenAI response: its events, in their order, with their numbers.

Rules: one delta of text or arguments is one token; the reasoning's tokens leave with its item; the summary's pieces are
no tokens. Sources: the ``openai`` SDK's ``types/responses``, and recorded streams for the order of events and keys.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import orjson

from penia_proxy.sandbox.answer import Piece
from penia_proxy.sandbox.openai_response import Item, Response

_OBFUSCATION = "kQ7zXw3Lr9TbN5vH"

_Step = tuple[dict[str, Any], int]
"""An event without its number, and the tokens that leave with it."""


def events(response: Response, *, after: int = -1, no_end: bool = False) -> Iterator[Piece]:
    """Yield the events numbered above ``after``, with or without the last; the response ends with them."""
    for number, step in enumerate(_steps(response, no_end=no_end)):
        if number > after:
            yield _piece(number, step)


def failure(number: int) -> bytes:
    """Return the event that ends a stream which fails after its beginning."""
    error = {
        "type": "server_error",
        "code": "server_error",
        "message": "The server had an error while processing your request.",
        "param": None,
    }
    return _piece(number, ({"type": "error", "error": error}, 0)).data


def _piece(number: int, step: _Step) -> Piece:
    content, tokens = step
    data = orjson.dumps(content | {"sequence_number": number}).replace(b'#2":', b'":')
    return Piece(b"event: " + str(content["type"]).encode() + b"\ndata: " + data + b"\n\n", tokens)


def _steps(response: Response, *, no_end: bool) -> Iterator[_Step]:
    created = response.as_object("queued" if response.background else "running")
    yield {"type": "response.created", "response": created}, 0
    if response.background:
        yield {"type": "response.queued", "response": created}, 0
    yield {"type": "response.in_progress", "response": response.as_object("running")}, 0
    response.finish()
    if response.state == "done":
        for index, item in enumerate(response.items):
            yield from _item_steps(item, index)
    if not no_end:
        ended = response.as_object()
        yield {"type": f"response.{ended['status']}", "response": ended}, 0


def _item_steps(item: Item, index: int) -> Iterator[_Step]:
    opening = item.whole | _OPENINGS[item.kind]
    yield {"type": "response.output_item.added", "item": opening, "output_index": index}, item.head_tokens
    place = {"item_id": item.id, "output_index": index}
    if item.kind == "message":
        yield from _part_steps(item, place | {"content_index": 0}, "response.content_part", "response.output_text")
    elif item.kind == "reasoning" and item.pieces:
        names = ("response.reasoning_summary_part", "response.reasoning_summary_text")
        yield from _part_steps(item, place | {"summary_index": 0}, *names)
    elif item.kind == "function_call":
        for piece in item.pieces:
            delta = {"type": "response.function_call_arguments.delta", "delta": piece}
            yield delta | place | {"obfuscation": _hidden(piece)}, 1
        done = {"type": "response.function_call_arguments.done", "arguments": item.whole["arguments"]}
        yield done | place, 0
    elif item.kind == "web_search_call":
        for moment in ("in_progress", "searching", "completed"):
            yield {"type": f"response.web_search_call.{moment}"} | place, 0
    yield {"type": "response.output_item.done", "item": item.whole, "output_index": index}, 0


def _part_steps(item: Item, place: Mapping[str, Any], part: str, text: str) -> Iterator[_Step]:
    """Yield the one part of a message or of a summary; only a message's pieces are tokens."""
    is_message = item.kind == "message"
    (whole,) = item.whole["content" if is_message else "summary"]
    logprobs: dict[str, Any] = {"logprobs": []} if is_message else {}
    yield {"type": f"{part}.added", "part": whole | {"text": ""}, **place}, 0
    for piece in item.pieces:
        delta = {"type": f"{text}.delta", "delta": piece, **place, **logprobs, "obfuscation": _hidden(piece)}
        yield delta, int(is_message)
    yield {"type": f"{text}.done", "text": whole["text"], **place, **logprobs}, 0
    yield {"type": f"{part}.done", "part": whole, **place}, 0


def _hidden(piece: str) -> str:
    """Return padding that hides the length of a piece, as the API's does; it is no secret here, only there."""
    return _OBFUSCATION[len(piece) % len(_OBFUSCATION) :]


_OPENINGS: Mapping[str, dict[str, Any]] = {
    "reasoning": {"summary": []},
    "web_search_call": {"status": "in_progress"},
    "message": {"status": "in_progress", "content": []},
    "function_call": {"status": "in_progress", "arguments": ""},
}
"""What of an item is not yet there when it begins."""
