"""Estimates learn from what is reported, boundedly, and say how good they are."""

from dataclasses import replace
from typing import Any

import pytest

from penia_proxy.budget.calibration import (
    ESTIMATE,
    KEYS_MAX,
    SAMPLES,
    SAMPLES_MIN,
    Calibration,
    Outcome,
    Spread,
)
from penia_proxy.budget.engine import Ask
from penia_proxy.budget.estimate import Estimate

USUAL = Outcome(
    input_raw=100,
    input_estimated=100,
    counted=False,
    expected_nanos=50,
    plain_nanos=50,
    input_tokens=25,
    cost_nanos=25,
)


def taught(times: int, **said: Any) -> Calibration:
    """Return a calibration that has seen a call come out like this, so often."""
    calibration = Calibration()
    for _ in range(times):
        calibration.observe("p", "m", replace(USUAL, **said))
    return calibration


def test_few_samples_correct_nothing() -> None:
    """The factor is 1 until enough is known, and then what was reported ÷ estimated."""
    assert taught(SAMPLES_MIN - 1).factors("p", "m").by_bytes == 1
    assert taught(SAMPLES_MIN).factors("p", "m").by_bytes == 0.25


def test_bytes_and_counts_are_corrected_apart() -> None:
    """Experience with counted tokens says nothing about bytes, and that with one model nothing about another."""
    calibration = taught(SAMPLES_MIN, input_tokens=130, counted=True)

    assert calibration.factors("p", "m").by_count == 1.3
    assert calibration.factors("p", "m").by_bytes == 1
    assert calibration.factors("p", "other").by_count == calibration.factors("other", "m").by_count == 1


def test_the_factor_is_the_95th_percentile_of_the_last_samples() -> None:
    """One call in twenty may be larger than expected; what is old is forgotten."""
    calibration = Calibration()
    for percent in range(1, 101):
        calibration.observe("p", "m", replace(USUAL, input_tokens=percent))
    assert calibration.factors("p", "m").by_bytes == 0.95
    for _ in range(SAMPLES):
        calibration.observe("p", "m", replace(USUAL, input_tokens=20))
    assert calibration.factors("p", "m").by_bytes == 0.2


@pytest.mark.parametrize(("raw", "reported"), [(None, 50), (0, 50), (100, 0)])
def test_what_cannot_be_compared_teaches_nothing(raw: int | None, reported: int) -> None:
    """No raw estimate, or no reported input, is no ratio."""
    calibration = taught(SAMPLES_MIN, input_raw=raw, input_tokens=reported, plain_nanos=None, cost_nanos=0)

    (line,) = calibration.accuracies()
    assert (line.input_tokens, line.cost) == (Spread(0, None, None), Spread(0, None, None))
    assert (line.bytes_factor, line.cost_factor) == (1, 1)


def test_the_error_is_of_the_estimate_as_it_was_made() -> None:
    """Estimated ÷ reported, of the corrected tokens and of the money, by provider and model."""
    calibration = Calibration()
    for cost in (25, 50, 100):
        calibration.observe("p", "z", replace(USUAL, input_raw=400, input_tokens=80, cost_nanos=cost))
    calibration.observe("p", "a", replace(USUAL, expected_nanos=None, cost_nanos=None))

    first, second = calibration.accuracies()
    assert (first.model, second.model) == ("a", "z")
    assert second.input_tokens == Spread(3, 1.25, 1.25)
    assert second.cost == Spread(3, 1, 2)
    assert first.cost == Spread(0, None, None)


def test_a_habit_of_caches_is_learned() -> None:
    """Calls that cost half of their tokens' plain price are expected to, by the 95th percentile and per model."""
    calibration = taught(SAMPLES - 6)
    for _ in range(6):
        calibration.observe("p", "m", replace(USUAL, cost_nanos=40))

    assert calibration.factors("p", "m").cost == 0.5
    calibration.observe("p", "m", replace(USUAL, cost_nanos=40))
    assert calibration.factors("p", "m").cost == 0.8
    assert calibration.factors("p", "other").cost == taught(SAMPLES_MIN - 1).factors("p", "m").cost == 1


@pytest.mark.parametrize("raw", [None, 400])
@pytest.mark.parametrize("counted", [True, False])
def test_a_record_keeps_what_was_learned_of_it(raw: int | None, *, counted: bool) -> None:
    """A start learns from records what the process before it learned from the calls."""
    estimate = Estimate(Ask(7, None), 90, 10, input_raw=raw, counted=counted)
    outcome = Outcome.of(estimate, input_tokens=80, cost_nanos=6, plain_nanos=None)

    kept = {ESTIMATE: outcome.as_metadata, "team": "x"}
    assert Outcome.from_record(kept, input_tokens=80, cost_nanos=6) == outcome
    assert len(str(outcome.as_metadata)) < 100


@pytest.mark.parametrize("kept", [None, "x", [1], {"input_raw": "1"}, {"plain_nanos": 1.5}, {"input_tokens": True}])
def test_a_record_that_says_something_else_teaches_nothing(kept: Any) -> None:
    """Callers may write what they like into the metadata of records that they post."""
    assert Outcome.from_record({ESTIMATE: kept}, input_tokens=1, cost_nanos=1) is None


def test_memory_is_bounded() -> None:
    """The models used last are kept, and of each the last samples."""
    calibration = taught(SAMPLES * 3)
    for index in range(KEYS_MAX - 1):
        calibration.observe("p", f"m{index}", USUAL)
    calibration.observe("p", "m", USUAL)
    calibration.observe("p", "one-more", USUAL)

    lines = {line.model: line for line in calibration.accuracies()}
    assert len(lines) == KEYS_MAX
    assert "m0" not in lines
    assert lines["m"].input_tokens.samples == SAMPLES
