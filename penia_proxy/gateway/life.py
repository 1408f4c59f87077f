"""
Say what can become of a hold.

Its one job: the table of a hold's life. What moves it is in `penia_proxy.gateway.holding`.
"""

from enum import StrEnum
from typing import Literal


class State(StrEnum):
    """Where a hold is in its life."""

    HELD = "held"
    """Durable; no byte has left for the provider."""
    SENT = "sent"
    """The provider may have seen the call, and may bill it."""
    DEFERRED = "deferred"
    """The provider has accepted the call, and its bill comes with a later answer."""
    SETTLED = "settled"
    RELEASED = "released"


Move = Literal["send", "defer", "settle", "release"]

TRANSITIONS: dict[tuple[State, Move], State] = {
    (State.HELD, "send"): State.SENT,
    (State.HELD, "release"): State.RELEASED,
    (State.SENT, "settle"): State.SETTLED,
    (State.SENT, "defer"): State.DEFERRED,
    (State.DEFERRED, "settle"): State.SETTLED,
    (State.DEFERRED, "release"): State.RELEASED,
    # The provider was not reached after all, or answered with an error that bills nothing.
    (State.SENT, "release"): State.RELEASED,
    (State.SETTLED, "settle"): State.SETTLED,
    (State.SETTLED, "release"): State.SETTLED,
    (State.RELEASED, "settle"): State.RELEASED,
    (State.RELEASED, "release"): State.RELEASED,
}
"""What is not listed is a defect: money cannot be settled for a call that was never sent."""

ENDED = frozenset({State.SETTLED, State.RELEASED})
