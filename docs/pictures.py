"""
Make the pictures of the README.

Its one job: run the demo in a terminal of 80 columns, and draw how it began and how it ended. Run: make screenshots
"""

import os
import pty
import subprocess
import sys
from pathlib import Path

from rich.console import Console
from rich.text import Text

SECONDS = 25
RATE = 4
PORT = 8113
FIRST, LAST = 14, 44
"""Lines drawn of the beginning and of the end."""
TARGET = Path(__file__).parent / "demo.svg"


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


def main() -> None:
    """Draw the demo."""
    demo = ("-m", "penia_proxy", "demo", "--for", str(SECONDS), "--rate", str(RATE), "--port", str(PORT))
    lines = shown_by(sys.executable, *demo).decode().replace("\r\n", "\n").rstrip("\n").split("\n")
    console = Console(record=True, width=80, file=Path(os.devnull).open("w"))  # noqa: SIM115 - ends with the process
    console.print(Text.from_ansi("\n".join([*lines[:FIRST], "…", *lines[-LAST:]])))
    TARGET.write_text(console.export_svg(title="make run"))


if __name__ == "__main__":
    main()
