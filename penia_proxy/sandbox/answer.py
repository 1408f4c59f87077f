"""
What passes between a provider's module and the rest: a question goes in; a status, headers and pieces come out.

Rule: a piece says how many output tokens leave with it, so that a cut answer's bill is known to the token.
It must not know how the pieces are made or sent.
"""

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from penia_proxy.sandbox.bill import Charge, Tokens
from penia_proxy.sandbox.faults import Behaviour, UsageFault
from penia_proxy.sandbox.forms import Upload
from penia_proxy.sandbox.prompt_cache import PromptCache
from penia_proxy.sandbox.refused import Refused
from penia_proxy.sandbox.work import Store

NO_TOKENS = Tokens()
"""What an answer reports that bills nothing."""


@dataclass(frozen=True, slots=True)
class Piece:
    """One event of a stream, or a whole JSON body."""

    data: bytes
    tokens: int = 0
    """Output and reasoning tokens that are produced once this piece is sent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One answer, healthy or an error."""

    status: int
    headers: list[tuple[str, str]]
    """Without Content-Length, Transfer-Encoding and Content-Encoding."""
    pieces: Iterable[Piece]
    streamed: bool = False
    tokens: Tokens = NO_TOKENS
    request_id: str
    served_model: str | None = None
    service_tier: str | None = None
    failure: bytes | None = None
    """The event that ends its stream if it fails, where that is not the provider's usual one."""
    later: list[Charge] = field(default_factory=list)
    """What the work that the request started is billed; it may be emptied when that is cancelled."""


def broken(counts: Any, fault: UsageFault) -> Any:
    """Return a usage object as the fault reports it: every count in it, however deep, as text, negative or 1e30."""
    if isinstance(counts, dict):
        return {name: broken(count, fault) for name, count in counts.items()}
    if not isinstance(counts, int):
        return counts
    if fault == "strings":
        return str(counts)
    if fault == "negative":
        return -counts
    return 1e30 if fault == "huge" else counts


def interrupted(pieces: Iterable[Piece], after: int, error: bytes) -> Iterator[Piece]:
    """Yield the first ``after`` pieces, then the stream's error event, and nothing more."""
    yield from itertools.islice(pieces, after)
    yield Piece(error)


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One request as a provider's module is given it."""

    body: Mapping[str, Any]
    seed: bytes
    behaviour: Behaviour
    cache: PromptCache
    store: Store
    values: tuple[str, ...] = ()
    """What stands in the path's ``{}``."""
    query: Mapping[str, str] = field(default_factory=dict)
    origin: str = ""
    """The provider's own address as the caller wrote it, for links to further answers."""
    upload: Upload | None = None
    """The file of a form; the form's other fields are the body."""


def count_of(body: Mapping[str, Any], name: str, low: int, high: int = 1 << 53) -> int | None:
    """Return a whole number of the body, or None if it is absent or null. Raises Refused."""
    value = body.get(name)
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise Refused(400, f"'{name}' must be an integer from {low} to {high}.", param=name, code="invalid_value")
    return value


def turns_of(body: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the body's messages. Raises Refused."""
    turns = body.get("messages")
    if not isinstance(turns, list) or not turns:
        raise Refused(400, "'messages' must be a list of at least one message.", param="messages", code="invalid_type")
    for index, turn in enumerate(turns):
        if not isinstance(turn, Mapping) or not isinstance(turn.get("role"), str):
            raise Refused(
                400, f"'messages[{index}]' must have a role.", param=f"messages[{index}]", code="invalid_type"
            )
    return turns


def model_of(body: Mapping[str, Any]) -> str:
    """Return the model asked for. Raises Refused."""
    model = body.get("model")
    if not isinstance(model, str) or not model:
        raise Refused(400, "you must provide a model parameter", param="model")
    return model


def objects_in(body: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    """Return the objects of a list in the body, such as its tools; whatever else is in it is passed over."""
    listed = body.get(name)
    return [entry for entry in listed if isinstance(entry, Mapping)] if isinstance(listed, list) else []


def until_stop(said: list[str], stops: Sequence[str]) -> tuple[list[str], str | None]:
    """Return the pieces before the first stop sequence, and which one it was; the one that cuts earliest wins."""
    text = "".join(said)
    found = [(at, stop) for stop in stops if stop and (at := text.find(stop)) >= 0]
    if not found:
        return said, None
    at, stop = min(found)
    kept: list[str] = []
    for piece in said:
        if at <= 0:
            break
        kept.append(piece[:at])
        at -= len(piece)
    return kept, stop
