"""
The table that docs/benchmarks.md quotes: what was done to the gateway, how often, and what was left.

Rule: a row is written only by a test that has checked it.
"""

from collections.abc import Callable

import pytest

from tests.http.conftest import start  # noqa: F401 - a fixture of theirs, here too

Row = Callable[..., None]
_ROWS = pytest.StashKey[list[tuple[str, str, str]]]()


@pytest.fixture
def row(request: pytest.FixtureRequest) -> Row:
    """Return a function that adds a row: the fault, how often, and what was found."""
    rows = request.config.stash.setdefault(_ROWS, [])

    def add(fault: str, rounds: int, found: str) -> None:
        rows.append((fault, f"{rounds:,}", found))

    return add


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print the table at the end of a run."""
    rows = config.stash.get(_ROWS, [])
    if rows:
        terminalreporter.write_line("")
        for cells in [("fault", "rounds", "found afterwards"), ("---", "---:", "---"), *rows]:
            terminalreporter.write_line(f"| {' | '.join(cells)} |")
