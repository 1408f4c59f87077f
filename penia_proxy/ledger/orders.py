"""
Put records in an order.

Its one job: the orders in which usage records can be listed, and the cursors that go on in one.
Rules: every order is total: what is equal is told apart by `seq`, in the same direction. A cost that is not known is
less than any that is. A cursor names its order, and is good for no other.
"""

import base64
import binascii
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import RowMapping

from penia_proxy.clock import from_iso, iso
from penia_proxy.errors import InvalidRequest

Sort = Literal["-timestamp", "timestamp", "-cost", "cost"]
"""As the API names them; `-` is descending."""
Position = tuple[Any, int]
"""What a record is sorted by, and its `seq`."""

SEQ_MAX = 2**63 - 1
_UNKNOWN = "?"


@dataclass(frozen=True, slots=True)
class Order:
    """An order of usage records."""

    name: Sort
    column: Literal["timestamp", "cost_nanos"]
    """Of `usage_records`."""
    read: Callable[[str], Any]
    """The column's value of its text; raises ValueError."""

    @property
    def descending(self) -> bool:
        return self.name.startswith("-")

    @property
    def is_of_time(self) -> bool:
        """Whether a month comes before or after another as a whole."""
        return self.column == "timestamp"

    def position(self, row: RowMapping) -> Position:
        """Return where a record is."""
        return row[self.column], row["seq"]

    def rank(self, row: RowMapping) -> tuple[bool, Any, int]:
        """Return what rows of any number of ledgers are sorted by: ascending, so reverse it where `descending`."""
        value = row[self.column]
        return (False, 0, row["seq"]) if value is None else (True, value, row["seq"])

    def cursor_of(self, row: RowMapping) -> str:
        """Return the cursor of what follows a record."""
        value = _UNKNOWN if row[self.column] is None else row[self.column]
        return base64.urlsafe_b64encode(f"{self.name}/{value}/{row['seq']}".encode()).decode().rstrip("=")

    def position_of(self, cursor: str) -> Position:
        """Return where a cursor goes on. Raises InvalidRequest for one that is not ours, or of another order."""
        try:
            text = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode("ascii")
            name, value, number = text.split("/")
            seq = int(number)
        except (ValueError, binascii.Error) as error:
            raise _not_ours() from error
        if name not in ORDERS or not 0 <= seq <= SEQ_MAX:
            raise _not_ours()
        if name != self.name:
            raise InvalidRequest(f"cursor: it goes on in the order of sort={name}, and not of sort={self.name}")
        try:
            return (None if value == _UNKNOWN and self.column == "cost_nanos" else self.read(value)), seq
        except ValueError as error:
            raise _not_ours() from error


def _not_ours() -> InvalidRequest:
    return InvalidRequest("cursor: not one that a list answered with")


def _instant(text: str) -> str:
    return iso(from_iso(text))


def _nanos(text: str) -> int:
    nanos = int(text)
    if abs(nanos) > SEQ_MAX:
        raise ValueError("no cost is so large")
    return nanos


ORDERS: Mapping[Sort, Order] = {
    "-timestamp": Order("-timestamp", "timestamp", _instant),
    "timestamp": Order("timestamp", "timestamp", _instant),
    "-cost": Order("-cost", "cost_nanos", _nanos),
    "cost": Order("cost", "cost_nanos", _nanos),
}
NEWEST_FIRST = ORDERS["-timestamp"]
OLDEST_FIRST = ORDERS["timestamp"]
