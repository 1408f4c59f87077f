"""
Notice when the wall clock jumps.

Its one job: compare the wall clock with one that never jumps, and remember by how much they came apart.
Rule: nothing depends on it. Waits are monotonic, and windows follow the wall wherever it goes; but people should know
why a day began twice.
"""

import logging
from datetime import timedelta

from penia_proxy.clock import Clock

log = logging.getLogger(__name__)

LOOK_S = 1.0
"""How often to look."""

JUMP_S = 2.0
"""Apart by so much is a jump."""

SLEW = 0.001
"""What a clock that is being corrected gains or loses, of the time that passes: NTP's own is half of it (RFC 5905)."""


class Jumps:
    """What the wall clock has done since the start."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._wall, self._monotonic = clock.now(), clock.monotonic()
        self._apart_s = 0.0
        self.count = 0
        self._told_at = 0
        self.last_s: float | None = None
        """Seconds of the last jump; negative: back. A machine that slept has jumped ahead."""

    def tell(self) -> None:
        """Look, and log a jump; of a clock that stands still, which jumps without end, fewer and fewer."""
        jump_s = self.look()
        if jump_s is not None and self.count >= self._told_at:
            self._told_at = 2 * self.count
            log.warning("the wall clock has jumped by %+.1f s; budgets' windows follow it", jump_s)

    def look(self) -> float | None:
        """Return by how many seconds the clock has jumped, None if it has not."""
        wall, monotonic = self._clock.now(), self._clock.monotonic()
        passed = monotonic - self._monotonic
        apart = (wall - self._wall) / timedelta(seconds=1) - passed
        self._wall, self._monotonic = wall, monotonic
        if abs(apart) > passed * SLEW:  # a clock that stands still comes apart by as much as passes
            self._apart_s += apart
        if abs(self._apart_s) < JUMP_S:
            return None
        self.count += 1
        self.last_s, self._apart_s = round(self._apart_s, 3), 0.0
        return self.last_s
