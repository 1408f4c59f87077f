"""
Be a terminal.

Its one job: run a command on a pty, show what it writes as a terminal would (pyte), and press keys.
"""

import asyncio
import fcntl
import os
import pty
import signal
import struct
import subprocess
import sys
import termios
from collections.abc import Callable
from types import TracebackType
from typing import Self

import pyte

PATIENCE_S = 30


class Terminal:
    """A terminal that runs `penia` with these arguments."""

    def __init__(self, *arguments: str, columns: int = 80, lines: int = 24, **environment: str) -> None:
        self._ours, self._theirs = pty.openpty()
        self.resize(columns, lines)
        self.before = termios.tcgetattr(self._theirs)
        self._screen = pyte.Screen(columns, lines)
        self._stream = pyte.ByteStream(self._screen)
        self.written = b""
        self._news = asyncio.Event()
        environment = {"TERM": "xterm-256color", "LANG": "C.UTF-8", "PYTHONUTF8": "1", **environment}
        self.child = subprocess.Popen(
            [sys.executable, "-m", "penia_proxy", *arguments],
            stdin=self._theirs,
            stdout=self._theirs,
            stderr=self._theirs,
            env={**os.environ, **environment},
            start_new_session=True,
            # So that its keys make signals.
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509 - it takes no lock
        )

    async def __aenter__(self) -> Self:
        asyncio.get_running_loop().add_reader(self._ours, self._read)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        asyncio.get_running_loop().remove_reader(self._ours)
        if self.child.poll() is None:
            self.child.kill()
        self.child.wait()
        os.close(self._ours)
        os.close(self._theirs)

    def _read(self) -> None:
        piece = os.read(self._ours, 65_536)
        self.written += piece
        self._stream.feed(piece)
        self._news.set()

    @property
    def lines(self) -> list[str]:
        return [line.rstrip() for line in self._screen.display]

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    async def until(self, seen: Callable[[str], bool]) -> str:
        """Return what is shown once it is what was waited for."""
        try:
            async with asyncio.timeout(PATIENCE_S):
                while not seen(self.text):
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            state = f"exit code {self.child.poll()}, written last: {self.written[-1000:]!r}"
            raise AssertionError(f"not seen; what is shown is:\n{self.text}\n{state}") from None
        return self.text

    async def ended(self) -> int:
        """Return the exit code once it has one."""
        async with asyncio.timeout(PATIENCE_S):
            while self.child.poll() is None:
                await asyncio.sleep(0.01)
        return int(self.child.returncode)

    async def stopped(self) -> None:
        """Wait until it has stopped, as for a shell."""
        looking = os.WSTOPPED | os.WNOHANG | os.WNOWAIT
        async with asyncio.timeout(PATIENCE_S):
            while os.waitid(os.P_PID, self.child.pid, looking) is None:  # noqa: ASYNC222 - WNOHANG
                await asyncio.sleep(0.01)

    def press(self, keys: str) -> None:
        os.write(self._ours, keys.encode())

    def tell(self, number: signal.Signals) -> None:
        self.child.send_signal(number)

    def resize(self, columns: int, lines: int) -> None:
        """Be as large as this."""
        fcntl.ioctl(self._ours, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        if hasattr(self, "child"):
            self._screen.resize(lines, columns)

    def is_as_before(self) -> bool:
        """Whether the terminal's settings are what they were."""
        return termios.tcgetattr(self._theirs) == self.before
