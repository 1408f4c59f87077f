"""
Send what is to be sent, until it is.

Its one job: the outbox of notifications: each channel by itself, again and again with growing pauses, across restarts.
Rules: at least once, always under the same id; what failed ATTEMPTS_MAX times is dead, and stays to be seen. A channel
that hangs delays nobody else, and no call.
"""

import asyncio
import contextlib
import hashlib
import logging
import random
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

import aiohttp

from penia_proxy.budget.alert import Alert, Severity
from penia_proxy.clock import Clock
from penia_proxy.config import AlertsConfig
from penia_proxy.ids import new_id
from penia_proxy.ledger.alerts import Notification
from penia_proxy.ledger.ledger import Ledger
from penia_proxy.watch.channels import Channel, Email, UndeliveredError, Webhook

log = logging.getLogger(__name__)

ATTEMPTS_MAX = 14
"""With the pauses below, ten hours."""
PAUSE_S_MIN = 5.0
PAUSE_S_MAX = 3_600.0
LOOK_S_MAX = 30.0
"""What falls due is found so late at most where a clock has jumped."""
AT_ONCE_MAX = 100
"""Notifications of one channel that are read at a time."""

_RANK: Mapping[Severity, int] = {"info": 0, "warning": 1, "critical": 2}


class Notifier:
    """The outbox of one gateway."""

    def __init__(self, ledger: Ledger, clock: Clock, config: AlertsConfig, *, pause_s: float = PAUSE_S_MIN) -> None:
        """``pause_s`` is after the first failure."""
        self._ledger = ledger
        self._clock = clock
        self._pause_s = pause_s
        self._session = aiohttp.ClientSession(trust_env=False, cookie_jar=aiohttp.DummyCookieJar())
        self._wake = asyncio.Event()
        self._serving: dict[str, asyncio.Task[None]] = {}
        self._hurried: set[asyncio.Task[str | None]] = set()
        self._running: asyncio.Task[None] | None = None
        self.take(config)

    def take(self, config: AlertsConfig) -> None:
        """Take other settings; what was addressed to a channel that is gone is given up."""
        self._config = config
        self._channels: dict[str, Channel] = {}
        if config.email is not None:
            self._channels["email"] = Email(config.email, self._clock)
        for webhook in config.webhooks:
            self._channels[f"webhook:{webhook.name}"] = Webhook(webhook, self._session, self._clock)
        self._wake.set()

    def start(self) -> None:
        """Begin to send, what an earlier process left as well."""
        self._running = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Stop sending; what is not sent is sent by the next process."""
        tasks = [*self._serving.values(), *self._hurried, *([self._running] if self._running else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._session.close()

    def address(self, alert: Alert) -> tuple[Notification, ...]:
        """Return what is to be sent of an alert."""
        if _RANK[alert.severity] < _RANK[self._config.least_severity]:
            return ()
        now = self._clock.now()
        return tuple(
            Notification(new_id("n"), alert.alert_id, name, now, channel.due_at(now))
            for name, channel in self._channels.items()
        )

    def wake(self) -> None:
        """Look at the outbox now."""
        self._wake.set()

    def hurry(self, alert: Alert, notifications: tuple[Notification, ...]) -> None:
        """Try once, now, what the outbox cannot keep yet; it is sent again under the same id when it can."""
        for notification in notifications:
            task = asyncio.create_task(self._try(notification.channel, notification.notification_id, [alert]))
            self._hurried.add(task)
            task.add_done_callback(self._hurried.discard)

    async def test(self, alert: Alert) -> dict[str, str | None]:
        """Send an alert to every channel; return why it failed, by channel, None where it did not."""

        async def attempt(name: str) -> str | None:
            try:
                await self._channels[name].send(new_id("n"), [alert])
            except UndeliveredError as error:
                return str(error)
            return None

        names = list(self._channels)
        return dict(zip(names, await asyncio.gather(*(attempt(name) for name in names)), strict=True))

    async def _run(self) -> None:
        while True:
            self._wake.clear()
            try:
                for name in await self._ledger.alerts.channels_due(self._clock.now()):
                    if name not in self._serving:
                        task = self._serving[name] = asyncio.create_task(self._serve(name))
                        task.add_done_callback(lambda _, name=name: self._served(name))  # type: ignore[misc]
                pause_s = await self._pause()
            except Exception:
                log.exception("the outbox of alerts could not be read")
                pause_s = LOOK_S_MAX
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause_s):
                    await self._wake.wait()

    def _served(self, name: str) -> None:
        self._serving.pop(name, None)
        self._wake.set()

    async def _pause(self) -> float:
        """Return how long nothing falls due."""
        next_due = await self._ledger.alerts.next_due()
        if next_due is None or self._serving:
            return LOOK_S_MAX
        return min(max((next_due - self._clock.now()).total_seconds(), 0.05), LOOK_S_MAX)

    async def _serve(self, name: str) -> None:
        """Send what is due on one channel."""
        try:
            due = await self._ledger.alerts.due(name, self._clock.now(), AT_ONCE_MAX)
            alerts = await self._ledger.alerts.of([one.alert_id for one in due])
            channel = self._channels.get(name)
            if channel is None:
                await self._update([one.failed("this channel is no longer configured", None) for one in due])
            elif channel.gathers:
                await self._deliver(name, due, [alerts[one.alert_id] for one in due])
            else:
                for one in due:
                    if not await self._deliver(name, [one], [alerts[one.alert_id]]):
                        break  # the others would fail alike, each taking as long
        except Exception:
            log.exception("a channel of alerts could not be served")

    async def _deliver(self, name: str, due: Sequence[Notification], alerts: Sequence[Alert]) -> bool:
        if not due:
            return True
        ids = "".join(sorted(one.notification_id for one in due))
        message_id = due[0].notification_id if len(due) == 1 else f"n_{hashlib.sha256(ids.encode()).hexdigest()[:32]}"
        problem = await self._try(name, message_id, alerts)
        now = self._clock.now()
        if problem is None:
            await self._update([one.sent(now) for one in due])
            return True
        await self._update([one.failed(problem, self._next(one, now)) for one in due])
        return False

    async def _try(self, name: str, message_id: str, alerts: Sequence[Alert]) -> str | None:
        channel = self._channels.get(name)
        if channel is None:
            return "this channel is no longer configured"
        try:
            await channel.send(message_id, alerts)
        except UndeliveredError as error:
            log.warning("an alert could not be sent on %s: %s", name, error)
            return str(error)
        return None

    def _next(self, notification: Notification, now: datetime) -> datetime | None:
        if notification.attempts + 1 >= ATTEMPTS_MAX:
            return None
        pause_s = min(self._pause_s * 2.0**notification.attempts, PAUSE_S_MAX)
        return now + timedelta(seconds=pause_s * random.uniform(0.8, 1.2))  # noqa: S311 - it spreads, and hides nothing

    async def _update(self, changed: Sequence[Notification]) -> None:
        """Wait until what became of an attempt is on disk: nobody is to be told again because we read too early."""
        for done in [self._ledger.update_notification(one) for one in changed]:
            await asyncio.shield(done)
