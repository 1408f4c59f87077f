"""
What a dialect says about a session: one WebSocket, many answers, each with a bill of its own.

Its one job: the values between a session's frames and the holds of its turns, and the interface that every kind of
session implements.
Rules: whatever can begin an answer is held before it can: a client's frame before it is passed on, an answer that may
begin by itself from the moment at which it may. A frame is read and never changed. Nothing of a frame is kept but
counts, the text of an answer that runs, and names of models.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

from penia_proxy.budget.usage import Usage
from penia_proxy.errors import PeniaError
from penia_proxy.wire.call import Call, Reading
from penia_proxy.wire.reported import Passed


def in_writing(usage: Usage, tokens: int) -> Usage:
    """Return a usage with so many more tokens of text."""
    return replace(usage, output=usage.output + tokens)


def in_sound(usage: Usage, tokens: int) -> Usage:
    """Return a usage with so many more tokens of sound, which are dearer than those of text."""
    return replace(usage, output_audio=usage.output_audio + tokens)


@dataclass(slots=True, eq=False)
class Turn:
    """One answer within a session: what is held for it, and what of it has passed."""

    call: Call
    reading: Callable[[], Reading]
    """Return what is known of it; may be asked at any time, also of an answer that was cut."""
    begun: bool = False
    """Whether the provider may be at work on it. A turn that never began costs nothing."""
    passed: Passed = field(default_factory=Passed)
    """The text of its answer, where that has a price."""
    sound: int = 0
    """What has passed of sound, in what it is billed by: tokens or seconds."""
    sound_at_once: int = 0
    """The most of it that came at once."""
    further: Callable[[Usage, int], Usage] = in_writing
    """Return a usage with so much more of the dearest that can come: tokens, or seconds of sound."""

    @property
    def growing(self) -> "Turn":
        """The turn itself: it is followed as it passes."""
        return self

    def sounded(self, sound: int) -> None:
        """Take how much sound has passed in all."""
        self.sound_at_once = max(self.sound_at_once, sound - self.sound)
        self.sound = sound


@dataclass(frozen=True, slots=True)
class Aside:
    """What another model billed beside the turns, known only when it has happened: the transcript of what was said."""

    model: str
    usage: Usage
    key: str | None
    """The provider's own name of what it was about, where it gave one: its bill counts once."""
    reported: bool = True
    """Whether the provider stated the usage; else it is an estimate."""


@dataclass(frozen=True, slots=True)
class Heard:
    """What a provider's frame means for the money."""

    ended: tuple[Turn, ...] = ()
    """Turns whose last word this was."""
    needed: Turn | None = None
    """A turn to hold now: its answer may begin, or has begun, by itself."""
    asides: tuple[Aside, ...] = ()


NOTHING = Heard()


class Session(Protocol):
    """One connection's understanding of its frames. Never raises on a provider's; memory is bounded."""

    def opening(self) -> Turn | None:
        """Return the turn to hold before the connection is made. Raises InvalidRequest for what cannot be metered."""
        ...

    def asked(self, frame: bytes) -> Turn | None:
        """
        Take a client's frame; return the turn to hold before it is passed on.

        Raises InvalidRequest for a frame that cannot be metered: it is not passed on, and changes nothing.
        """
        ...

    def withdrawn(self, turn: Turn) -> None:
        """Take that the turn of the last frame asked could not be held: its frame is not passed on."""
        ...

    def heard(self, frame: bytes) -> Heard:
        """Take a provider's frame."""
        ...

    def cancelling(self, turn: Turn) -> bytes | None:
        """Return the frame that ends a turn at its provider; None where there is none, or it has not begun there."""
        ...

    def refusal(self, error: PeniaError, penia: Mapping[str, object], frame: bytes | None) -> bytes | None:
        """
        Return an event that says no in the provider's own shape; None where the protocol has none.

        ``frame`` is what was refused; None where no frame asked for it. Without an event the connection is closed.
        """
        ...
