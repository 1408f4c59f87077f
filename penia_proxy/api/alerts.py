"""
Show alerts, and who is told of them.

Its one job: `/api/v1/alerts` and `/api/v1/notifications`: list, show, dismiss, acknowledge, settings, a trial, what was
sent and what was not.
Rules: a mail server and a webhook's secret are never shown, and of a webhook's address its origin only, since the rest
is a key with some. What is sent back as it was shown stays as it is.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, ValidationError

from penia_proxy.api.advice import Warned
from penia_proxy.api.endpoint import Call, Endpoint, violation
from penia_proxy.api.fields import Filter, Nothing, Page, Paged, Sent, Shown
from penia_proxy.api.services import Services
from penia_proxy.budget.alert import Alert, AlertType, Severity
from penia_proxy.clock import iso
from penia_proxy.config import AlertsConfig
from penia_proxy.errors import Conflict, NotFound, StoreUnavailable
from penia_proxy.ids import new_id
from penia_proxy.ledger.alerts import AlertFilter, Notification, NotificationState
from penia_proxy.watch.settings import NAME, InForce, in_force, with_changes
from penia_proxy.watch.shapes import alert_json

HIDDEN = "/…"
"""What stands for the rest of a webhook's address."""


class AlertShown(Shown):
    """Something that somebody should know."""

    alert_id: str
    budget_id: str | None
    alert_type: AlertType
    threshold_percent: float | None
    period: str | None
    severity: Severity
    title: str
    message: str
    is_dismissed: bool
    acknowledged: bool
    created_at: datetime
    resolved_at: Annotated[datetime | None, Field(description="Since when its reason is gone.")]
    window_start: datetime | None
    window_end: datetime | None
    details: dict[str, Any]


class AlertsQuery(Paged):
    budget_id: Filter | None = None
    alert_type: AlertType | None = None
    severity: Severity | None = None
    acknowledged: bool | None = None
    is_dismissed: bool | None = None
    active: Annotated[bool | None, Field(description="true: neither resolved nor of a window that has ended.")] = None


class NotificationShown(Shown):
    """What one channel is told of one alert."""

    notification_id: str
    alert_id: str
    channel: str
    state: NotificationState
    attempts: int
    due_at: datetime
    last_error: str | None
    created_at: datetime
    sent_at: datetime | None


class NotificationsQuery(Paged):
    alert_id: Filter | None = None
    state: NotificationState | None = None


class WebhookShown(Shown):
    """Somebody who is told by HTTP."""

    name: str
    url: str
    format: Literal["json", "slack"]
    secret_set: bool


class EmailShown(Shown):
    """Who is told by mail."""

    sender: Annotated[str, Field(alias="from")]
    to: list[str]
    digest: Literal["immediate", "daily", "weekly"]
    digest_hour: int


class SettingsShown(Shown):
    """Which alerts there are, and who is told."""

    thresholds: list[float]
    forecast: bool
    anomaly: bool
    unpriced: bool
    least_severity: Severity
    log: bool
    email: EmailShown | None
    webhooks: list[WebhookShown]
    warnings: Annotated[list[Warned], Field(description="What was changed by an earlier version, and is refused now.")]


class WebhookBody(Sent):
    """A webhook. `url` as it was shown, or no `secret`: as it was before under this name."""

    name: str = "webhook"
    url: str
    format: Literal["json", "slack"] = "json"
    secret: str | None = None
    secret_set: Annotated[bool | None, Field(description="As it was shown; it changes nothing.")] = None


class EmailBody(Sent):
    """Who is told by mail, through the server that config.yaml names."""

    sender: Annotated[str | None, Field(alias="from")] = None
    to: list[str] | None = None
    digest: Literal["immediate", "daily", "weekly"] | None = None
    digest_hour: int | None = None


class SettingsBody(Sent):
    """What to change; null in `email` ends mail."""

    thresholds: list[float] | None = None
    forecast: bool | None = None
    anomaly: bool | None = None
    unpriced: bool | None = None
    least_severity: Severity | None = None
    log: bool | None = None
    email: EmailBody | None = None
    webhooks: list[WebhookBody] | None = None
    warnings: Annotated[list[Any] | None, Field(description="As they were shown; they change nothing.")] = None


class TrialShown(Shown):
    """What became of a trial, by channel."""

    channels: Annotated[dict[str, str | None], Field(description="Why it failed; null where it did not.")]


