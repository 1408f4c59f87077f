"""
``penia serve``: the gateway, until it is told to stop.

Its one job: an event loop, the signals, and what the terminal says at start and end. Rules: the first Ctrl-C or SIGTERM
lets calls in flight settle, the second does not wait. The gateway itself is penia_proxy.app's.
"""

import asyncio
import contextlib
import errno
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from penia_proxy.cli.exits import FAILED, UNUSABLE, refuse_without_asserts, stop

if TYPE_CHECKING:
    from penia_proxy.config import Config

ConfigPath = Annotated[
    Path | None,
    typer.Option(
        "-c", "--config", help="The configuration; without it, config.yaml here, or the defaults.", metavar="FILE"
    ),
]


def load(path: Path | None) -> "Config":
    """Return the configuration that a command is to use. Raises ConfigError."""
    from penia_proxy.config import load_config

    return load_config(path, os.environ)


def serve(config_path: ConfigPath = None) -> None:
    """
    Run the gateway against the real providers.

    Ctrl-C or SIGTERM stops it: calls in flight settle first, a second Ctrl-C does not wait.
    """
    refuse_without_asserts()
    config = load(config_path)
    from penia_proxy.app import serve as serve_gateway

    def ready(url: str) -> None:
        typer.echo(f"Penia listens on {url}  (API: {url}/docs, health: {url}/health)")
        if not config.providers:
            typer.echo("No provider is configured: every call will be refused. See config.yaml.", err=True)

    run(lambda ended: serve_gateway(config, on_ready=ready, stop=ended), address=address_of(config))
    typer.echo("Stopped; everything in flight has settled.")


def address_of(config: "Config") -> str:
    """Return ``host:port`` for a message."""
    return f"{config.server.host}:{config.server.port}"


def run(serving: Callable[[asyncio.Event], Awaitable[None]], *, address: str) -> None:
    """Run until a signal sets the event and ``serving`` has returned. A taken port is a sentence and exit code 1."""
    # The ledger says who spent what; nobody but its owner reads it (reliability.md §7, 24).
    os.umask(0o077)
    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(_until_signalled(serving))
    except KeyboardInterrupt:
        # Where the loop has no signal handlers of its own (Windows): the runner has cancelled and awaited everything.
        return
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise stop(
                f"{address} is taken: is a gateway already running? Choose another port (server.port, BUDGET_PORT).",
                FAILED,
            ) from None
        if error.errno in {errno.EACCES, errno.EADDRNOTAVAIL}:
            raise stop(f"cannot listen on {address}: {error.strerror or error}", UNUSABLE) from None
        raise


async def _until_signalled(serving: Callable[[asyncio.Event], Awaitable[None]]) -> None:
    ended = asyncio.Event()
    task = asyncio.ensure_future(serving(ended))

    def on_signal() -> None:
        if ended.is_set():
            task.cancel()
        ended.set()

    with _signals(on_signal), contextlib.suppress(asyncio.CancelledError):
        await task


@contextlib.contextmanager
def _signals(handler: Callable[[], None]) -> Iterator[None]:
    loop = asyncio.get_running_loop()
    # Windows' loops have no signal handlers: there Ctrl-C is a KeyboardInterrupt (see run).
    numbers = () if sys.platform == "win32" else (signal.SIGINT, signal.SIGTERM)
    for number in numbers:
        loop.add_signal_handler(number, handler)
    try:
        yield
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Return uvloop's loop where it is installed (it is not on Windows)."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop
