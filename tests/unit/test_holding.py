"""A hold has one life, and its table says which."""

import itertools

from penia_proxy.gateway.life import ENDED, TRANSITIONS, State

MOVES = ("send", "settle", "release")


def test_nothing_leaves_an_ending() -> None:
    """Ending twice equals once."""
    for state, move in itertools.product(ENDED, ("settle", "release")):
        assert TRANSITIONS[state, move] is state


def test_money_is_settled_only_for_what_was_sent() -> None:
    """A hold that was never sent can only be released."""
    assert (State.HELD, "settle") not in TRANSITIONS
    assert TRANSITIONS[State.HELD, "release"] is State.RELEASED


def test_a_call_is_sent_once() -> None:
    """And never after its hold has ended."""
    assert [state for state in State if (state, "send") in TRANSITIONS] == [State.HELD]


def test_every_state_but_the_endings_can_end() -> None:
    """No hold can get stuck: each state leads to an ending by one or two moves."""
    for state in set(State) - ENDED:
        reached = {TRANSITIONS[state, move] for move in MOVES if (state, move) in TRANSITIONS}
        assert reached & ENDED or any(TRANSITIONS.get((after, "settle")) in ENDED for after in reached)
