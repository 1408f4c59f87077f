"""
Say what a client of providers is.

Its one job: the request that leaves, the answer that comes, and the interface of the two clients (`lean` and
`aiohttp`, chosen by ``server.upstream_client``).
Rule: whether the provider may have been reached is part of every failure, because it decides who pays.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple, Protocol

from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from penia_proxy.config import TimeoutsConfig
from penia_proxy.errors import UpstreamError

CONNECTIONS_MAX = 4_096
"""To one origin: twice the 2,000 streams at once that one process is to hold."""

KEEPALIVE_SECONDS = 15
"""Shorter than any provider's own: what is sent as its server closes the connection may or may not be heard."""

HEAD_BYTES_MAX = 65_536
"""Of an answer, and of its trailers; eight times what servers accept of a request."""


class ReachedError(Exception):
    """The exchange failed after bytes may have reached the provider; ``error`` is what the caller is told."""

    def __init__(self, error: UpstreamError) -> None:
        super().__init__(str(error))
        self.error = error


class Outgoing(NamedTuple):
    """One request to a provider."""

    method: str
    origin: URL
    """Scheme, host and port, from the configuration."""
    target: str
    """Path and query, raw."""
    headers: CIMultiDict[str]
    body: bytes


class Answer(Protocol):
    """One answer, from the moment its head is there."""

    @property
    def status(self) -> int: ...

    @property
    def reason(self) -> str: ...

    @property
    def headers(self) -> CIMultiDictProxy[str]: ...

    @property
    def waits(self) -> bool:
        """Whether `chunk` may have to wait."""
        ...

    async def chunk(self) -> bytes:
        """
        Return what has come of the body and was not taken yet, waiting for the next bytes; nothing at its end.

        Raises ReachedError when the provider stalls or breaks off. May be cancelled and called again.
        """
        ...

    @property
    def broke(self) -> UpstreamError | None:
        """What `chunk` has raised."""
        ...

    def close(self) -> None:
        """Hang up, unless the answer was read to its end. Twice is once."""
        ...


class Client(Protocol):
    """Carries requests to providers; one for all of them."""

    async def send(self, request: Outgoing, limits: TimeoutsConfig, connected: Callable[[], None]) -> Answer:
        """
        Send a request and return the answer once its head is there.

        ``connected`` is called when there is a connection, before a byte is sent on it. Raises TimeoutError, or
        OSError or ValueError where the provider cannot be reached or what it says is no HTTP.
        """
        ...

    async def close(self) -> None:
        """Close every connection."""
        ...


def content_type_of(headers: Mapping[str, str]) -> str:
    """Return the media type in lower case, without parameters; nothing where it is not said."""
    return headers.get("Content-Type", "").partition(";")[0].strip().lower()
