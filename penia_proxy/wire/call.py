"""
What a dialect says about a request and about an answer.

Its one job: the values between the wire and the rules of money, and the interface every dialect implements.
Rules: a Call never outlives its request and is never logged; a Reading has counts only.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Literal, Protocol

from penia_proxy.budget.estimate import Size
from penia_proxy.budget.usage import Usage
from penia_proxy.errors import PeniaError
from penia_proxy.values import quick
from penia_proxy.wire.reported import Passed

if TYPE_CHECKING:
    from penia_proxy.wire.session import Session


@quick
@dataclass(frozen=True, slots=True)
class Request:
    """What a dialect is shown of a metered request."""

    operation: str
    """The route's."""
    body: bytes
    """Decoded, where it came compressed."""
    path_values: tuple[str, ...] = ()
    """What stood in the route's ``{}``, percent-decoded: the model, where a path names it."""
    query: str = ""
    content_type: str = "application/json"
    """With its parameters: a multipart boundary."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Case-insensitive; for what a provider takes from headers. They hold the caller's credentials."""
    noted: "Callable[[str], Noted | None]" = lambda _: None
    """What earlier answers of this provider said of something the request names."""


@quick
@dataclass(frozen=True, slots=True)
class AnswerHead:
    """What a dialect is shown of a successful answer before its body."""

    content_type: str
    """Lower case, without parameters; empty where the provider did not say."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Case-insensitive."""


@quick
@dataclass(frozen=True, slots=True)
class Call:
    """One request as its dialect understands it."""

    operation: str
    """The route's: ``chat``, ``embeddings``, ``messages``."""
    model: str
    stream: bool
    """Whether an answer in pieces was asked for."""
    size: Size
    body: bytes
    """What is sent upstream: the caller's bytes, or those with the fields in ``changed`` set."""
    text: Callable[[], str]
    """Return the request's text, for counting; called only near a limit or when an answer lacks its usage."""
    changed: tuple[str, ...] = ()
    """Request fields that we set, for ``X-Penia-Changed``."""
    strip_usage: bool = False
    """Take the one usage chunk out again that the caller had not asked for."""
    cuttable: bool = False
    """Whether the answer comes as a stream that can be followed as it comes, and ended early in its own shape."""
    may_be_cut: bool = False
    """Whether a budget may end it early: then whole events are passed on."""
    has_name: bool = False
    """Whether its answer has a name under which other answers state its bill: a crash must not forget whose it was."""
    capped: Callable[[int], bytes] | None = None
    """Return the body with at most so many tokens of output for each choice; None where a body cannot say that."""
    region: str | None = None
    """Where the request's path asks to be processed (Vertex's location); None: it does not say."""

    @property
    def by_events(self) -> bool:
        """Whether what is passed on are whole events, decoded: one is to be taken out, or none may be left open."""
        return self.strip_usage or self.may_be_cut


@dataclass(frozen=True, slots=True)
class Noted:
    """What an answer said of something that later requests name; kept in memory, for as long as there is room."""

    model: str = ""
    """An assistant's, or that of a batch file's requests."""
    size: Size | None = None
    """Of all requests in a batch file."""
    work: str = ""
    """The work whose results a file has."""


WORK_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,255}")
"""A provider's name of work that is believed: one segment of a path, and no other."""


@dataclass(frozen=True, slots=True)
class Work:
    """Something that a provider does under a name of its own, and whose bill more than one answer can state."""

    name: str
    waits_as: str = ""
    """The name under which its hold waits, where that is another: a batch's, for the file with its results."""
    due_s: int = 0
    """Not 0: it has been accepted, and a later answer states its bill, in so many seconds at most."""
    poll: str = ""
    """The path, without ``base_url``, of that answer, where asking costs nothing."""


@quick
@dataclass(frozen=True, slots=True)
class Reading:
    """What passed by: the last word of a meter."""

    parts: tuple[tuple[str | None, Usage], ...] = ()
    """
    Usage per answering model (None: the model asked for); more than one where one answer bills several. Empty: none
    was reported.
    """
    complete: bool = False
    """The usage is final: nothing after it can change the bill."""
    finished: bool = False
    """The answer's own end was seen."""
    failed: bool = False
    """The provider sent an error where an answer was due."""
    passed_text: str = ""
    passed_bytes: int = 0
    model: str | None = None
    cost_usd: Decimal | None = None
    """What the provider itself says the answer cost; believed before our own arithmetic."""
    work: Work | None = None
    """Whose bill this is, where another answer can state it again, or for the first time."""
    noted: Mapping[str, Noted] = field(default_factory=dict)
    """By the name that later requests will use."""

    @property
    def wrote(self) -> bool:
        """Whether any output passed."""
        return self.passed_bytes > 0


class Running(Protocol):
    """An answer that is followed as it comes."""

    passed: Passed


class Growing(Running, Protocol):
    """One that can be ended early as well."""

    def closing(self, usage: Usage) -> bytes:
        """Return the end of an answer that is cut off here, with what it has used, as the provider would say it."""
        ...


class Meter(Protocol):
    """Reads a copy of an answer as it passes. Never raises on a provider's bytes; memory is bounded."""

    streams: bool
    """Whether the caller wants the answer as it comes; else it is kept whole, so that its cost can be a header."""

    @property
    def growing(self) -> Growing | None:
        """The answer, where it can be followed and ended early."""
        ...

    def feed(self, data: bytes) -> bytes:
        """Take the next decoded bytes; return those to pass on (all of them, but for a chunk to take out)."""
        ...

    def end(self) -> bytes:
        """Return bytes still held back at the end of the answer."""
        ...

    def reading(self) -> Reading:
        """Return what has been read so far; may be asked at any time, also of a cut answer."""
        ...


Reads = Callable[[Request, AnswerHead], Meter]
"""How the answer of a request that costs nothing itself is read; raises nothing."""


Opens = Callable[[Request], "Session"]
"""How the frames of a WebSocket are read. Raises InvalidRequest for what cannot be metered."""


@dataclass(frozen=True, slots=True)
class Route:
    """
    One (method, path) of a provider.

    ``{}`` stands for one path segment, whatever it says; ``{arn}`` for one that may also be an AWS resource name, its
    slashes encoded.
    """

    method: str
    path: str
    operation: str | None
    """None: costs nothing, passes unmetered."""
    reads: "Reads | None" = None
    """Set on a route that costs nothing itself, and whose answer can say what something else has cost, or will."""
    opens: "Opens | None" = None
    """Set where the path is a WebSocket: it is met by an upgrade, and by nothing else."""


@dataclass(frozen=True, slots=True)
class RefusalShape:
    """A refusal in a provider's own form."""

    body: Mapping[str, object]
    headers: Mapping[str, str] = field(default_factory=dict)


class Dialect(Protocol):
    """The API shape a provider speaks."""

    name: str
    routes: tuple[Route, ...]
    on_disconnect: Literal["cancel", "drain"]

    def call(self, request: Request) -> Call:
        """Read a metered request. Raises InvalidRequest; what it says quotes no content."""
        ...

    def meter(self, call: Call, head: AnswerHead) -> Meter:
        """Return a meter for a successful answer."""
        ...

    def refusal(self, error: PeniaError, penia: Mapping[str, object], request_id: str) -> RefusalShape:
        """Return the error in the provider's shape, with ``penia`` inside."""
        ...
