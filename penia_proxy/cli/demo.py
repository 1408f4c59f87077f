"""
``penia demo``: a gateway, a provider and callers on one machine, without a key and without a network.

Its one job: start the three, show what happens, and sum up at the end. Rules: the gateway is the same as `serve` runs;
only its providers are the sandbox. Everything is in a temporary directory unless ``--db`` says otherwise.
"""

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from penia_proxy.cli.exits import refuse_weakened
from penia_proxy.cli.serve import run

if TYPE_CHECKING:
    import aiohttp

    from penia_proxy.app import Told
    from penia_proxy.cli.demo_view import DemoView
    from penia_proxy.config import Config

BUDGETS: tuple[dict[str, Any], ...] = (
    {"name": "Default", "daily_limit": 5.0, "weekly_limit": 25.0, "monthly_limit": 100.0},
    {"name": "Chat", "daily_limit": 0.05, "scope": {"components": ["rhetor"]}},
    {"name": "Claude", "hourly_limit": 1.0, "enforcement": "track", "scope": {"providers": ["anthropic"]}},
    {
        "name": "Overnight batch",
        "hourly_limit": 0.06,
        "enforcement": "block",
        "overrun": "never",
        "scope": {"components": ["overnight-batch"]},
    },
)
"""The documented default; one that warns soon; one that only counts; and one that refuses within a minute."""


def demo(
    *,
    rate: Annotated[float, typer.Option(help="Calls per second.", min=0.1, max=200)] = 2,
    port: Annotated[int, typer.Option(help="Where the gateway listens.", min=0, max=65_535)] = 8113,
    db: Annotated[Path | None, typer.Option(help="Keep the ledger here; a temporary one otherwise.")] = None,
    seconds: Annotated[
        float | None, typer.Option("--for", help="Stop after so many seconds; otherwise at Ctrl-C.", min=0.1)
    ] = None,
) -> None:
    """Run the gateway with a sandbox provider and a trickle of calls: no key, no network."""
    refuse_weakened()
    with tempfile.TemporaryDirectory(prefix="penia-demo-") as scratch:
        ledger = db or Path(scratch) / "penia.db"

        async def serving(told: "Told") -> None:
            await _demo(told, ledger=ledger.absolute(), port=port, rate=rate, seconds=seconds)

        run(serving, address=f"127.0.0.1:{port}", choose="--port", log_level="warning")


def config_of(provider_url: str, *, ledger: Path, port: int) -> "Config":
    """Return the demo's configuration."""
    from penia_proxy.config import Config
    from penia_proxy.sandbox.errands import DEMO_PROVIDERS

    return Config.model_validate(
        {
            "server": {"port": port, "drain_seconds": 5},
            "ledger": {"url": f"sqlite:///{ledger}"},
            "providers": {name: {"base_url": f"{provider_url}/{name}", "format": name} for name in DEMO_PROVIDERS},
            "budgets": BUDGETS,
            "alerts": {"log": False},  # the view shows them
        }
    )


async def _demo(told: "Told", *, ledger: Path, port: int, rate: float, seconds: float | None) -> None:
    import aiohttp

    from penia_proxy.cli.demo_view import DemoView
    from penia_proxy.sandbox import running_sandbox
    from penia_proxy.sandbox.traffic import DEMO_COMPONENTS, run_traffic

    view = DemoView(frozenset(DEMO_COMPONENTS))
    async with (
        running_sandbox(unique_ids=True) as sandbox,
        _gateway(config_of(sandbox.url, ledger=ledger, port=port), told.hurry) as url,
        aiohttp.ClientSession() as session,
    ):
        view.welcome(url, ledger)
        if seconds is not None:
            asyncio.get_running_loop().call_later(seconds, told.stop.set)
        async with _records(session, url, view):
            await run_traffic(url, session=session, rate=rate, report=view.reported, stop=told.stop)
        await asyncio.to_thread(view.farewell, url)


@contextlib.asynccontextmanager
async def _gateway(config: "Config", hurry: asyncio.Event) -> AsyncIterator[str]:
    """Run the gateway, and yield its URL once it listens. Raises what its start raises."""
    from penia_proxy.app import Told, serve

    ready: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    told = Told(hurry=hurry)
    gateway = asyncio.create_task(serve(config, on_ready=ready.set_result, told=told))
    try:
        first: set[asyncio.Future[Any]] = {gateway, ready}
        await asyncio.wait(first, return_when=asyncio.FIRST_COMPLETED)
        if ready.done():
            yield ready.result()
    finally:
        told.stop.set()
        await gateway


@contextlib.asynccontextmanager
async def _records(session: "aiohttp.ClientSession", url: str, view: "DemoView") -> AsyncIterator[None]:
    """Hand every usage record and alert of the live feed to the view."""
    from penia_proxy.following import Happened, Live, follow

    listening = asyncio.Event()

    async def read() -> None:
        async for event in follow(url, ["usage", "alerts"], session=session):
            match event:
                case Live():
                    listening.set()
                case Happened("usage", data):
                    view.recorded(data)
                case Happened("alert", {"title": _, "acknowledged": False, "is_dismissed": False} as data):
                    view.alerted(data)

    reading = asyncio.create_task(read())
    try:
        await listening.wait()
        yield
    finally:
        reading.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await reading
