"""
Know who wants to hear what.

Its one job: from what an event is about to those who asked for such events.
Rule: what an event costs grows with those who may want it, never with those who listen to something else. Whoever is
found may still have asked for less: its filter decides.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

Listener = TypeVar("Listener")


@dataclass(frozen=True, slots=True)
class Filter:
    """What is wanted of a channel. None: everything."""

    budgets: frozenset[str] | None = None
    components: frozenset[str] | None = None

    def passes(self, budget_ids: Iterable[str], component: str | None) -> bool:
        """Return whether an event about these is wanted; what is no component's is not narrowed by components."""
        if self.budgets is not None and self.budgets.isdisjoint(budget_ids):
            return False
        return self.components is None or component is None or component in self.components


class Audience(Generic[Listener]):
    """Listeners, by what they asked for."""

    def __init__(self) -> None:
        self._wanting: dict[tuple[str, str, str | None], dict[Listener, None]] = {}

    def add(self, listener: Listener, channel: str, wanted: Filter) -> None:
        """Let it be found."""
        for place in _places(channel, wanted):
            self._wanting.setdefault(place, {})[listener] = None

    def discard(self, listener: Listener, channel: str, wanted: Filter) -> None:
        """Find it no more; ``wanted`` as it was added."""
        for place in _places(channel, wanted):
            there = self._wanting.get(place, {})
            there.pop(listener, None)
            if not there:
                self._wanting.pop(place, None)

    def of(self, channel: str, budget_ids: Sequence[str], component: str | None) -> Collection[Listener]:
        """Return who may want an event about these, each once."""
        places = [(channel, "all", None), (channel, "component", component)]
        places += [(channel, "budget", budget_id) for budget_id in budget_ids]
        found = [there for place in places if (there := self._wanting.get(place))]
        return found[0] if len(found) == 1 else dict.fromkeys(listener for there in found for listener in there)


def _places(channel: str, wanted: Filter) -> Iterator[tuple[str, str, str | None]]:
    """Yield where an event that passes the filter will look."""
    if wanted.budgets is not None:
        yield from ((channel, "budget", budget_id) for budget_id in wanted.budgets)
    elif wanted.components is not None:
        yield from ((channel, "component", component) for component in (*wanted.components, None))
    else:
        yield channel, "all", None
