"""Who is found for an event, against asking everybody."""

from hypothesis import given
from hypothesis import strategies as st

from penia_proxy.watch.audience import Audience, Filter

NAMES = st.sampled_from(["a", "b", "c"])
CHANNELS = st.sampled_from(["usage", "budget_updates"])
FILTERS = st.builds(Filter, st.none() | st.frozensets(NAMES, min_size=1), st.none() | st.frozensets(NAMES, min_size=1))


@given(
    wishes=st.lists(st.tuples(CHANNELS, FILTERS), max_size=12),
    gone=st.sets(st.integers(0, 11)),
    channel=CHANNELS,
    budget_ids=st.lists(NAMES, unique=True),
    component=st.none() | NAMES,
)
def test_whoever_wants_an_event_is_found_once(
    wishes: list[tuple[str, Filter]], gone: set[int], channel: str, budget_ids: list[str], component: str | None
) -> None:
    """Exactly the listeners whose filters pass are left once their filters have been asked, none of them twice."""
    audience: Audience[int] = Audience()
    for number, (where, wanted) in enumerate(wishes):
        audience.add(number, where, wanted)
    for number in gone & set(range(len(wishes))):
        audience.discard(number, *wishes[number])

    found = list(audience.of(channel, budget_ids, component))

    asked = {number for number in range(len(wishes)) if number not in gone and wishes[number][0] == channel}
    assert len(found) == len(set(found))
    assert {number for number in found if wishes[number][1].passes(budget_ids, component)} == {
        number for number in asked if wishes[number][1].passes(budget_ids, component)
    }


def test_listeners_of_something_else_are_not_asked() -> None:
    """An event finds nobody who watches another budget or another component."""
    audience: Audience[int] = Audience()
    audience.add(1, "usage", Filter(budgets=frozenset({"b_other"})))
    audience.add(2, "usage", Filter(components=frozenset({"another"})))
    audience.add(3, "budget_updates", Filter())

    assert not audience.of("usage", ["b_1"], "rhetor")


def test_nothing_is_kept_of_who_has_left() -> None:
    """After the last has left there is no trace of what anybody asked for."""
    audience: Audience[int] = Audience()
    wishes = [Filter(), Filter(budgets=frozenset("ab")), Filter(components=frozenset("ab"))]
    for number, wanted in enumerate(wishes):
        audience.add(number, "usage", wanted)
    for number, wanted in enumerate(wishes):
        audience.discard(number, "usage", wanted)

    assert not audience._wanting
