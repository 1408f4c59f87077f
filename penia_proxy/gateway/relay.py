"""
Carry a call to its provider and the answer back.

Its one job: one HTTP exchange with a provider, headers and bytes as they are.
Rules: hosts come from the configuration only. Hop-by-hop headers and our own never cross. Whether the provider was
reached is part of every failure, because it decides who pays.
"""

from collections.abc import Callable
from types import TracebackType

from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from penia_proxy.config import ProviderConfig
from penia_proxy.errors import UpstreamTimeout, UpstreamUnreachable
from penia_proxy.gateway.downstream import Fields
from penia_proxy.gateway.signing import brings_a_key, is_signature, signer_of
from penia_proxy.gateway.upstream import Answer, Client, Outgoing, ReachedError
from penia_proxy.watch.attempts import Attempts

HOP_BY_HOP = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-connection",
        "proxy-authenticate",
        "proxy-authorization",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
"""RFC 9110 §7.6.1, and what ``Connection`` names."""

NOT_TO_PROVIDER = HOP_BY_HOP | {
    "host",
    "content-length",
    "expect",
    "cookie",
    "forwarded",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-real-ip",
    "via",
    "x-http-method-override",
}
"""Ours to set, nobody's business, or what would make another request of the one that was metered."""

NOT_TO_CALLER = HOP_BY_HOP | {"content-length", "set-cookie", "alt-svc", "strict-transport-security"}
"""Statements about the provider's own origin, which ours is not."""


class Provider:
    """One configured provider, ready to be called."""

    def __init__(self, name: str, config: ProviderConfig, client: Client, attempts: Attempts) -> None:
        """Make it ready. Raises ConfigError where it is to be signed for, and what signs is not installed."""
        self.name = name
        self._signer = signer_of(name, config)
        self.config = config
        self.client = client
        self.attempts = attempts
        self._origin = URL(config.base_url).origin()
        self._prefix = URL(config.base_url).raw_path.rstrip("/")

    def headers_of(self, asked: CIMultiDictProxy[str]) -> CIMultiDict[str]:
        """Return the request headers that cross; where we sign, without the caller's signature."""
        headers = to_provider(asked)
        if self._signer is None or brings_a_key(headers):
            return headers
        return CIMultiDict((name, value) for name, value in headers.items() if not is_signature(name.lower()))

    async def ready(self, request: Outgoing) -> Outgoing:
        """Return the request as it is sent: signed, where we sign. Raises UpstreamUnreachable without credentials."""
        if self._signer is None or brings_a_key(request.headers):
            return request
        return request._replace(headers=await self._signer.signed(request))

    def url(self, path: str, query: str) -> URL:
        """Return the provider's address of a path and query, both raw."""
        return self._origin.join(URL.build(path=self._prefix + path, query_string=query, encoded=True))

    def exchange(
        self,
        method: str,
        path: str,
        query: str,
        headers: CIMultiDict[str],
        body: bytes,
        *,
        connected: Callable[[], None] = lambda: None,
    ) -> "Exchange":
        """
        Return the exchange that this request begins.

        ``connected`` is called when there is a connection, before a byte is sent on it.
        """
        target = f"{self._prefix}{path}?{query}" if query else self._prefix + path
        return Exchange(self, Outgoing(method, self._origin, target, headers, body), connected)


class Exchange:
    """One request and its answer."""

    def __init__(self, provider: Provider, request: Outgoing, connected: Callable[[], None]) -> None:
        self._provider = provider
        self._request = request
        self._told = connected
        self._connected = False
        self._answer: Answer

    async def __aenter__(self) -> Answer:
        """
        Send the request and return the answer once its head is there.

        Raises UpstreamUnreachable or UpstreamTimeout where the provider was not reached, ReachedError where it may
        have been.
        """
        name, attempts = self._provider.name, self._provider.attempts
        request = await self._provider.ready(self._request)
        try:
            self._answer = await self._provider.client.send(
                request, self._provider.config.timeout_seconds, self._connect
            )
        except TimeoutError as error:
            attempts.failed("timeout")
            if self._connected:
                raise ReachedError(UpstreamTimeout(f"'{name}' did not answer in time.")) from error
            raise UpstreamTimeout(f"'{name}' did not accept a connection in time.") from error
        except (OSError, ValueError) as error:
            attempts.failed("broken" if self._connected else "unreachable")
            if self._connected:
                raise ReachedError(UpstreamUnreachable(f"'{name}' hung up before it answered.")) from error
            raise UpstreamUnreachable(f"'{name}' cannot be reached.") from error
        return self._answer

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Hang up unless the answer was read to its end: that is what stops a provider's bill."""
        answer, attempts = self._answer, self._provider.attempts
        answer.close()
        if answer.broke is None:
            attempts.answered(answer.status)
        else:
            attempts.failed("timeout" if isinstance(answer.broke, UpstreamTimeout) else "broken")

    def _connect(self) -> None:
        self._connected = True
        self._told()


def to_provider(headers: CIMultiDictProxy[str]) -> CIMultiDict[str]:
    """Return the request headers that cross."""
    return CIMultiDict(_crossing(headers, NOT_TO_PROVIDER))


def to_caller(headers: CIMultiDictProxy[str]) -> Fields:
    """Return the answer headers that cross."""
    return _crossing(headers, NOT_TO_CALLER)


def _crossing(headers: CIMultiDictProxy[str], dropped: frozenset[str]) -> Fields:
    if named := headers.get("Connection"):
        dropped |= {token.strip().lower() for token in named.split(",")}
    return [
        (name, value)
        for name, value in headers.items()
        if (lower := name.lower()) not in dropped and lower[:8] != "x-penia-"
    ]
