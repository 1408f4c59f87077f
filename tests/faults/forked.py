"""
A gateway that is killed and started again, hundreds of times.

Its one job: `penia serve` in a process of its own, forked off one that has imported it (`warm`). From there on it is
the same start, on the same file, as anybody's.
"""

import asyncio
import contextlib
import multiprocessing
import os
import random
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.process import BaseProcess as Process
from pathlib import Path
from typing import Any

import aiohttp

CONFIG = """
server: {{port: {port}, drain_seconds: 5}}
ledger: {{url: "sqlite:///{folder}/penia.db", durability: full}}
providers:
  openai: {{base_url: "{upstream}", format: openai{more}}}
  anthropic: {{base_url: "{upstream}", format: anthropic{more}}}
budgets:
  - {{name: Strict, daily_limit: 100, enforcement: block, overrun: never}}
"""
TALK: dict[str, Any] = {"model": "gpt-4o-mini", "max_tokens": 30, "messages": [{"role": "user", "content": "hi"}]}
CHAT = "openai/v1/chat/completions"


def context() -> Any:
    """Return what starts processes without importing again."""
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(["tests.faults.warm"])
    return processes


def serving(config: str, said: str) -> None:
    """Run `penia serve`; what it says is appended to a file."""
    from penia_proxy.cli.serve import serve

    descriptor = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for standard in (1, 2):
        os.dup2(descriptor, standard)
    serve(Path(config))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Home:
    """A folder with a gateway's configuration and ledger; one process at a time lives in it."""

    def __init__(self, folder: Path, upstream: str, more: str = "") -> None:
        folder.mkdir(exist_ok=True)
        self.said = folder / "said"
        self.ledger = folder / "penia.db"
        self._config = folder / "config.yaml"
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        self.port = port
        self._config.write_text(CONFIG.format(port=port, folder=folder, upstream=upstream, more=more))

    @property
    def ledger_url(self) -> str:
        return f"sqlite:///{self.ledger}"

    @contextmanager
    def started(self) -> Iterator[Process]:
        """Start a gateway; it is killed at the end if it still runs."""
        process: Process = context().Process(target=serving, args=(str(self._config), str(self.said)), daemon=True)
        process.start()
        try:
            yield process
        finally:
            process.kill()
            process.join()

    async def ready(self, session: aiohttp.ClientSession) -> None:
        """Return once the gateway takes calls."""
        while True:
            with contextlib.suppress(aiohttp.ClientError):
                async with session.get(f"{self.url}/ready"):
                    return
            await asyncio.sleep(0.01)


def dice() -> random.Random:
    """Return chance, by a seed that a failing test shows."""
    seed = random.randrange(2**32)
    sys.stdout.write(f"seed {seed}\n")
    return random.Random(seed)
