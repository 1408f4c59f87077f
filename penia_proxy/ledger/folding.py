"""
Fold rollups into days, months and years.

Its one job: hours that are over are added to `folds` and `folds_by_name`, a few cells at a time, in the order of their
keys; and whoever moves a cell that is folded already moves these with it.
A cell is added to the sums of all records, to those of its cost basis, of each budget that was charged, and of both.
Rules: `folded_until` is the last cell that was added, and moves in the same transaction: after a crash at any moment a
cell is added or is not. An hour waits until the calls admitted in it have ended, nearly all of them, so that
settlements hardly ever pay for this. A ledger of an earlier version is folded in the same way, while it is used.
"""

import sqlite3
from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any

from penia_proxy.ledger import statements as sql
from penia_proxy.ledger.rows import RollupKey
from penia_proxy.ledger.schema import rollups

CELLS_AT_ONCE = 12
"""Three milliseconds, which a call that comes meanwhile waits for."""
GRACE = timedelta(minutes=10)
"""How long after its end an hour is left alone."""
_KEY = tuple(column.name for column in rollups.primary_key)


def folded_until(connection: sqlite3.Connection) -> RollupKey:
    """Return the key of the last cell that is folded."""
    key: RollupKey = connection.execute(sql.FOLDED_UNTIL).fetchone()
    return key


def fold(connection: sqlite3.Connection, after: RollupKey, closed: str) -> RollupKey | None:
    """Fold the next cells of hours before ``closed``; return the key of the last of them, None where there is none."""
    bounds = _named("after", after)
    cells = connection.execute(sql.NEXT_CELLS, {**bounds, "closed": closed}).fetchmany(CELLS_AT_ONCE)
    if not cells:
        return None
    until: RollupKey = cells[-1]
    bounds |= _named("until", until)
    for statement in sql.FOLD_CELLS:
        connection.execute(statement, bounds)
    connection.execute(sql.FOLDED_TO, _named("until", until))
    return until


def fold_again(connection: sqlite3.Connection, moved: Iterable[Mapping[str, Any]]) -> None:
    """Add what was added to cells that are folded."""
    for row in moved:
        for statement in sql.FOLD_ONE:
            connection.execute(statement, row)


def _named(before: str, key: RollupKey) -> dict[str, Any]:
    return dict(zip((f"{before}_{name}" for name in _KEY), key, strict=True))
