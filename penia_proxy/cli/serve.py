"""
``penia serve``: the gateway, until it is told to stop.

Its one job: an event loop, the signals, and what the terminal says at start and end. Rules: the first Ctrl-C or SIGTERM
lets calls in flight end, the second settles them as far as they came. The gateway itself is penia_proxy.app's.
"""

import asyncio
import contextlib
import errno
import logging
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from penia_proxy.cli.exits import FAILED, UNUSABLE, refuse_weakened, stop

if TYPE_CHECKING:
    from penia_proxy.app import Told
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

    Ctrl-C or SIGTERM stops it: calls in flight end first; a second Ctrl-C settles them as far as they came.
    SIGHUP reads the configuration again.
    """
    refuse_weakened()
    config = load(config_path)
    from penia_proxy.app import serve as serve_gateway

    def ready(url: str) -> None:
        _say(f"Penia listens on {url}  (dashboard there; API: {url}/docs, health: {url}/health)")
        if not config.providers:
            _say("No provider is configured: every call will be refused. See config.yaml.", err=True)

    run(
        lambda told: serve_gateway(config, on_ready=ready, told=told, reread=lambda: load(config_path)),
        address=f"{config.server.host}:{config.server.port}",
        choose="server.port or BUDGET_PORT",
        log_level=config.server.log_level,
        reloads=True,
    )
    _say("Stopped; everything in flight has settled.")
    for number, stream in ((1, sys.stdout), (2, sys.stderr)):
        try:
            if stream is not None:
                stream.flush()
        except OSError:
            _to_nowhere(number)


def run(
    serving: Callable[["Told"], Awaitable[None]], *, address: str, choose: str, log_level: str, reloads: bool = False
) -> None:
    """
    Run until ``serving`` has returned, as signals tell it to; ``choose``: what would choose another port.

    With ``reloads``, SIGHUP reads the configuration again; otherwise it ends, as when a terminal is closed.

    A taken port ends the command with a sentence and exit code 1.
    """
    _open_standard_streams()
    _log(log_level)
    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(_until_signalled(serving, reloads=reloads))
    except KeyboardInterrupt:
        # Where the loop has no signal handlers of its own (Windows): the runner has cancelled and awaited everything.
        return
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise stop(
                f"{address} is taken: is a gateway running already? Choose another port: {choose}.", FAILED
            ) from None
        if error.errno in {errno.EACCES, errno.EADDRNOTAVAIL}:
            raise stop(f"cannot listen on {address}: {error.strerror or error}", UNUSABLE) from None
        raise


def _say(text: str, *, err: bool = False) -> None:
    """Print a line. A full disk, or a terminal that is gone, must not end what serves calls."""
    try:
        typer.echo(text, err=err)
    except OSError:
        _to_nowhere(2 if err else 1)


def _to_nowhere(descriptor: int) -> None:
    """Let a stream that cannot be written be written: what it has kept would fail again, and be the exit code."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, descriptor)
    os.close(nowhere)


def _open_standard_streams() -> None:
    """Take the places of standard streams that are closed: a socket there would get what is meant for them."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(descriptor)


def _log(level: str) -> None:
    """Write our log to stderr. Of others only warnings: what they say below is about them, and may quote requests."""
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("penia_proxy").setLevel(level.upper())


async def _until_signalled(serving: Callable[["Told"], Awaitable[None]], *, reloads: bool) -> None:
    from penia_proxy.app import Told

    told = Told()

    def on_end() -> None:
        if told.stop.is_set():
            told.hurry.set()
        told.stop.set()

    with _signals(on_end, told.reload.set if reloads else on_end):
        await serving(told)


@contextlib.contextmanager
def _signals(on_end: Callable[[], None], on_reload: Callable[[], None]) -> Iterator[None]:
    if sys.platform == "win32":  # its loops have no signal handlers: there Ctrl-C is a KeyboardInterrupt (see run)
        yield
        return
    loop = asyncio.get_running_loop()
    handlers = {signal.SIGINT: on_end, signal.SIGTERM: on_end, signal.SIGHUP: on_reload}
    for number, handler in handlers.items():
        loop.add_signal_handler(number, handler)
    try:
        yield
    finally:
        for number in handlers:
            loop.remove_signal_handler(number)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Return uvloop's loop where it is installed (it is not on Windows)."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop
