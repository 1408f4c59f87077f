"""
Tell people, by mail or by HTTP.

Its one job: one message to one channel, with an id by which whoever is told twice can know it.
Rules: a failure says its kind and never an address, which can hold a key. Nothing is followed that redirects. What is
signed is the instant and the body: HMAC-SHA256 over ``{timestamp}.{body}``, in ``X-Penia-Signature: t=…,v1=…``.
"""

import hashlib
import hmac
import ssl
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from email.utils import format_datetime
from typing import Protocol
from urllib.parse import unquote, urlsplit

import aiohttp
import aiosmtplib
import orjson

from penia_proxy.budget.alert import Alert
from penia_proxy.clock import Clock, iso
from penia_proxy.config import EmailConfig, WebhookConfig
from penia_proxy.watch.shapes import alert_json

SEND_S = 10.0
"""One attempt may take so long."""

SMTP_PORTS = {"smtp": 25, "smtps": 465}


class UndeliveredError(Exception):
    """An attempt failed; ``str`` is its kind."""


class Channel(Protocol):
    """Somebody who is told."""

    @property
    def gathers(self) -> bool:
        """Whether what is due goes in one message."""
        ...

    def due_at(self, now: datetime) -> datetime:
        """Return when an alert of this instant is to be sent."""
        ...

    async def send(self, message_id: str, alerts: Sequence[Alert]) -> None:
        """Deliver a message. Raises UndeliveredError."""
        ...


class Webhook:
    """A POST to an address."""

    gathers = False

    def __init__(self, config: WebhookConfig, session: aiohttp.ClientSession, clock: Clock) -> None:
        self._config = config
        self._session = session
        self._clock = clock

    def due_at(self, now: datetime) -> datetime:
        return now

    async def send(self, message_id: str, alerts: Sequence[Alert]) -> None:
        body = self._body(message_id, alerts[0])
        headers = {"Content-Type": "application/json", "User-Agent": "Penia", "X-Penia-Notification-Id": message_id}
        if self._config.secret is not None:
            headers["X-Penia-Signature"] = signature(
                self._config.secret.get_secret_value(), int(self._clock.now().timestamp()), body
            )
        try:
            async with self._session.post(
                self._config.url,
                data=body,
                headers=headers,
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=SEND_S),
            ) as answer:
                if not 200 <= answer.status < 300:
                    raise UndeliveredError(f"HTTP {answer.status}")
        except TimeoutError:
            raise UndeliveredError("no answer in time") from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise UndeliveredError(type(error).__name__) from None

    def _body(self, message_id: str, alert: Alert) -> bytes:
        if self._config.format == "slack":
            mark = {"info": "ℹ️", "warning": "⚠️", "critical": "🚨"}[alert.severity]  # noqa: RUF001 - an emoji
            return orjson.dumps({"text": f"{mark} {_slack(alert.message)}"})
        return orjson.dumps({"id": message_id, "type": "alert", "alert": alert_json(alert)})


def signature(secret: str, timestamp: int, body: bytes) -> str:
    """Return the header that proves who sent a body, and when (Unix seconds)."""
    signed = hmac.new(secret.encode(), b"%d." % timestamp + body, hashlib.sha256)
    return f"t={timestamp},v1={signed.hexdigest()}"


def _slack(text: str) -> str:
    """Escape what Slack would read as markup (api.slack.com/reference/surfaces/formatting#escaping)."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


class Email:
    """A message to a mail server."""

    def __init__(self, config: EmailConfig, clock: Clock) -> None:
        self._config = config
        self._clock = clock

    @property
    def gathers(self) -> bool:
        return self._config.digest != "immediate"

    def due_at(self, now: datetime) -> datetime:
        if self._config.digest == "immediate":
            return now
        at = now.astimezone(UTC).replace(hour=self._config.digest_hour, minute=0, second=0, microsecond=0)
        while at <= now or (self._config.digest == "weekly" and at.weekday() != 0):
            at += timedelta(days=1)
        return at

    async def send(self, message_id: str, alerts: Sequence[Alert]) -> None:
        server = urlsplit(self._config.smtp.get_secret_value())
        try:
            await aiosmtplib.send(
                self._message(message_id, alerts),
                hostname=server.hostname,
                port=server.port or SMTP_PORTS[server.scheme],
                username=unquote(server.username) if server.username else None,
                password=unquote(server.password) if server.password else None,
                use_tls=server.scheme == "smtps",
                # Encrypted where the server can, and always where a password is sent.
                start_tls=None if server.scheme == "smtps" or not server.username else True,
                timeout=SEND_S,
            )
        except aiosmtplib.SMTPResponseException as error:
            raise UndeliveredError(f"SMTP {error.code}") from None
        except (aiosmtplib.SMTPException, OSError, ssl.SSLError, ValueError) as error:
            raise UndeliveredError(type(error).__name__) from None

    def _message(self, message_id: str, alerts: Sequence[Alert]) -> EmailMessage:
        message = EmailMessage()
        message["From"] = self._config.sender
        message["To"] = ", ".join(self._config.to)
        message["Subject"] = f"Penia: {alerts[0].title}" if len(alerts) == 1 else f"Penia: {len(alerts)} alerts"
        message["Date"] = format_datetime(self._clock.now())
        message["Message-ID"] = f"<{message_id}@penia>"
        message["Auto-Submitted"] = "auto-generated"  # RFC 3834: nobody's absence is to answer it
        message.set_content("\n\n".join(_paragraph(alert) for alert in alerts) + "\n")
        return message


def _paragraph(alert: Alert) -> str:
    return f"{alert.severity.upper()}  {iso(alert.created_at)}\n{alert.message}"
