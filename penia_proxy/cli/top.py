"""
``penia top``: watch a running gateway in a terminal.

Its one job: the live feed and the API's answers onto a screen, and keys to look at it; ``--once`` prints it and leaves.
Rules: it starts only where a gateway answers, and then stays: what is known of a gateway that is gone is shown as stale
until it is back. The screen changes a few times a second at most, so that it can be watched over a slow line.
"""

import asyncio
from copy import deepcopy
from typing import TYPE_CHECKING, Annotated, Any

import typer

from penia_proxy.cli.client import DEFAULT_URL, TIMEOUT_S, GatewayClient, GatewayError, Url
from penia_proxy.cli.exits import UNUSABLE, stop
from penia_proxy.cli.status import UNHEALTHY, standing, standing_table

if TYPE_CHECKING:
    import aiohttp

    from penia_proxy.cli.terminal import Terminal

DRAW_S = 0.25
"""Between two drawings, unless a key was pressed."""
ASK_S = 15.0
"""Between two looks at what the feed does not tell: budgets' settings, projections."""
HEALTH_S = 5.0
PROJECTED_MAX = 50
"""Budgets whose projections are asked for: those at the top."""
CALLS_SHOWN = 100
CALLS_ONCE = 10


def top(
    *,
    url: Url = DEFAULT_URL,
    once: Annotated[bool, typer.Option("--once", help="Print it once and leave; for scripts.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="With --once: as JSON.")] = False,
) -> None:
    """Watch budgets, calls and alerts of a running gateway."""
    gateway = GatewayClient(url)
    if once:
        _print_once(gateway, as_json=as_json)
        return
    if as_json:
        raise typer.BadParameter("goes with --once", param_hint="--json")
    from penia_proxy.cli import display

    if not display.console().is_terminal or display.console().is_dumb_terminal:
        raise stop("top needs a terminal; penia top --once prints the same for a script or a file", UNUSABLE)
    gateway.get("/health", accept=frozenset({UNHEALTHY}))  # or say why not, while there is a line to say it on
    asyncio.run(_watch(gateway))


def _print_once(gateway: GatewayClient, *, as_json: bool) -> None:
    from penia_proxy.cli import display
    from penia_proxy.cli.top_view import Paper, alert_line, call_heading, call_line
    from penia_proxy.clock import SystemClock

    health = gateway.get("/health", accept=frozenset({UNHEALTHY}))
    budgets = standing(gateway)
    alerts = list(gateway.items("/api/v1/alerts", {"active": "true", "is_dismissed": "false"}))
    calls = gateway.get("/api/v1/usage/records", query={"limit": CALLS_ONCE})["items"]
    if as_json:
        display.print_json({"health": health, "budgets": budgets, "alerts": alerts, "calls": calls})
        return
    out = display.console()
    now = SystemClock().now().astimezone()
    paper = Paper(max(out.width, 80), 0, ascii=out.options.ascii_only)
    out.print(f"{gateway.url}  {health['status']}, up {display.duration(health['uptime_seconds'])}", soft_wrap=True)
    if budgets:
        out.print()
        out.print(standing_table(budgets))
    if alerts:
        out.print()
        for alert in alerts:
            out.print(paper.written(alert_line(alert, paper, now)), soft_wrap=True)
    if calls:
        out.print()
        out.print(call_heading(paper), soft_wrap=True)
        for call in calls:
            out.print(paper.written(call_line(call, paper, now)), soft_wrap=True)


async def _watch(gateway: GatewayClient) -> None:
    from penia_proxy.cli import display
    from penia_proxy.cli.terminal import Terminal

    screen = Screen(gateway.url)
    terminal = Terminal(display.console(), screen.pressed, screen.changed.set)
    with terminal.signals():
        try:
            terminal.open()
            await screen.run(terminal)
        except* GatewayError as errors:
            raise errors.exceptions[0] from None
        finally:
            terminal.close()


class Screen:
    """What is shown, and what keys do to it."""

    def __init__(self, url: str) -> None:
        from penia_proxy.cli.board import Board
        from penia_proxy.cli.top_view import Look
        from penia_proxy.clock import SystemClock

        self.board = Board()
        self.look = Look()
        self.changed = asyncio.Event()
        """What is to be seen now, and not at the next drawing."""
        self._frozen: Board | None = None
        self._url = url
        self._clock = SystemClock()
        self._left = False
        self._ask = asyncio.Event()

    async def run(self, terminal: "Terminal") -> None:
        """Show it until somebody leaves. Raises GatewayError, in a group, where the gateway takes no subscription."""
        import aiohttp

        timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
        async with aiohttp.ClientSession(timeout=timeout) as session, asyncio.TaskGroup() as tasks:
            work = (self._follow(session), self._ask_for_health(session), self._ask_for_rest(session))
            working = [tasks.create_task(one) for one in work]
            while not self._left:
                self._draw(terminal)
                try:
                    async with asyncio.timeout(DRAW_S):
                        await self.changed.wait()
                except TimeoutError:
                    pass
                self.changed.clear()
            for one in working:
                one.cancel()

    def pressed(self, key: str) -> None:
        """Do what a key says."""
        look = self.look
        if look.typing:
            self._typed(key)
        elif key == "q":
            self._left = True
        elif key in (" ", "p"):
            look.paused = not look.paused
            self._frozen = deepcopy(self.board) if look.paused else None
        elif key in ("h", "?") or (key == "escape" and look.help):
            look.help = not look.help
        elif key == "escape":
            look.text, look.offset = "", 0
        elif key == "/":
            look.typing, look.offset = True, 0
        else:
            self._moved(key)
        self.changed.set()

    def _typed(self, key: str) -> None:
        look = self.look
        if key == "enter":
            look.typing = False
        elif key == "escape":
            look.typing, look.text = False, ""
        elif key == "erase":
            look.text = look.text[:-1]
        elif len(key) == 1 and key.isprintable():
            look.text += key

    def _moved(self, key: str) -> None:
        from penia_proxy.cli.board import SORTS
        from penia_proxy.cli.top_view import PANES

        look = self.look
        if key == "s":
            look.sort = SORTS[(SORTS.index(look.sort) + 1) % len(SORTS)]
        elif key in ("tab", "back"):
            look.pane = PANES[(PANES.index(look.pane) + (1 if key == "tab" else -1)) % len(PANES)]
            look.offset = 0
        step = {"down": 1, "j": 1, "up": -1, "k": -1, "page down": 10, "page up": -10}.get(key, 0)
        look.offset = max(0, look.offset + step)

    def _draw(self, terminal: "Terminal") -> None:
        from penia_proxy.cli.top_view import Paper, screen

        width, height = terminal.size
        board = self._frozen or self.board
        paper = Paper(width, height, ascii=terminal.is_ascii)
        now = self._clock.now().astimezone()
        terminal.draw(screen(board, self.look, paper, self._url, now, self._clock.monotonic()))

    async def _follow(self, session: "aiohttp.ClientSession") -> None:
        from penia_proxy.following import Lost, Refused, Snapshot, follow

        try:
            async for event in follow(self._url, session=session):
                self.board.take(event, self._clock.monotonic())
                if isinstance(event, Lost | Snapshot):
                    self.changed.set()
                if isinstance(event, Snapshot) or self.board.missed:
                    self._ask.set()
        except Refused as error:
            raise GatewayError(f"{self._url} takes no subscription: {error}") from None

    async def _ask_for_health(self, session: "aiohttp.ClientSession") -> None:
        while True:
            self.board.health = await self._answer(session, "/health") or {}
            await asyncio.sleep(HEALTH_S)

    async def _ask_for_rest(self, session: "aiohttp.ClientSession") -> None:
        """Ask for what the feed does not tell: now and then, and when it says that something was missed."""
        while True:
            self._ask.clear()
            if (page := await self._answer(session, f"/api/v1/usage/records?limit={CALLS_SHOWN}")) is not None:
                self.board.recorded(page["items"])
            if (page := await self._answer(session, "/api/v1/budgets?is_active=true&limit=100")) is not None:
                self.board.listed(page["items"])
            shown = dict.fromkeys(row.budget_id for row in self.board.rows(self.look.sort, self.look.text))
            for budget_id in list(shown)[:PROJECTED_MAX]:
                if (periods := await self._answer(session, f"/api/v1/budgets/{budget_id}/summary")) is not None:
                    self.board.summarized(periods)
            try:
                async with asyncio.timeout(ASK_S):
                    await self._ask.wait()
            except TimeoutError:
                pass

    async def _answer(self, session: "aiohttp.ClientSession", path: str) -> Any:
        """Return what the gateway answers; None where it does not: the feed says so, too."""
        import aiohttp

        try:
            async with session.get(self._url + path, allow_redirects=False) as answer:
                return await answer.json() if answer.status in (200, UNHEALTHY) else None
        except (aiohttp.ClientError, TimeoutError, ValueError):
            return None
