"""
The fault matrix as a run of its tests has found it: printed at the end of ``make faults``.

Rule: a row says what its tests have reported, and nothing that they have not.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.faults.matrix import BY_NAME, MATRIX, Row

Rounds = Callable[..., None]


@pytest.fixture
def rounds(request: pytest.FixtureRequest) -> Rounds:
    """Return a function by which a test says how often it did what it does, and what it found."""

    def say(count: int, found: str = "") -> None:
        request.node.user_properties.append(("rounds", (count, found)))

    return say


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let each test's report carry its rows."""
    for item in items:
        for mark in item.iter_markers("fault"):
            item.user_properties += [("fault", BY_NAME[name].name) for name in mark.args]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print the table where the matrix is what was asked for."""
    if config.option.markexpr != "fault":
        return
    reports: dict[str, list[pytest.TestReport]] = defaultdict(list)
    for outcome in ("passed", "failed", "error", "skipped"):
        for report in terminalreporter.getreports(outcome):
            for name in _said(report, "fault"):
                reports[name].append(report)
    terminalreporter.write_line("")
    for cells in [
        ("row", "what was done", "what must be true afterwards", "tests", "rounds", "result"),
        ("---", "---", "---", "---:", "---:", "---"),
        *(_cells(row, reports[row.name]) for row in MATRIX),
    ]:
        terminalreporter.write_line(f"| {' | '.join(cells)} |")
    terminalreporter.write_line("")
    for line in _notes(reports):
        terminalreporter.write_line(f"* {line}")


def _cells(row: Row, reports: list[pytest.TestReport]) -> tuple[str, ...]:
    passed = [report for report in reports if report.passed]
    count = sum(max(1, sum(count for count, _ in _said(report, "rounds"))) for report in passed)
    broken = sum(report.failed for report in reports)
    result = "passed" if passed else "not tried"
    if broken:
        result = f"FAILED ({broken})"
    numbers = (str(len(reports)), f"{count:,}") if reports else ("", "")
    return row.name, row.fault, row.afterwards, *numbers, result


def _notes(reports: dict[str, list[pytest.TestReport]]) -> Iterator[str]:
    for row in MATRIX:
        found = [text for report in reports[row.name] for _, text in _said(report, "rounds") if text]
        skipped = {str(report.longrepr[2]) for report in reports[row.name] if report.skipped and report.longrepr}  # type: ignore[index]
        yield from (f"**{row.name}**: {text}." for text in found)
        yield from (f"**{row.name}**, not tried here: {text.removeprefix('Skipped: ')}." for text in sorted(skipped))
        if row.not_here:
            yield f"**{row.name}**, not tried: {row.not_here}."


def _said(report: pytest.TestReport, what: str) -> list[Any]:
    return [value for name, value in getattr(report, "user_properties", ()) if name == what]
