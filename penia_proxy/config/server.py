"""
Say where Penia listens, and how much it takes.

Its one job: the ``server`` section: addresses, limits and waits. Rule: whatever a caller can make more of has a limit
here, with a default that holds the load that one process is made for.
"""

from ipaddress import ip_address
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, StringConstraints

from penia_proxy.config.section import SECONDS_MAX, Amount, Count, Seconds, Section


class ServerConfig(Section):
    """Where and how Penia listens."""

    host: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)] = "127.0.0.1"
    port: Annotated[Count, Field(ge=0, le=65535)] = 8113
    """0: any free port."""
    allow_open: bool = False
    """Without keys Penia listens on loopback only, unless this says otherwise: who reaches the port can spend."""

    max_connections: Annotated[Count, Field(ge=1, le=1_000_000)] = 10_000
    """At a time; a further one is told 503."""
    max_live_clients: Annotated[Count, Field(ge=1, le=1_000_000)] = 1_000
    """WebSockets at `/ws`; each is one of the connections, and takes about 21 kB."""
    max_calls: Annotated[Count, Field(ge=1, le=1_000_000)] = 4_096
    """Under way at a time; a further one is told 503."""
    max_calls_per_component: Annotated[Count, Field(ge=1, le=1_000_000)] | None = None
    """The same of one component, told 429; None: as many as there is room for."""

    header_timeout_s: Seconds = 15
    max_header_kb: Annotated[Amount, Field(ge=1, le=1024)] = 32
    """All of a request before its body."""
    max_header_line_kb: Annotated[Amount, Field(ge=1, le=1024)] = 8
    """The request line, and each header."""
    max_headers: Annotated[Count, Field(ge=8, le=1_000)] = 128
    body_timeout_s: Seconds = 30
    max_body_mb: Annotated[Amount, Field(gt=0, le=1024)] = 32
    max_bodies_mb: Annotated[Amount, Field(gt=0, le=1_048_576)] = 512
    """The bodies of all calls under way; a further one is told 503."""
    keepalive_s: Seconds = 75
    """How long a connection may wait for its next request."""

    drain_seconds: Annotated[Amount, Field(ge=0, le=SECONDS_MAX)] = 30
    upstream_client: Literal["lean", "aiohttp"] = "lean"
    """What calls providers: our own client, or aiohttp's, to compare with and to fall back to."""
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"],
        BeforeValidator(lambda value: value.lower() if isinstance(value, str) else value),
    ] = "info"

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach the port."""
        try:
            return ip_address(self.host.strip("[]")).is_loopback
        except ValueError:
            return self.host.lower() == "localhost"
