"""
`penia` as a process, for tests of what only a process can show: signals, exit codes, kills, restarts.

Rule: every wait is for an event.
"""

import asyncio
import contextlib
import os
import re
import sys
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import aiohttp
import pytest


class Process:
    """A command that runs."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.seen = ""

    async def until(self, pattern: str) -> re.Match[str]:
        """Read stdout up to the first line that matches."""
        while True:
            line = (await self._stream(self._process.stdout).readline()).decode()
            self.seen += line
            if found := re.search(pattern, line):
                return found
            if not line:
                errors = (await self._stream(self._process.stderr).read()).decode()
                pytest.fail(f"no line matches {pattern!r} in:\n{self.seen}\n{errors}")

    async def end(self) -> tuple[int, str, str]:
        """Wait for the end; return exit code, all of stdout, stderr."""
        out, errors = await self._process.communicate()
        assert self._process.returncode is not None
        return self._process.returncode, self.seen + out.decode(), errors.decode()

    @property
    def pid(self) -> int:
        """Return the process's number."""
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """Return how it has ended, None while it runs."""
        return self._process.returncode

    @staticmethod
    async def moment() -> None:
        """Give it a moment, between two looks at what it has done."""
        await asyncio.sleep(0.001)

    def signal(self, number: int) -> None:
        """Send a signal."""
        self._process.send_signal(number)

    @staticmethod
    def _stream(stream: asyncio.StreamReader | None) -> asyncio.StreamReader:
        assert stream is not None
        return stream


@contextlib.asynccontextmanager
async def running(cwd: Path, *arguments: str, env: Mapping[str, str] | None = None) -> AsyncIterator[Process]:
    """Run `penia` in a directory, with ``env`` besides ours; whatever is still running at the end is killed."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "penia_proxy", *arguments),
        cwd=cwd,
        env={**os.environ, **(env or {})},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield Process(process)
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


async def listening(process: Process) -> str:
    """Return the URL on which a gateway says that it listens."""
    return (await process.until(r"Penia listens on (http://\S+)"))[1]


async def draining(session: aiohttp.ClientSession, url: str) -> None:
    """Wait until a gateway says that it ends."""
    while True:
        async with session.get(f"{url}/health") as answer:
            if (await answer.json())["status"] == "draining":
                assert answer.status == 503
                return
        await asyncio.sleep(0.01)


def configure(
    directory: Path,
    upstream: str,
    *,
    server: str = "",
    ledger: str = "",
    budgets: str = "{name: Default, daily_limit: 5}",
) -> Path:
    """Write a configuration in front of a provider; the named sections' members are YAML."""
    path = directory / "config.yaml"
    path.write_text(
        f"server: {{port: 0, {server}}}\n"
        f"ledger: {{{ledger}}}\n"
        f"providers:\n"
        f"  openai: {{base_url: '{upstream}', format: openai}}\n"
        f"  anthropic: {{base_url: '{upstream}', format: anthropic}}\n"
        f"budgets: [{budgets}]\n"
    )
    return path
