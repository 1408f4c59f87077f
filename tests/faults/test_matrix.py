"""Every row of the fault matrix is proven by a test, or says why it is not."""

import ast
from pathlib import Path

from tests.faults.matrix import BY_NAME, MATRIX

TESTS = Path(__file__).parent.parent


def marked() -> set[str]:
    """Return the rows that tests are marked with."""
    calls = (
        node
        for path in TESTS.rglob("test_*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "fault"
    )
    return {argument.value for call in calls for argument in call.args if isinstance(argument, ast.Constant)}


def test_each_row_has_a_test_or_a_reason() -> None:
    """None is left out quietly, and no mark names a row that is not there."""
    proven = marked()

    assert proven <= BY_NAME.keys()
    assert [row.name for row in MATRIX if row.name not in proven and not row.not_here] == []


def test_a_row_is_there_once() -> None:
    """What must be true is said of each that is tried."""
    assert len(BY_NAME) == len(MATRIX)
    proven = marked()
    assert [row.name for row in MATRIX if row.name in proven and not row.afterwards] == []


def test_the_table_that_is_published_has_these_rows() -> None:
    """What docs/reliability.md says was tried is what is tried."""
    published = (TESTS.parent / "docs" / "reliability.md").read_text()

    assert [row.name for row in MATRIX if f"| {row.name} | {row.fault} | {row.afterwards} |" not in published] == []