async def list_alerts(call: Call[AlertsQuery, Nothing]) -> dict[str, Any]:
    """List alerts, newest first."""
    query, services = call.query, call.services
    asked = AlertFilter(
        budget_id=query.budget_id or None,
        alert_type=query.alert_type,
        severity=query.severity,
        acknowledged=query.acknowledged,
        is_dismissed=query.is_dismissed,
        active_at=services.clock.now() if query.active else None,
    )
    await services.ledger.caught_up()
    page = await services.ledger.alerts.alerts(asked, page=query.page, limit=query.limit)
    items = [alert_json(alert) for alert in page.alerts]
    return {"items": items, "total": page.total, "page": query.page, "limit": query.limit}


async def get_alert(call: Call[Nothing, Nothing]) -> dict[str, Any]:
    """Show an alert."""
    await call.services.ledger.caught_up()
    return alert_json(await _named(call.services, call.path))


async def dismiss_alert(call: Call[Nothing, Nothing]) -> dict[str, Any]:
    """Dismiss an alert: it is no longer shown among those that matter."""
    return await _marked(call, "dismissed")


async def acknowledge_alert(call: Call[Nothing, Nothing]) -> dict[str, Any]:
    """Say that somebody has seen an alert."""
    return await _marked(call, "acknowledged")


async def _marked(call: Call[Nothing, Nothing], mark: Literal["dismissed", "acknowledged"]) -> dict[str, Any]:
    services = call.services
    if not await services.ledger.mark_alert(call.path["alert_id"], mark):
        raise NotFound("There is no alert with this id.")
    shown = alert_json(await _named(services, call.path))
    services.hub.alert(shown, shown["budget_id"])
    return shown


async def _named(services: Services, path: Mapping[str, str]) -> Alert:
    alert = await services.ledger.alerts.alert(path["alert_id"])
    if alert is None:
        raise NotFound("There is no alert with this id.")
    return alert


async def get_settings(call: Call[Nothing, Nothing]) -> dict[str, Any]:
    """Show which alerts there are, and who is told."""
    changed = await call.services.ledger.alerts.setting(NAME) or {}
    return _settings_json(in_force(call.services.config.alerts, changed))


async def change_settings(call: Call[Nothing, SettingsBody]) -> dict[str, Any]:
    """Change what is named of the settings; it goes before config.yaml from then on."""
    return _settings_json(await call.services.unbroken(_change(call.services, call.body)))


async def _change(services: Services, body: SettingsBody) -> InForce:
    async with services.budget_edits:
        config, earlier = services.config.alerts, await services.ledger.alerts.setting(NAME) or {}
        present = in_force(config, earlier)
        changes = _changes(body, present.settings)
        try:
            settings = with_changes(config, {**present.changed, **changes})
        except ValidationError as error:
            raise violation(error, what="settings") from None
        await services.ledger.save_setting(NAME, {**earlier, **changes})
        services.alerts.take(settings)
        services.notifier.take(settings)
        return in_force(config, {**earlier, **changes})


def _changes(body: SettingsBody, present: AlertsConfig) -> dict[str, Any]:
    """Return what is to be kept of a body: what it names, with what it leaves to the present put in."""
    named = body.model_dump(exclude_unset=True, exclude={"warnings"}, by_alias=True)
    if isinstance(named.get("email"), dict):
        named["email"] = {name: value for name, value in named["email"].items() if value is not None}
    if named.get("webhooks") is not None:
        known = {webhook.name: webhook for webhook in present.webhooks}
        for webhook in named["webhooks"]:
            webhook.pop("secret_set", None)
            before = known.get(webhook.get("name", "webhook"))
            if before is None:
                continue
            if webhook["url"] == _masked(before.url):
                webhook["url"] = before.url
            if webhook.get("secret") is None and before.secret is not None and webhook["url"] == before.url:
                webhook["secret"] = before.secret.get_secret_value()
    return {name: value for name, value in named.items() if value is not None or name == "email"}


def _settings_json(found: InForce) -> dict[str, Any]:
    settings, mail = found.settings, found.settings.email
    return {
        "thresholds": list(settings.thresholds),
        "forecast": settings.forecast,
        "anomaly": settings.anomaly,
        "unpriced": settings.unpriced,
        "least_severity": settings.least_severity,
        "log": settings.log,
        "email": mail
        and {"from": mail.sender, "to": list(mail.to), "digest": mail.digest, "digest_hour": mail.digest_hour},
        "webhooks": [
            {
                "name": webhook.name,
                "url": _masked(webhook.url),
                "format": webhook.format,
                "secret_set": webhook.secret is not None,
            }
            for webhook in settings.webhooks
        ],
        "warnings": found.refused,
    }


