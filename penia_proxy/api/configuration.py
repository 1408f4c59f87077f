"""
Read the configuration again.

Its one job: `POST /api/v1/config/reload`, which does what SIGHUP does, and says how it went.
Rule: what was read is taken whole or not at all.
"""

from typing import Annotated, Any

from pydantic import Field

from penia_proxy.api.endpoint import Call, Endpoint
from penia_proxy.api.fields import Nothing, Shown
from penia_proxy.clock import iso
from penia_proxy.errors import ConfigError, NeedsRestart


class Reloaded(Shown):
    """What is different now."""

    changed: Annotated[list[str], Field(description="Such as `providers.openai` or `server.max_body_mb`.")]
    loaded_at: str


async def reload(call: Call[Nothing, Nothing]) -> dict[str, Any]:
    """Read config.yaml, the environment and the prices again."""
    changed = await call.services.reload()
    return {"changed": list(changed), "loaded_at": iso(call.services.config_loaded_at)}


ENDPOINTS = (
    Endpoint(
        method="POST",
        path="/api/v1/config/reload",
        handler=reload,
        tag="configuration",
        response=Reloaded,
        errors=(ConfigError, NeedsRestart),
    ),
)
