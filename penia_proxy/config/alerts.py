"""
Say who is told of alerts, and of which.

Its one job: the ``alerts`` section of the configuration, and what of it the API may change while the process runs.
Rules: a mail server's address can hold a password, so it is in the configuration only and never shown; a webhook's
secret can be set and never read.
"""

import re
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr, StringConstraints, field_validator
from pydantic_core import PydanticCustomError

from penia_proxy.config.section import Amount, Count, Section

CHANNELS_MAX = 20

_ADDRESS = re.compile(r"[^@\s<>,;\"\\]{1,64}@[^@\s<>,;\"\\]{1,255}")


def _address(text: str) -> str:
    if not _ADDRESS.fullmatch(text) or not text.isprintable():
        raise PydanticCustomError("mail_address", "must be an e-mail address such as ops@example.com")
    return text


def _web(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname or not text.isprintable() or " " in text:
        raise PydanticCustomError("webhook_url", "must be an http:// or https:// address")
    return text


Address = Annotated[str, StringConstraints(max_length=320), AfterValidator(_address)]
Percent = Annotated[Amount, Field(ge=0.1, le=1000)]
Digest = Literal["immediate", "daily", "weekly"]


class WebhookConfig(Section):
    """Somebody who is told by HTTP."""

    name: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]{1,64}$")] = "webhook"
    url: Annotated[str, StringConstraints(max_length=2000), AfterValidator(_web)]
    format: Literal["json", "slack"] = "json"
    secret: SecretStr | None = None
    """Signs what is sent: see docs/alerts.md."""


class EmailConfig(Section):
    """Who is told by mail, through which server."""

    smtp: SecretStr
    sender: Address = Field(alias="from")
    to: Annotated[tuple[Address, ...], Field(min_length=1, max_length=50)]
    digest: Digest = "immediate"
    digest_hour: Annotated[Count, Field(ge=0, le=23)] = 8
    """Of the day, UTC, at which a digest goes; a weekly one on Mondays."""

    @field_validator("smtp")
    @classmethod
    def _smtp_is_an_address(cls, value: SecretStr) -> SecretStr:
        parts = urlsplit(value.get_secret_value())
        try:
            known = parts.scheme in ("smtp", "smtps") and bool(parts.hostname) and parts.port != 0
        except ValueError:
            known = False
        if not known:
            # The value is not quoted: it can hold a password.
            raise PydanticCustomError("smtp_url", "must be smtp://[user:password@]host[:port], or smtps://")
        return value


class AlertsConfig(Section):
    """Which alerts there are, and who is told."""

    thresholds: Annotated[tuple[Percent, ...], Field(max_length=20)] = (50.0, 80.0, 90.0, 100.0)
    """Percent of a limit; those that are closer than a hundredth would be one to whoever is told."""
    forecast: bool = True
    """Tell of limits that will be reached before their windows end."""
    anomaly: bool = True
    """Tell of components whose hour costs far more than theirs do."""
    unpriced: bool = True
    """Tell of models without a price."""
    least_severity: Literal["info", "warning", "critical"] = "info"
    """What is less is kept and shown, and nobody is told."""
    log: bool = True
    email: EmailConfig | None = None
    webhooks: Annotated[tuple[WebhookConfig, ...], Field(max_length=CHANNELS_MAX)] = ()

    @field_validator("thresholds")
    @classmethod
    def _thresholds_differ(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if len({round(percent, 2) for percent in value}) != len(value):
            raise PydanticCustomError("thresholds", "must be numbers of which no two are equal to two decimals")
        return value

    @field_validator("webhooks")
    @classmethod
    def _names_differ(cls, value: tuple[WebhookConfig, ...]) -> tuple[WebhookConfig, ...]:
        names = [webhook.name for webhook in value]
        if len(set(names)) != len(names):
            raise PydanticCustomError("webhook_names", "webhooks need a `name` each, no two alike")
        return value
