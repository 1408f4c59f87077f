"""
Say how a call is to be answered when not simply well: slow, cut, broken, refused.

A :class:`Behaviour` comes from three places, the later winning field by field: the sandbox's own default, its script,
and the request's ``X-Sandbox-*`` headers (``X-Sandbox-First-Byte-Delay-S: 0.2`` sets ``first_byte_delay_s``).
Rule: every field is bounded, and a name or value that makes no sense is refused, so that no test passes because its
fault was misspelt. It must not know how a fault is carried out.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Final, Literal, get_args

HEADER_PREFIX = "x-sandbox-"

Compress = Literal["none", "gzip", "deflate", "br", "zstd"]
UsageFault = Literal["normal", "omit", "null", "strings", "negative", "twice", "huge"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Behaviour:
    """How to answer one call. The defaults are a healthy, immediate answer."""

    first_byte_delay_s: float = 0.0
    """Wait before the status line."""
    chunk_delay_s: float = 0.0
    """Wait before each event of a stream, and before a cut, so that what went before it is read first."""
    output_tokens: int | None = None
    """Visible tokens of a text answer; the caller's cap still applies. None: some dozens, by the body."""
    reasoning_tokens: int | None = None
    """Reasoning or thinking tokens, where the model does any. None: by the effort asked for."""
    compress: Compress = "none"
    """Applied only if the request's Accept-Encoding allows it."""
    status: int | None = None
    """Answer with this error status, in the provider's shape."""
    retry_after_s: int | None = None
    """Retry-After of such an error; None: what the provider sends with that status."""
    error_body: bool = False
    """Answer 200 whose body is an error."""
    error_after_chunks: int | None = None
    """Send a stream's error event after so many events, and end."""
    close_before: bool = False
    """Close the connection instead of answering."""
    stall_before: bool = False
    """Answer never."""
    reset_after_bytes: int | None = None
    """RST after so many bytes of the body."""
    end_after_bytes: int | None = None
    """End the body in good order, but too early: a stream by its last chunk, JSON by closing the connection."""
    stall_after_bytes: int | None = None
    """Send no more after so many bytes of the body, and hold the connection open."""
    split_bytes: int | None = None
    """Write the body in pieces of so many bytes."""
    usage: UsageFault = "normal"
    """``omit``, ``null``; counts as ``strings``, ``negative`` or ``huge`` (1e30); reported ``twice``."""
    no_end: bool = False
    """Leave out the stream's last word: ``[DONE]``, ``message_stop``."""

    polls: int = 1
    """How many readings find work that goes on after its request (a batch, a run) still under way."""
    fails: bool = False
    """Such work ends in failure."""

    def changed(self) -> dict[str, object]:
        """Return the fields that differ from a healthy answer."""
        return {field.name: value for field in fields(self) if (value := getattr(self, field.name)) != field.default}


@dataclass(frozen=True, slots=True)
class Asked:
    """What a script may decide by."""

    number: int
    """1 for the first request of this sandbox."""
    provider: str
    path: str
    headers: Mapping[str, str]
    body: Mapping[str, Any]


Script = Behaviour | Iterable[Behaviour | None] | Callable[[Asked], Behaviour | None]
"""One behaviour for every call, one after the other for the next calls (then healthy), or a function of the call."""


class ScriptError(ValueError):
    """An ``X-Sandbox-*`` header, or a setting of the command line, that names no behaviour or is out of bounds."""


_BOUNDS: Final[Mapping[str, tuple[float, float]]] = {
    "first_byte_delay_s": (0, 600),
    "chunk_delay_s": (0, 600),
    "output_tokens": (0, 200_000),
    "reasoning_tokens": (0, 200_000),
    "status": (400, 599),
    "retry_after_s": (0, 86_400),
    "error_after_chunks": (0, 1_000_000),
    "reset_after_bytes": (0, 1 << 30),
    "end_after_bytes": (0, 1 << 30),
    "stall_after_bytes": (0, 1 << 30),
    "split_bytes": (1, 1 << 30),
    "polls": (0, 1_000),
}
_SECONDS: Final = frozenset({"first_byte_delay_s", "chunk_delay_s"})
_FLAGS: Final = frozenset({"error_body", "close_before", "stall_before", "no_end", "fails"})
_CHOICES: Final[Mapping[str, tuple[str, ...]]] = {"compress": get_args(Compress), "usage": get_args(UsageFault)}


def with_settings(behaviour: Behaviour, settings: Iterable[tuple[str, str]]) -> Behaviour:
    """Return the behaviour with ``(field name, text)`` pairs applied. Raises ScriptError."""
    return replace(behaviour, **{name: _parsed(name, text.strip()) for name, text in settings})


def from_headers(behaviour: Behaviour, headers: Mapping[str, str]) -> Behaviour:
    """Return the behaviour with the request's ``X-Sandbox-*`` headers applied. Raises ScriptError."""
    settings = [
        (name[len(HEADER_PREFIX) :].lower().replace("-", "_"), value)
        for name, value in headers.items()
        if name.lower().startswith(HEADER_PREFIX)
    ]
    return with_settings(behaviour, settings) if settings else behaviour


def as_headers(behaviour: Behaviour) -> dict[str, str]:
    """Return the headers that ask for this behaviour."""
    return {
        f"X-Sandbox-{name.replace('_', '-').title()}": str(value).lower() if isinstance(value, bool) else str(value)
        for name, value in behaviour.changed().items()
    }


class Scripted:
    """A script as it is played: remembers how far a sequence has come."""

    def __init__(self, script: Script | None, default: Behaviour) -> None:
        self._default = default
        self._fixed: Behaviour | None = None
        self._function: Callable[[Asked], Behaviour | None] | None = None
        self._sequence: Iterator[Behaviour | None] = iter(())
        if isinstance(script, Behaviour):
            self._fixed = script
        elif callable(script):
            self._function = script
        elif script is not None:
            self._sequence = iter(script)

    def next(self, asked: Asked) -> Behaviour:
        """Return this call's behaviour. Raises ScriptError for a bad header."""
        chosen = self._function(asked) if self._function else self._fixed or next(self._sequence, None)
        return from_headers(chosen or self._default, asked.headers)


def _parsed(name: str, text: str) -> Any:
    if name in _CHOICES:
        if text not in _CHOICES[name]:
            raise ScriptError(f"{name} is one of {', '.join(_CHOICES[name])}, not {text!r}.")
        return text
    if name in _FLAGS:
        if text not in {"true", "false", "1", "0"}:
            raise ScriptError(f"{name} is true or false, not {text!r}.")
        return text in {"true", "1"}
    if name not in _BOUNDS:
        raise ScriptError(f"There is no behaviour {name!r}.")
    low, high = _BOUNDS[name]
    try:
        value = float(text) if name in _SECONDS else int(text)
    except ValueError:
        raise ScriptError(f"{name} is a number, not {text!r}.") from None
    if not low <= value <= high:
        raise ScriptError(f"{name} is between {low:g} and {high:g}, not {text}.")
    return value
