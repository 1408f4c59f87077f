"""
Name work that providers do.

Its one job: the key of a name that a provider gives to work, files or answers, the same under whichever of our names
that provider was called.
Rules: two configured providers are one if they have the same address and speak the same API: whose account asks makes
no other name. The key says the first of our names that the address had in this process; under the others there are keys
of before, which are looked for too.
"""

from collections.abc import Mapping

from yarl import URL

from penia_proxy.gateway.providers import Upstream

_Address = tuple[str, str, str | None, int | None, str]


class Naming:
    """Keys of names, of one gateway."""

    def __init__(self) -> None:
        self._first: dict[_Address, str] = {}
        """Our first name of each address."""
        self._others: dict[str, list[str]] = {}
        """Our other names of what has a first one."""
        self._firsts: dict[str, str] = {}

    def take(self, upstreams: Mapping[str, Upstream]) -> None:
        """Take a configuration; what was named goes on to be named so."""
        self._others, self._firsts = {}, {}
        for name, upstream in upstreams.items():
            first = self._firsts[name] = self._first.setdefault(_address(upstream), name)
            if first != name:
                self._others.setdefault(first, []).append(name)

    def key(self, provider: str, name: str) -> str:
        """Return the key of a name."""
        return f"{self._firsts.get(provider, provider)}:{name}"

    def keys(self, key: str) -> list[str]:
        """Return a key, and those that a ledger of before may have in its place."""
        first, _, name = key.partition(":")
        return [key, *(f"{other}:{name}" for other in self._others.get(first, ()))]


def _address(upstream: Upstream) -> _Address:
    config = upstream.provider.config
    url = URL(config.base_url)
    return config.format, url.scheme, url.host, url.port, url.raw_path.rstrip("/")
