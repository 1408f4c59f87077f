"""
Know a configured provider.

Its one job: what a call to one provider goes by: how it is reached, the API it speaks, the paths it has.
"""

from dataclasses import dataclass

from penia_proxy.gateway.relay import Provider
from penia_proxy.gateway.routes import RouteTable
from penia_proxy.wire.call import Dialect


@dataclass(frozen=True, slots=True)
class Upstream:
    """A provider with its dialect and routes."""

    provider: Provider
    dialect: Dialect
    routes: RouteTable

    @property
    def catalogue(self) -> str:
        """The provider's name in the price book."""
        return self.provider.config.prices or self.provider.name

    @property
    def drains(self) -> bool:
        """Whether an answer is read on after its caller left."""
        return (self.provider.config.on_disconnect or self.dialect.on_disconnect) == "drain"
