"""
Settings of alerts that people change while the process runs.

Its one job: what the configuration says, with what was changed over the API in its place.
Rules: a change is kept in the ledger and outlives the process. What cannot be read any more (an older version's) is
logged and counts as unchanged. Secrets go in and never out.
"""

import logging
from collections.abc import Mapping
from typing import Any

from pydantic import SecretStr, ValidationError

from penia_proxy.config import AlertsConfig
from penia_proxy.ledger.ledger import Ledger

log = logging.getLogger(__name__)

NAME = "alerts"


async def alert_settings(ledger: Ledger, config: AlertsConfig) -> AlertsConfig:
    """Return the settings in force."""
    changed = await ledger.alerts.setting(NAME)
    if not changed:
        return config
    try:
        return with_changes(config, changed)
    except ValidationError:
        log.warning("the settings of alerts that were changed over the API cannot be read; those of config.yaml count")
        return config


def with_changes(config: AlertsConfig, changed: Mapping[str, Any]) -> AlertsConfig:
    """Return the configuration with other members. Raises ValidationError."""
    return AlertsConfig.model_validate({**_plain(config), **_merged(config, changed)})


def _merged(config: AlertsConfig, changed: Mapping[str, Any]) -> dict[str, Any]:
    """Return the changes; of mail, what they do not name is the configuration's, its server always."""
    merged = dict(changed)
    if isinstance(mail := merged.get("email"), Mapping):
        merged["email"] = {**(_plain(config)["email"] or {}), **mail}
    return merged


def _plain(config: AlertsConfig) -> dict[str, Any]:
    """Return the configuration as it is written, secrets too."""
    return {name: _revealed(value) for name, value in config.model_dump(by_alias=True).items()}


def _revealed(value: Any) -> Any:
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    if isinstance(value, dict):
        return {name: _revealed(member) for name, member in value.items()}
    if isinstance(value, list | tuple):
        return [_revealed(member) for member in value]
    return value
