"""
Settings of alerts that people change while the process runs.

Its one job: what the configuration says, with what was changed over the API in its place.
Rules: a change is kept in the ledger and outlives the process. What of it a newer version refuses counts as unchanged
(of webhooks the one that is wrong), is named, and stays stored until it is changed. Secrets go in and never out.
"""

import logging
from collections.abc import Mapping
from typing import Any, NamedTuple

from pydantic import SecretStr, ValidationError

from penia_proxy.config import AlertsConfig
from penia_proxy.ledger.ledger import Ledger

log = logging.getLogger(__name__)

NAME = "alerts"


class InForce(NamedTuple):
    """What counts."""

    settings: AlertsConfig
    changed: dict[str, Any]
    """What of it was changed."""
    refused: list[dict[str, str]]
    """What else was changed, and why it cannot be: field and message."""


async def alert_settings(ledger: Ledger, config: AlertsConfig) -> AlertsConfig:
    """Return the settings in force; what is refused is logged."""
    found = in_force(config, await ledger.alerts.setting(NAME) or {})
    for one in found.refused:
        log.warning("%s of alerts, as changed over the API, does not count any more: %s", one["field"], one["message"])
    return found.settings


def in_force(config: AlertsConfig, changed: Mapping[str, Any]) -> InForce:
    """Return the configuration with what of the changes can be."""
    kept, refused = dict(changed), list[dict[str, str]]()
    while True:
        try:
            return InForce(with_changes(config, kept), kept, refused)
        except ValidationError as error:
            refused += _taken_out(kept, error)


def _taken_out(kept: dict[str, Any], error: ValidationError) -> list[dict[str, str]]:
    """Take what is wrong out of changes, and return its names: a webhook alone, and else the member that it is in."""
    wrong: dict[str, str] = {}
    hooks = set()
    for entry in error.errors(include_url=False, include_context=False, include_input=False):
        name, *inner = entry["loc"]
        if name == "webhooks" and inner:
            hooks.add(inner[0])
            its = kept[name][inner[0]]
            name = f"{name}.{its.get('name', inner[0]) if isinstance(its, Mapping) else inner[0]}"
        elif name not in wrong:
            del kept[str(name)]
        wrong.setdefault(str(name), entry["msg"])
    if "webhooks" in kept:
        kept["webhooks"] = [one for at, one in enumerate(kept["webhooks"]) if at not in hooks]
    return [{"field": name, "message": message} for name, message in wrong.items()]


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
