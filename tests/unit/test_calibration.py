"""Estimates learn from what is reported, boundedly, and say how good they are."""

import pytest

from penia_proxy.budget.calibration import KEYS_MAX, SAMPLES, SAMPLES_MIN, Calibration, Spread
from penia_proxy.budget.engine import Ask
from penia_proxy.budget.estimate import Estimate


def estimated(raw: int | None, *, tokens: int = 100, counted: bool = False, expected: int | None = 50) -> Estimate:
    """Return an estimate of this much input."""
    return Estimate(Ask(expected, None), tokens, 10, input_raw=raw, counted=counted)


def taught(times: int, reported: int, *, counted: bool = False) -> Calibration:
    """Return a calibration that has seen an estimate of 100 tokens come out at ``reported``."""
    calibration = Calibration()
    for _ in range(times):
        calibration.observe("p", "m", estimated(100, counted=counted), input_tokens=reported, cost_nanos=25)
    return calibration


def test_few_samples_correct_nothing() -> None:
    """The factor is 1 until enough is known, and then what was reported ÷ estimated."""
    assert taught(SAMPLES_MIN - 1, 25).factor("p", "m", counted=False) == 1
    assert taught(SAMPLES_MIN, 25).factor("p", "m", counted=False) == 0.25


def test_bytes_and_counts_are_corrected_apart() -> None:
    """Experience with counted tokens says nothing about bytes, and that with one model nothing about another."""
    calibration = taught(SAMPLES_MIN, 130, counted=True)

    assert calibration.factor("p", "m", counted=True) == 1.3
    assert calibration.factor("p", "m", counted=False) == 1
    assert calibration.factor("p", "other", counted=True) == calibration.factor("other", "m", counted=True) == 1


def test_the_factor_is_the_95th_percentile_of_the_last_samples() -> None:
    """One call in twenty may be larger than expected; what is old is forgotten."""
    calibration = Calibration()
    for percent in range(1, 101):
        calibration.observe("p", "m", estimated(100), input_tokens=percent, cost_nanos=None)
    assert calibration.factor("p", "m", counted=False) == 0.95
    for _ in range(SAMPLES):
        calibration.observe("p", "m", estimated(100), input_tokens=20, cost_nanos=None)
    assert calibration.factor("p", "m", counted=False) == 0.2


@pytest.mark.parametrize(("raw", "reported"), [(None, 50), (0, 50), (100, 0)])
def test_what_cannot_be_compared_teaches_nothing(raw: int | None, reported: int) -> None:
    """No raw estimate, or no reported input, is no ratio."""
    calibration = Calibration()
    for _ in range(SAMPLES_MIN):
        calibration.observe("p", "m", estimated(raw), input_tokens=reported, cost_nanos=0)

    (line,) = calibration.accuracies()
    assert (line.bytes_factor, line.input_tokens, line.cost) == (1, Spread(0, None, None), Spread(0, None, None))


def test_the_error_is_of_the_estimate_as_it_was_made() -> None:
    """Estimated ÷ reported, of the corrected tokens and of the money, by provider and model."""
    calibration = Calibration()
    for cost in (25, 50, 100):
        calibration.observe("p", "z", estimated(400, tokens=100), input_tokens=80, cost_nanos=cost)
    calibration.observe("p", "a", estimated(400, expected=None), input_tokens=80, cost_nanos=None)

    first, second = calibration.accuracies()
    assert (first.model, second.model) == ("a", "z")
    assert second.input_tokens == Spread(3, 1.25, 1.25)
    assert second.cost == Spread(3, 1, 2)
    assert first.cost == Spread(0, None, None)


def test_memory_is_bounded() -> None:
    """The models used last are kept, and of each the last samples."""
    calibration = taught(SAMPLES * 3, 25)
    for index in range(KEYS_MAX - 1):
        calibration.observe("p", f"m{index}", estimated(100), input_tokens=1, cost_nanos=1)
    calibration.observe("p", "m", estimated(100), input_tokens=25, cost_nanos=25)
    calibration.observe("p", "one-more", estimated(100), input_tokens=1, cost_nanos=1)

    lines = {line.model: line for line in calibration.accuracies()}
    assert len(lines) == KEYS_MAX
    assert "m0" not in lines
    assert lines["m"].input_tokens.samples == SAMPLES
