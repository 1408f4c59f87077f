"""
Read a request's JSON strictly, and set one member of it without touching the rest.

Its one job: one reading of a body that every parser would agree with, or none.
Rules: duplicate keys, NaN, lone NULs in UTF-16 and depth beyond measure are refused, because parsers differ about
them and a caller could be billed for another request than the one we held for (reliability.md §5). No message quotes
the body.
"""

import json
from collections.abc import Callable
from json.decoder import scanstring  # type: ignore[attr-defined]  # what json's own scanner uses; stable since 2.7
from typing import Any, NoReturn

from penia_proxy.errors import InvalidRequest

MODEL_LENGTH_MAX = 256
DEPTH_MAX = 64
"""Nesting accepted. Anthropic and OpenAI schemas stay far below; reliability.md §7.12."""


LEAP_BYTES = 4_096
"""Below, counting is quicker than leaping."""

OBJECTS_MAX = 200_000
"""Objects accepted in one body: forty times a request of 5,000 messages. A body of nothing else holds everybody up."""


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return the object. Raises InvalidRequest where a key stands twice."""
    members = dict(pairs)
    if len(members) != len(pairs):
        raise InvalidRequest("The body has an object with duplicate keys; parsers differ about which one counts.")
    return members


class _Counted:
    """Builds the objects of a body that may have too many."""

    def __init__(self) -> None:
        self._left = OBJECTS_MAX

    def build(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        """Return the object. Raises InvalidRequest where a key stands twice, and for too many objects."""
        self._left -= 1
        if self._left < 0:
            raise InvalidRequest(f"The body has more than {OBJECTS_MAX} objects.")
        return _unique(pairs)


def _no_constant(name: str) -> NoReturn:
    raise InvalidRequest(f"The body has {name}, which is not JSON.")


def _strict(build: Callable[[list[tuple[str, Any]]], dict[str, Any]]) -> json.JSONDecoder:
    return json.JSONDecoder(object_pairs_hook=build, parse_constant=_no_constant)


_DECODER = json.JSONDecoder()
_STRICT = _strict(_unique)


def read_object(body: bytes) -> dict[str, Any]:
    """Return the body's JSON object. Raises InvalidRequest."""
    if not body.strip():
        raise InvalidRequest("The body is empty; a JSON object is needed.")
    try:
        # An object takes two bytes: of fewer bytes there are not too many, and nothing is counted.
        decoder = _STRICT if len(body) <= 2 * OBJECTS_MAX else _strict(_Counted().build)
        value = decoder.decode(body.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise InvalidRequest("The body is not UTF-8.") from error
    except json.JSONDecodeError as error:
        raise InvalidRequest(f"The body is not JSON: {error.msg} at byte {error.pos}.") from None
    except RecursionError as error:
        raise InvalidRequest("The body is nested too deeply.") from error
    except ValueError as error:  # a number of more digits than int() takes
        raise InvalidRequest("The body has a number that is too long.") from error
    if not isinstance(value, dict):
        raise InvalidRequest("The body is not a JSON object.")
    if _may_be_deeper(body, DEPTH_MAX) and _deeper_than(value, DEPTH_MAX):
        raise InvalidRequest(f"The body is nested more than {DEPTH_MAX} deep.")
    return value


def _may_be_deeper(body: bytes, depth: int) -> bool:
    """Whether the body opens so many objects and lists; found by leaps, as counting would look at every byte."""
    if len(body) <= LEAP_BYTES:
        return body.count(b"{") + body.count(b"[") > depth
    opened = 0
    for bracket in (b"{", b"["):
        at = body.find(bracket)
        while at >= 0 and opened <= depth:
            opened += 1
            at = body.find(bracket, at + 1)
    return opened > depth


def _deeper_than(value: Any, depth: int) -> bool:
    layer = [value]
    for _ in range(depth):
        layer = [
            child
            for node in layer
            for child in (node.values() if isinstance(node, dict) else node)
            if isinstance(child, dict | list)
        ]
        if not layer:
            return False
    return True


def set_member(body: bytes, name: str, value: Any) -> bytes:
    """
    Return the body with one top-level member set, every other byte as it was.

    ``body`` must have passed `read_object`. Raises InvalidRequest for a value that JSON cannot say.
    """
    text = body.decode("utf-8")
    try:
        encoded = json.dumps(value, separators=(",", ":"), allow_nan=False)
    except ValueError as error:
        raise InvalidRequest(f"'{name}' has a number that is too large.") from error
    span = _span(text, name)
    if span is not None:
        return (text[: span[0]] + encoded + text[span[1] :]).encode()
    start = text.index("{") + 1
    comma = "" if text[start:].lstrip()[:1] == "}" else ","
    return (text[:start] + json.dumps(name) + ":" + encoded + comma + text[start:]).encode()


def _span(text: str, name: str) -> tuple[int, int] | None:
    """Find where the top-level member's value stands."""
    at = _after_space(text, text.index("{") + 1)
    while text[at] == '"':
        key, at = scanstring(text, at + 1, True)  # noqa: FBT003 - positional in the C function
        at = _after_space(text, _after_space(text, at) + 1)
        _, end = _DECODER.raw_decode(text, at)
        if key == name:
            return at, end
        at = _after_space(text, end)
        if text[at] != ",":
            return None
        at = _after_space(text, at + 1)
    return None


def _after_space(text: str, at: int) -> int:
    while text[at] in " \t\n\r":
        at += 1
    return at


def model_of(members: dict[str, Any]) -> str:
    """Return the model asked for. Raises InvalidRequest."""
    model = members.get("model")
    if not isinstance(model, str) or not model or len(model) > MODEL_LENGTH_MAX or not model.isprintable():
        raise InvalidRequest("'model' must be a name.")
    return model


def flag(members: dict[str, Any], name: str) -> bool:
    """Return a member that may be true, false, null or absent. Raises InvalidRequest."""
    value = members.get(name)
    if value is not None and not isinstance(value, bool):
        raise InvalidRequest(f"'{name}' must be true or false.")
    return value is True


def count(members: dict[str, Any], name: str, *, least: int = 1, most: int = 2**31 - 1) -> int | None:
    """Return a member that must be a whole number, or None where it is absent or null. Raises InvalidRequest."""
    value = members.get(name)
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        what = "a positive integer" if least == 1 else f"an integer of at least {least}"
        raise InvalidRequest(f"'{name}' must be {what}.")
    return value


def text_or_none(members: dict[str, Any], name: str) -> str | None:
    """Return a member that must be a string or absent. Raises InvalidRequest."""
    value = members.get(name)
    if value is not None and not isinstance(value, str):
        raise InvalidRequest(f"'{name}' must be a string.")
    return value
