"""
Remember what lasts from one request to the next: stored answers, files, and work that goes on after its request.

Rules: a piece of work is moved on by being read, never by time, so that a test knows what each reading says; it is
billed once, when it begins, and not at all when it is cancelled or fails. Bounded: the oldest is forgotten first.
It must not know any provider's shapes, nor HTTP.
"""

from collections import OrderedDict
from typing import Literal, TypeVar

from penia_proxy.sandbox.bill import Charge
from penia_proxy.sandbox.refused import Refused
from penia_proxy.sandbox.words import derive

KEPT_MAX = 10_000
"""Things of all kinds that are kept."""

State = Literal["queued", "running", "done", "failed", "cancelled"]

Kept = TypeVar("Kept")


class Work:
    """Something that is under way until it was read so many times."""

    def __init__(self, charges: list[Charge], *, polls: int, fails: bool = False) -> None:
        """``charges`` is the very list that the bill shows."""
        self.charges = charges
        self.state: State = "queued"
        self._left = polls
        self._end: State = "failed" if fails else "done"
        if fails:
            charges.clear()

    @property
    def ended(self) -> bool:
        return self.state in ("done", "failed", "cancelled")

    def look(self) -> State:
        """Return how far it is, and take it a step on: one reading is one step."""
        if not self.ended:
            self.state = "running" if self._left else self._end
            self._left -= 1
        return self.state

    def finish(self) -> None:
        """End it now, as a reader who stays with it sees it end."""
        if not self.ended:
            self.state = self._end

    def cancel(self) -> None:
        """Stop it, unless it has ended; what is stopped is not billed."""
        if not self.ended:
            self.state = "cancelled"
            self.charges.clear()


class Store:
    """What one sandbox keeps, by id."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, object] = OrderedDict()
        self._seeds: OrderedDict[bytes, int] = OrderedDict()

    def fresh(self, seed: bytes) -> bytes:
        """Return the seed, and another one each further time: two things that are kept never have one id."""
        times = self._seeds.pop(seed, 0)
        self._seeds[seed] = times + 1
        if len(self._seeds) > KEPT_MAX:
            self._seeds.popitem(last=False)
        return derive(seed, "again", times) if times else seed

    def keep(self, key: str, thing: object) -> None:
        """Keep it under its id."""
        self._kept[key] = thing
        if len(self._kept) > KEPT_MAX:
            self._kept.popitem(last=False)

    def get(self, key: str, kind: type[Kept]) -> Kept:
        """Return what is kept under the id. Raises Refused where there is nothing of that kind."""
        thing = self._kept.get(key)
        if not isinstance(thing, kind):
            raise Refused(404, f"Nothing is stored under '{key[:64]}'.", param="id", code="not_found")
        return thing

    def drop(self, key: str, kind: type[object]) -> None:
        """Forget it. Raises Refused where there is nothing of that kind."""
        self.get(key, kind)
        del self._kept[key]
