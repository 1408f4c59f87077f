"""
Write figures for people.

Its one job: money, shares, counts and tables as a terminal shows them, in 80 columns.
Rules: names come from callers, so they are never read as markup, and control characters in them never reach the
terminal. An unknown cost is said, never shown as 0.
"""

import json
from typing import Any, Literal

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

SMALL_USD = 0.01
"""Below a cent, six decimals: a call to a small model costs a few millionths."""


def console(*, stderr: bool = False) -> Console:
    """Return a console on stdout, or stderr, as it is now: colour on a terminal, plain text in a pipe."""
    return Console(highlight=False, emoji=False, stderr=stderr)


def print_json(answer: Any) -> None:
    """Print an answer for scripts, as the gateway gave it."""
    print(json.dumps(answer, indent=2, ensure_ascii=False))  # noqa: T201 - what stdout is for


def money(usd: float | None) -> str:
    """Return ``$1,234.50``, ``$0.05``, ``$0.0421`` or ``$0.000012``, whichever shows what matters."""
    if usd is None:
        return "–"
    sign, usd = ("-", -usd) if usd < 0 else ("", usd)
    if usd >= 1 or usd == round(usd, 2):
        return f"{sign}${usd:,.2f}"
    return f"{sign}${usd:.4f}" if usd >= SMALL_USD else f"{sign}${usd:.6f}"


def share(percent: float | None) -> str:
    """Return a percentage (0–100) without decimals, and never 100 for what is less."""
    if percent is None:
        return "–"
    return "99%" if 99 <= percent < 100 else f"{percent:.0f}%"


def count(number: float) -> str:
    """Return a whole number with separators."""
    return f"{number:,.0f}"


def duration(seconds: float) -> str:
    """Return ``42 s``, ``3 min``, ``5 h`` or ``12 d``."""
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def name(text: object) -> Text:
    """Return a name that a caller chose, fit for a terminal."""
    return Text("".join(character if character.isprintable() else "�" for character in str(text)))


def cell(markup: str, text: object = "") -> Text:
    """Return a cell in a style of ours: ``cell("red", …)``."""
    return Text(str(text), style=markup)


def by_use(percent: float | None) -> str:
    """Return the colour of a limit that is used to ``percent``."""
    if percent is None:
        return "dim"
    return "red" if percent >= 100 else "yellow" if percent >= 80 else "green"


def table(*columns: str | tuple[str, Literal["right"]]) -> Table:
    """Return an empty table; a column of figures is ``(title, "right")``."""
    made = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for column in columns:
        if isinstance(column, tuple):
            made.add_column(escape(column[0]), justify="right", no_wrap=True)
        else:
            made.add_column(escape(column), overflow="fold")
    return made
