"""What is held is a bound where it must be, and an expectation where it may be."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penia_proxy.budget.estimate import OUTPUT_COLD_START, OutputHabit, Size, estimate
from penia_proxy.budget.prices import PriceBook
from penia_proxy.budget.usage import Usage

BOOK = PriceBook.load()
AT = datetime(2026, 11, 23, 12, tzinfo=UTC)
MINI = BOOK.card("openai", "gpt-4o-mini", AT)


def test_without_a_card_no_amount_is_known() -> None:
    """The tokens still are, for the record of a crash."""
    known = estimate(Size(text_bytes=500, output_cap=10), None, habit=100)

    assert known.ask.expected_nanos is None
    assert known.ask.most_nanos is None
    assert known.output_tokens == 10


@given(
    text_bytes=st.integers(0, 100_000),
    used_in=st.integers(0, 100_000),
    cap=st.integers(1, 5_000),
    choices=st.integers(1, 4),
    used_out=st.integers(0, 20_000),
    cached=st.floats(0, 1),
    tier=st.sampled_from([None, "default", "priority", "flex"]),
)
def test_no_use_within_the_bound_costs_more_than_was_held(
    text_bytes: int, used_in: int, cap: int, choices: int, used_out: int, cached: float, tier: str | None
) -> None:
    """Whatever split and tier the provider answers, a `never` hold covers it."""
    assert MINI is not None
    size = Size(text_bytes=text_bytes, output_cap=cap, choices=choices)
    ask = estimate(size, MINI, habit=100).ask
    tokens_in = min(used_in, text_bytes)
    read = int(tokens_in * cached)
    usage = Usage(input=tokens_in - read, cache_read=read, output=min(used_out, cap * choices), service_tier=tier)

    assert ask.most_nanos is not None
    assert ask.expected_nanos is not None
    assert MINI.price(usage).total_nanos <= ask.most_nanos
    assert ask.expected_nanos <= ask.most_nanos


@pytest.mark.parametrize(
    ("size", "why"),
    [
        (Size(text_bytes=10, output_cap=5, unbounded_why="it searches the web"), "it searches the web"),
        (Size(text_bytes=10), ""),
        (Size(text_bytes=10, output_cap=5, beyond_body=True), ""),
    ],
)
def test_a_bound_needs_something_that_bounds(size: Size, why: str) -> None:
    """The context window bounds a missing cap and input that is elsewhere; nothing bounds a hosted tool."""
    ask = estimate(size, MINI, habit=100).ask

    assert ask.unbounded_why == why
    assert (ask.most_nanos is None) == bool(why)


def test_a_missing_cap_is_bounded_by_the_window() -> None:
    """So it costs a large hold, not none."""
    capped = estimate(Size(text_bytes=10, output_cap=100), MINI, habit=100).ask.most_nanos
    open_ended = estimate(Size(text_bytes=10), MINI, habit=100).ask.most_nanos

    assert capped is not None
    assert open_ended is not None
    assert open_ended > 100 * capped


def test_counting_lowers_the_expectation_and_never_the_bound() -> None:
    """The byte bound decides far from a limit; near it the text is counted."""
    size = Size(text_bytes=40_000, output_cap=10, messages=1)
    cheap, counted = (estimate(size, MINI, habit=100, text_tokens=tokens) for tokens in (None, 9_000))

    assert counted.input_tokens < cheap.input_tokens
    assert counted.ask.expected_nanos < cheap.ask.expected_nanos  # type: ignore[operator]
    assert counted.ask.most_nanos == cheap.ask.most_nanos


def test_expected_output_is_the_habit_within_the_cap() -> None:
    """Times the choices asked for; embeddings make none."""
    assert Size(text_bytes=1, output_cap=50, choices=3).output_expected(200) == 150
    assert Size(text_bytes=1, choices=2).output_expected(200) == 400
    assert Size(text_bytes=1, no_output=True).output_expected(200) == 0


def test_a_habit_is_the_95th_percentile_of_the_last_answers() -> None:
    """By nearest rank; unknown pairs start at the documented figure; old answers are forgotten."""
    habit = OutputHabit()
    assert habit.p95("a", "m") == OUTPUT_COLD_START
    for tokens in range(1, 101):
        habit.observe("a", "m", tokens)
    assert habit.p95("a", "m") == 95
    assert habit.p95("b", "m") == OUTPUT_COLD_START
    for _ in range(300):
        habit.observe("a", "m", 7)
    assert habit.p95("a", "m") == 7
