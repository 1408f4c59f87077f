"""
Make and check identifiers.

Its one job: names for records, budgets and requests that are unique without coordination.
Rule: an identifier that a caller chose is checked here before it is used anywhere.
"""

import os
import re

REQUEST_ID = re.compile(r"(?![ap]_[0-9a-f]{32}$)[A-Za-z0-9._:-]{1,64}")
"""
What a caller may send as ``X-Penia-Request-Id`` or ``record_id``: no control characters, no markup, bounded.

And no name of a correction: those follow from what they correct (`gateway.charging`, `budget.repricing`), so whoever
had one first could keep a bill from being booked.
"""

COMPONENT = re.compile(r"[A-Za-z0-9._:/ @+-]{1,128}")
"""A component's, task type's or tag's name at the proxy's edge, where it travels in a header."""


_BYTES = 16
_DRAWN_AT_A_TIME = 256
_drawn: list[str] = []
"""Random bits for ids to come: asking the system gives Python's lock away, and a busy ledger has it for a while."""


def new_id(prefix: str) -> str:
    """Return ``prefix_`` and 128 random bits in hex, e.g. ``r_9f…`` for a record, ``b_…`` for a budget."""
    try:
        bits = _drawn.pop()
    except IndexError:
        bits, *more = (os.urandom(_BYTES).hex() for _ in range(_DRAWN_AT_A_TIME))
        _drawn.extend(more)
    return f"{prefix}_{bits}"
