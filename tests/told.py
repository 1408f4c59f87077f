"""
Those who are told of alerts: a mail server and a web server on loopback.

Rule: what they were told is kept with the id it came under; both can be told to fail first.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any, cast

from aiohttp import web
from aiosmtpd.smtp import SMTP, Envelope, Session

from penia_proxy.watch.channels import signature

SECRET = "made-up-for-tests"


@dataclass
class Mailbox:
    """A mail server's."""

    url: str = ""
    failing: int = 0
    """How many messages are refused first."""
    messages: list[EmailMessage] = field(default_factory=list)

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802 - aiosmtpd's
        if self.failing > 0:
            self.failing -= 1
            return "451 try again later"
        content = cast("bytes", envelope.content)
        self.messages.append(cast("EmailMessage", message_from_bytes(content, policy=policy.default)))
        return "250 taken"

    @property
    def subjects(self) -> list[str]:
        return sorted(str(message["Subject"]) for message in self.messages)


@contextlib.asynccontextmanager
async def mailbox() -> AsyncIterator[Mailbox]:
    box = Mailbox()
    server = await asyncio.get_running_loop().create_server(
        lambda: SMTP(box, hostname="localhost", enable_SMTPUTF8=True), "127.0.0.1", 0
    )
    box.url = f"smtp://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield box
    finally:
        server.close()


@dataclass
class Hook:
    """A web server's."""

    url: str = ""
    failing: int = 0
    """How many requests are refused first."""
    hanging: bool = False
    bodies: list[dict[str, Any]] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)
    attempts: int = 0

    async def handle(self, request: web.Request) -> web.Response:
        self.attempts += 1
        body = await request.read()
        if self.hanging:
            await asyncio.Event().wait()
        if self.failing > 0:
            self.failing -= 1
            return web.Response(status=500)
        signed = request.headers["X-Penia-Signature"]
        timestamp = int(signed.split(",")[0].removeprefix("t="))
        assert signed == signature(SECRET, timestamp, body)
        self.ids.append(request.headers["X-Penia-Notification-Id"])
        self.bodies.append(await request.json())
        return web.Response()

    @property
    def percents(self) -> list[float]:
        """The thresholds told of, each notification once."""
        told = {body["id"]: body["alert"]["threshold_percent"] for body in self.bodies}
        return sorted(told.values())


@contextlib.asynccontextmanager
async def hook() -> AsyncIterator[Hook]:
    told = Hook()
    app = web.Application()
    app.router.add_post("/told", told.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    told.url = f"http://127.0.0.1:{runner.addresses[0][1]}/told"
    try:
        yield told
    finally:
        await runner.cleanup()