def _masked(url: str) -> str:
    parts = urlsplit(url)
    host = parts.hostname or ""
    port = f":{parts.port}" if parts.port else ""
    origin = f"{parts.scheme}://{f'[{host}]' if ':' in host else host}{port}"
    return origin if url.rstrip("/") == origin else origin + HIDDEN


async def try_channels(call: Call[Nothing, Nothing]) -> dict[str, Any]:
    """Send a trial to every channel, now; nothing of it is kept."""
    trial = Alert(
        alert_id=new_id("a"),
        once_key="trial",
        alert_type="threshold",
        severity="info",
        title="This is a trial",
        message="This is a trial: alerts of Penia reach you.",
        created_at=call.services.clock.now(),
    )
    return {"channels": await call.services.notifier.test(trial)}


async def list_notifications(call: Call[NotificationsQuery, Nothing]) -> dict[str, Any]:
    """List what was and is to be sent, newest first; `state=dead` is what was given up."""
    query, ledger = call.query, call.services.ledger
    await ledger.caught_up()
    found, total = await ledger.alerts.notifications(
        alert_id=query.alert_id or None, state=query.state, page=query.page, limit=query.limit
    )
    items = [_notification_json(notification) for notification in found]
    return {"items": items, "total": total, "page": query.page, "limit": query.limit}


async def retry_notification(call: Call[Nothing, Nothing]) -> dict[str, Any]:
    """Try a notification again that was given up, or that waits for its next attempt."""
    services = call.services
    await services.ledger.caught_up()
    notification = await services.ledger.alerts.notification(call.path["notification_id"])
    if notification is None:
        raise NotFound("There is no notification with this id.")
    if notification.state == "sent":
        raise Conflict("It has been sent.")
    again = notification.again(services.clock.now())
    await services.unbroken(_written(services, again))
    services.notifier.wake()
    return _notification_json(again)


async def _written(services: Services, notification: Notification) -> None:
    await services.ledger.update_notification(notification)


def _notification_json(notification: Notification) -> dict[str, Any]:
    return {
        "notification_id": notification.notification_id,
        "alert_id": notification.alert_id,
        "channel": notification.channel,
        "state": notification.state,
        "attempts": notification.attempts,
        "due_at": iso(notification.due_at),
        "last_error": notification.last_error,
        "created_at": iso(notification.created_at),
        "sent_at": notification.sent_at and iso(notification.sent_at),
    }


_PATH = "/api/v1/alerts"
ENDPOINTS = (
    Endpoint(
        method="GET",
        path=_PATH,
        handler=list_alerts,
        tag="alerts",
        query=AlertsQuery,
        response=Page[AlertShown],
    ),
    Endpoint(method="GET", path=_PATH + "/settings", handler=get_settings, tag="alerts", response=SettingsShown),
    Endpoint(
        method="PUT",
        path=_PATH + "/settings",
        handler=change_settings,
        tag="alerts",
        body=SettingsBody,
        response=SettingsShown,
        errors=(StoreUnavailable,),
    ),
    Endpoint(method="POST", path=_PATH + "/settings/test", handler=try_channels, tag="alerts", response=TrialShown),
    Endpoint(
        method="GET",
        path=_PATH + "/{alert_id}",
        handler=get_alert,
        tag="alerts",
        response=AlertShown,
    ),
    Endpoint(
        method="PUT",
        path=_PATH + "/{alert_id}/dismiss",
        handler=dismiss_alert,
        tag="alerts",
        response=AlertShown,
        errors=(StoreUnavailable,),
    ),
    Endpoint(
        method="POST",
        path=_PATH + "/{alert_id}/acknowledge",
        handler=acknowledge_alert,
        tag="alerts",
        response=AlertShown,
        errors=(StoreUnavailable,),
    ),
    Endpoint(
        method="GET",
        path="/api/v1/notifications",
        handler=list_notifications,
        tag="alerts",
        query=NotificationsQuery,
        response=Page[NotificationShown],
    ),
    Endpoint(
        method="POST",
        path="/api/v1/notifications/{notification_id}/retry",
        handler=retry_notification,
        tag="alerts",
        response=NotificationShown,
        errors=(Conflict, StoreUnavailable),
    ),
)
