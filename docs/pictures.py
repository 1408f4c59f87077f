"""
Make the pictures of the README.

Its one job: run the demo in a terminal of 80 columns, and draw how it began and how it ended; run it again, and draw
what `penia top` shows of it. Run: make screenshots
"""

import asyncio
import os
import pty
import subprocess
import sys
from pathlib import Path

from rich.console import Console
from rich.text import Text

from penia_proxy.cli.client import GatewayClient, GatewayError
from penia_proxy.cli.top import Screen

SECONDS = 25
RATE = 4
PORT = 8113
FIRST, LAST = 14, 44
"""Lines drawn of the beginning and of the end."""
HERE = Path(__file__).parent
TOP_SIZE = 100, 30
TOP_SECONDS = 40
"""Until budgets of the demo are near their limits."""


def shown_by(*command: str) -> bytes:
    """Return what a command writes to a terminal."""
    ours, theirs = pty.openpty()
    env = {**os.environ, "COLUMNS": "80", "TERM": "xterm-256color"}
    child = subprocess.Popen(command, stdout=theirs, stderr=theirs, env=env)
    os.close(theirs)
    shown = b""
    try:
        while piece := os.read(ours, 65536):
            shown += piece
    except OSError:  # Linux says EIO where a terminal's other end was closed
        pass
    child.wait()
    return shown


class Sheet:
    """What `penia top` draws on instead of a terminal."""

    size = TOP_SIZE
    is_ascii = False

    def __init__(self) -> None:
        self.lines: list[Text] = []

    def draw(self, lines: list[Text]) -> None:
        """Keep the last screen."""
        self.lines = lines


async def top(url: str) -> list[Text]:
    """Return what `penia top` shows after a while."""
    while True:
        try:
            GatewayClient(url).get("/ready")
            break
        except GatewayError:
            await asyncio.sleep(0.2)
    screen, sheet = Screen(url), Sheet()
    asyncio.get_running_loop().call_later(TOP_SECONDS, screen.pressed, "q")
    await screen.run(sheet)
    return sheet.lines


def draw(name: str, title: str, width: int, text: Text) -> None:
    """Write a picture of a terminal."""
    console = Console(record=True, width=width, file=Path(os.devnull).open("w"))  # noqa: SIM115 - ends with the process
    console.print(text)
    (HERE / name).write_text(console.export_svg(title=title))


def main() -> None:
    """Draw the demo, and what is seen of it from beside it."""
    demo = (sys.executable, "-m", "penia_proxy", "demo", "--rate", str(RATE), "--port", str(PORT))
    lines = shown_by(*demo, "--for", str(SECONDS)).decode().replace("\r\n", "\n").rstrip("\n").split("\n")
    draw("demo.svg", "make run", 80, Text.from_ansi("\n".join([*lines[:FIRST], "…", *lines[-LAST:]])))
    running = subprocess.Popen([*demo, "--for", str(TOP_SECONDS + 30)], stdout=subprocess.DEVNULL)
    try:
        shown = asyncio.run(top(f"http://127.0.0.1:{PORT}"))
    finally:
        running.terminate()
        running.wait()
    draw("top.svg", "penia top", TOP_SIZE[0], Text("\n").join(shown))


if __name__ == "__main__":
    main()
