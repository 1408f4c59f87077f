"""What is held is a bound where it must be, and an expectation where it may be."""

import math
from dataclasses import replace
from datetime import UTC, datetime
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penia_proxy.budget.estimate import OUTPUT_COLD_START, Known, OutputHabit, Size, estimate
from penia_proxy.budget.models import ModelFacts
from penia_proxy.budget.prices import PriceBook
from penia_proxy.budget.usage import Usage

BOOK = PriceBook.load()
AT = datetime(2026, 11, 23, 12, tzinfo=UTC)
MINI = BOOK.card("openai", "gpt-4o-mini", AT)


def test_without_a_card_no_amount_is_known() -> None:
    """The tokens still are, for the record of a crash."""
    known = estimate(Size(text_bytes=500, output_cap=10), None, Known(100))

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
    ask = estimate(size, MINI, Known(100)).ask
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
    ask = estimate(size, MINI, Known(100)).ask

    assert ask.unbounded_why == why
    assert (ask.most_nanos is None) == bool(why)


def test_a_missing_cap_is_bounded_by_the_models_maximum() -> None:
    """By what it can write at most where that is stated, else by its window: a large hold, not none."""
    window, stated = Known(100), Known(100, ModelFacts(output_tokens_max=16_384))
    capped, by_window, by_maximum, at_maximum = (
        estimate(size, MINI, known).ask.most_nanos
        for size, known in (
            (Size(text_bytes=10, output_cap=100), stated),
            (Size(text_bytes=10), window),
            (Size(text_bytes=10), stated),
            (Size(text_bytes=10, output_cap=16_384), window),
        )
    )

    assert capped is not None
    assert by_window is not None
    assert by_maximum is not None
    assert by_window > by_maximum > 100 * capped
    assert by_maximum == at_maximum


def test_a_cap_is_believed_over_the_stated_maximum() -> None:
    """The table can be older than the model: a caller who asks for more may get more."""
    asked = Size(text_bytes=10, output_cap=50_000)

    assert (
        estimate(asked, MINI, Known(1, ModelFacts(output_tokens_max=16_384))).ask == estimate(asked, MINI, Known(1)).ask
    )


def test_stated_input_bounds_where_the_catalogue_says_nothing() -> None:
    """A model without a known window, an override's too, is bounded by its facts, and without those by nothing."""
    assert MINI is not None
    unknown = replace(MINI, context_window=None)
    elsewhere = Size(text_bytes=10, output_cap=5, beyond_body=True)

    bounded = estimate(elsewhere, unknown, Known(1, ModelFacts(context_window=9_000))).ask
    assert bounded.most_nanos == unknown.most(9_000, 5)
    assert estimate(elsewhere, unknown, Known(1)).ask.unbounded_why
    assert estimate(Size(text_bytes=10), unknown, Known(1)).ask.unbounded_why


def test_experience_corrects_the_expectation_and_never_the_bound() -> None:
    """Bytes and counted tokens have a factor each; neither raises what is expected above the bound."""
    size = Size(text_bytes=40_000, output_cap=10)
    raw = estimate(size, MINI, Known(100))
    by_bytes = estimate(size, MINI, Known(100, bytes_factor=0.25))
    counted = estimate(size, MINI, Known(100, bytes_factor=0.25, counted_factor=1.5), text_tokens=9_000)
    absurd = estimate(size, MINI, Known(100, bytes_factor=50))

    assert (raw.input_raw, raw.counted, counted.counted) == (raw.input_tokens, False, True)
    assert by_bytes.input_raw == raw.input_raw
    assert by_bytes.input_tokens == math.ceil(raw.input_tokens * 0.25)
    assert counted.input_raw is not None
    assert counted.input_tokens == math.ceil(counted.input_raw * 1.5)
    assert absurd.input_tokens == raw.input_tokens
    assert {one.ask.most_nanos for one in (raw, by_bytes, counted, absurd)} == {raw.ask.most_nanos}


def test_input_that_is_elsewhere_teaches_nothing() -> None:
    """Its estimate is the window, which says nothing of the request's own size, and is not corrected."""
    elsewhere = estimate(Size(text_bytes=10, output_cap=5, beyond_body=True), MINI, Known(1, bytes_factor=0.1))

    assert MINI is not None
    assert (elsewhere.input_raw, elsewhere.input_tokens) == (None, MINI.context_window)


def test_counting_lowers_the_expectation_and_never_the_bound() -> None:
    """The byte bound decides far from a limit; near it the text is counted."""
    size = Size(text_bytes=40_000, output_cap=10, messages=1)
    cheap, counted = (estimate(size, MINI, Known(100), text_tokens=tokens) for tokens in (None, 9_000))

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


def test_a_batch_of_embeddings_is_not_bounded_by_one_window() -> None:
    """Each input has the window of its own; the bytes bound them all."""
    card = BOOK.card("openai", "text-embedding-3-small", AT)

    assert card is not None
    assert estimate(Size(text_bytes=300_000, no_output=True), card, Known(1)).input_tokens >= 300_000


def test_a_window_does_not_bound_a_model_that_is_priced_beyond_it() -> None:
    """A longer context can be asked for, at the price of its tier."""
    card = BOOK.card("anthropic", "claude-sonnet-4-5", AT)

    assert card is not None
    assert card.highest_tier_above >= (card.context_window or 0)
    ask = estimate(Size(text_bytes=900_000, output_cap=10), card, Known(1, ModelFacts(context_window=200_000))).ask
    assert ask.most_nanos is not None
    assert ask.most_nanos >= card.price(Usage(input=900_000, output=10)).total_nanos


@pytest.mark.parametrize("kind", ["output", "output_audio"])
def test_what_an_answer_of_a_session_makes_is_its_habit(kind: Literal["output", "output_audio"]) -> None:
    """At the price of what it is made of, at most the caller's cap; and no bound is known: it begins by itself."""
    card = BOOK.card("openai", "gpt-realtime", AT)
    assert card is not None
    heard = Usage(input=100, input_audio=50)
    for cap, output in ((None, 200), (20, 20)):
        size = Size(text_bytes=0, output_cap=cap, presumed=heard, presumed_output=kind, unbounded_why="it may")
        estimated = estimate(size, card, Known(200))
        usage = replace(heard, output=output) if kind == "output" else replace(heard, output_audio=output)
        assert estimated.ask.expected_nanos == card.price(usage).total_nanos
        assert (estimated.input_tokens, estimated.output_tokens) == (150, output)
        assert (estimated.ask.most_nanos, estimated.input_raw) == (None, None)
