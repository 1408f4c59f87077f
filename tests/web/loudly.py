"""
Say at the end of a run that tests in a browser were skipped, where they were.

Rule: what was not tried must not look as if it had passed.
"""

import pytest

from tests.web.chromium import MISSING


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Count the tests that found no browser."""
    skipped = [
        report
        for report in terminalreporter.getreports("skipped")
        if report.longrepr and MISSING in str(report.longrepr[2])
    ]
    if skipped:
        terminalreporter.write_sep("!", f"{len(skipped)} tests in a browser were NOT run", red=True, bold=True)
        terminalreporter.write_line(MISSING)
