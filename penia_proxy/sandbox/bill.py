"""
Remember what was asked and what it would cost: the provider's own side of the books.

Rules: counts are disjoint (cached input is not in ``input_tokens``, reasoning not in ``output_tokens``); headers are
kept by name only; no prompt, answer or key is kept. Bounded: the oldest call is forgotten first.
It must not know how an answer is made or sent.
"""

import os
from collections import deque
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

import orjson

CALLS_MAX = 100_000
"""Calls remembered unless the constructor says otherwise."""

TEXT_MAX = 256
"""Characters kept of anything the caller chose: a model's name, a user, a request id."""

CORRELATING = (
    "x-client-request-id",
    "x-request-id",
    "request-id",
    "idempotency-key",
    "x-correlation-id",
    "traceparent",
)
"""Headers whose values are kept, so that a test can tell which of its calls arrived."""

Ending = Literal["running", "whole", "cut", "client_gone"]
"""``cut``: a scripted fault ended the answer; ``client_gone``: the other side hung up first."""


@dataclass(frozen=True, slots=True)
class Tokens:
    """What an answer reports, as disjoint counts."""

    input: int = 0
    cache_read: int = 0
    cache_write_5m: int = 0
    """All cache writes of OpenAI, too."""
    cache_write_1h: int = 0
    output: int = 0
    """Visible output: text and tool calls."""
    reasoning: int = 0
    searches: int = 0
    """Searches, which are billed by the use: of the web (OpenAI), or among documents (Cohere)."""

    @property
    def produced(self) -> int:
        """All that is billed as output."""
        return self.output + self.reasoning


@dataclass(frozen=True, slots=True, kw_only=True)
class Charge:
    """What one model made beside an answer, and is billed once, however often it is read."""

    key: str
    """What the provider calls it: the id of a response or a run; of a batch, its id and its request's own."""
    served_model: str | None
    tokens: Tokens
    service_tier: str | None = None
    batch: bool = False
    """Whether it has the price of batches."""


@dataclass(slots=True, kw_only=True)
class Call:
    """One request that arrived, and how its answer ended."""

    number: int
    """1 for the first request of this sandbox."""
    provider: str
    method: str
    path: str
    body_bytes: int
    header_names: tuple[str, ...]
    """Lower case, in order of arrival."""
    correlation: dict[str, str]
    """The values of :data:`CORRELATING` headers that were there."""
    model: str | None = None
    """As asked for."""
    served_model: str | None = None
    """As answered; it decides the price."""
    user: str | None = None
    """OpenAI ``user``, Anthropic ``metadata.user_id``: for tests to correlate."""
    streamed: bool = False
    request_id: str | None = None
    """In the answer's header."""
    service_tier: str | None = None
    status: int | None = None
    """None until the answer begins, and for ever if the connection was closed before it."""
    input_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_5m_tokens: int = 0
    cache_write_1h_tokens: int = 0
    output_tokens: int = 0
    """Of the whole answer, even when it was cut short."""
    reasoning_tokens: int = 0
    searches: int = 0
    produced_tokens: int = 0
    """Output and reasoning made by the time the answer ended: the bill of a call that was cut short."""
    later: list[Charge] = field(default_factory=list)
    """What the work that it started is billed, when that is not in its answer; empty again once it was cancelled."""
    sent_bytes: int = 0
    """Of the answer's body, as on the wire (compressed)."""
    usage_sent: str = "normal"
    """The behaviour under which the usage travelled; anything but ``normal`` was not what is booked here."""
    ending: Ending = "running"
    behaviour: dict[str, object] = field(default_factory=dict)
    """What was scripted for this call, less the defaults."""

    @property
    def finished(self) -> bool:
        """Whether the whole answer was handed to the network."""
        return self.ending == "whole"

    def report(self, tokens: Tokens) -> None:
        """Book what the answer will report."""
        self.input_tokens = tokens.input
        self.cache_read_tokens = tokens.cache_read
        self.cache_write_5m_tokens = tokens.cache_write_5m
        self.cache_write_1h_tokens = tokens.cache_write_1h
        self.output_tokens = tokens.output
        self.reasoning_tokens = tokens.reasoning
        self.searches = tokens.searches


class Bill:
    """All calls, oldest first, and, when given a path, an append-only log of them."""

    def __init__(self, *, log: Path | None = None, calls_max: int = CALLS_MAX) -> None:
        self._calls: deque[Call] = deque(maxlen=calls_max)
        self._count = 0
        self._log: int | None = None
        if log is not None:
            self._log = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    @property
    def calls(self) -> list[Call]:
        """A copy of the list; the calls in it are live until they end."""
        return list(self._calls)

    def start(self, *, provider: str, method: str, path: str, body_bytes: int, headers: Mapping[str, str]) -> Call:
        """Open a call. Its line in the log follows with :meth:`begun`, when the model is known."""
        self._count += 1
        lowered = {name.lower(): value for name, value in headers.items()}
        call = Call(
            number=self._count,
            provider=provider,
            method=method,
            path=path[:TEXT_MAX],
            body_bytes=body_bytes,
            header_names=tuple(lowered),
            correlation={name: lowered[name][:TEXT_MAX] for name in CORRELATING if name in lowered},
        )
        self._calls.append(call)
        return call

    def begun(self, call: Call) -> None:
        """Write the call's first line, before a byte of the answer leaves: the log knows of every answer."""
        self._write("start", call)

    def ended(self, call: Call, ending: Ending) -> None:
        """Close the call and write its last line. A call ends once; later endings are ignored."""
        if call.ending == "running":
            call.ending = ending
            self._write("end", call)

    def close(self) -> None:
        """Close the log."""
        if self._log is not None:
            os.close(self._log)
            self._log = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _write(self, event: str, call: Call) -> None:
        """Append one line with one write, so that a kill leaves whole lines only."""
        if self._log is not None:
            os.write(self._log, orjson.dumps({"event": event, **asdict(call), "finished": call.finished}) + b"\n")


def kept(value: object) -> str | None:
    """Return a caller's text as it may be kept: cut, or None if it is none."""
    return value[:TEXT_MAX] if isinstance(value, str) else None
