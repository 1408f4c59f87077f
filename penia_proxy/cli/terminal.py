"""
Take a terminal, and give it back as it was.

Its one job: the whole screen without a cursor, and keys as they are pressed.
Rules: whatever ends us, an error, a signal, Ctrl-Z for a while, the terminal is as it was before. A standard input that
is no terminal has no keys, and is no error.
"""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from rich.console import Console, ConsoleDimensions, Group
from rich.live import Live
from rich.text import Text

ESCAPES = {"[A": "up", "[B": "down", "OA": "up", "OB": "down", "[Z": "back", "[5~": "page up", "[6~": "page down"}
"""What follows Escape, by the key (ECMA-48, and xterm's application mode)."""
NAMED = {"\t": "tab", "\r": "enter", "\n": "enter", "\x7f": "erase", "\x08": "erase", "\x03": "q", "\x04": "q"}


def keys_in(typed: str) -> list[str]:
    """Return the keys of what a terminal has sent: their names, or the characters themselves."""
    keys = []
    while typed:
        if typed[0] != "\x1b":
            keys.append(NAMED.get(typed[0], typed[0]))
            typed = typed[1:]
            continue
        sequence = next((one for one in ESCAPES if typed.startswith(one, 1)), None)
        if sequence is not None:
            keys.append(ESCAPES[sequence])
            typed = typed[1 + len(sequence) :]
        elif typed[1:2] in ("[", "O"):  # a key that we do not know: it ends with its first letter
            end = next((at for at, one in enumerate(typed[2:], 2) if one.isalpha() or one == "~"), len(typed))
            typed = typed[end + 1 :]
        else:
            keys.append("escape")
            typed = typed[1:]
    return keys


class Terminal:
    """A terminal that is ours until `close`."""

    def __init__(self, console: Console, on_key: Callable[[str], None], on_change: Callable[[], None]) -> None:
        """``on_change``: its size is another, or it is ours again."""
        self._console = console
        self._on_key = on_key
        self._on_change = on_change
        self._live: Live | None = None
        self._saved: list[Any] | None = None

    @property
    def size(self) -> tuple[int, int]:
        """
        Columns and lines, as the terminal itself says.

        $COLUMNS and $LINES, which rich prefers, are those of when somebody exported them.
        """
        with contextlib.suppress(AttributeError, ValueError, OSError):  # no terminal, or one that is gone
            width, height = os.get_terminal_size(self._console.file.fileno())
            if width and height:  # a serial line has neither
                self._console.size = ConsoleDimensions(width, height)
        width, height = self._console.size
        return width, height

    @property
    def is_ascii(self) -> bool:
        """Whether it can write nothing else."""
        return self._console.options.ascii_only

    def open(self) -> None:
        """Take the screen and the keys."""
        self._live = Live(console=self._console, screen=True, auto_refresh=False, transient=True)
        self._live.start()
        if sys.platform != "win32" and sys.stdin is not None and sys.stdin.isatty():
            import termios
            import tty

            descriptor = sys.stdin.fileno()
            self._saved = termios.tcgetattr(descriptor)
            # Keys at once and unseen; what makes signals still does.
            tty.setcbreak(descriptor, termios.TCSANOW)
            asyncio.get_running_loop().add_reader(descriptor, self._read)

    def close(self) -> None:
        """Give all of it back. Twice is once."""
        if self._saved is not None:
            import termios

            descriptor = sys.stdin.fileno()
            asyncio.get_running_loop().remove_reader(descriptor)
            with contextlib.suppress(termios.error):  # a terminal that is gone
                termios.tcsetattr(descriptor, termios.TCSANOW, self._saved)
            self._saved = None
        if self._live is not None:
            with contextlib.suppress(OSError):
                self._live.stop()
            self._live = None

    def draw(self, lines: Sequence[Text]) -> None:
        """Show these lines; not while the terminal is somebody else's."""
        if self._live is not None:
            self._live.update(Group(*lines), refresh=True)

    def _read(self) -> None:
        try:
            typed = os.read(sys.stdin.fileno(), 1024).decode(errors="ignore")
        except OSError:
            typed = ""
        if not typed:  # the terminal is gone
            asyncio.get_running_loop().remove_reader(sys.stdin.fileno())
            self._on_key("q")
        for key in keys_in(typed):
            self._on_key(key)

    def _suspend(self) -> None:
        """Stop as a shell expects it, and go on when it says so."""
        self.close()
        os.kill(os.getpid(), signal.SIGSTOP)
        self.open()
        self._on_change()

    @contextlib.contextmanager
    def signals(self) -> Iterator[None]:
        """Let signals end it, stop it and tell of another size."""
        if sys.platform == "win32":
            yield
            return
        loop = asyncio.get_running_loop()
        handlers: dict[signal.Signals, Callable[[], None]] = {
            signal.SIGWINCH: self._on_change,
            signal.SIGTSTP: self._suspend,
            **{one: lambda: self._on_key("q") for one in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)},
        }
        for number, handler in handlers.items():
            loop.add_signal_handler(number, handler)
        try:
            yield
        finally:
            for number in handlers:
                loop.remove_signal_handler(number)
