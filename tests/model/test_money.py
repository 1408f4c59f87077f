"""Whatever happens to money, in any order, adds up; and a defect in how it is moved is found."""

import logging
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from penia_proxy.errors import InvariantError
from tests.model.machine import Money
from tests.model.planted import PLANTED, Planted

QUICK = settings(
    max_examples=40,
    stateful_step_count=30,
    phases=[Phase.generate],
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)
SEARCHED = settings(QUICK, max_examples=150)
SEEDS = (2, 3, 4, 5)
"""Tried until a defect is found: which lives a seed leads to changes with what the program does."""


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Crashes are logged, and there are many."""
    logger = logging.getLogger("penia_proxy")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    yield
    logger.setLevel(level)


@pytest.mark.timeout(240)
def test_money_adds_up() -> None:
    """Every invariant holds after every step of forty lives of thirty."""
    run_state_machine_as_test(seed(1)(Money), settings=QUICK)


def live_many_lives() -> None:
    """Search, as long as nothing is found."""
    for number in SEEDS:
        run_state_machine_as_test(seed(number)(Money), settings=SEARCHED)


def test_there_are_defects_enough() -> None:
    """Ten at least, each with a name of its own."""
    assert len({defect.name for defect in PLANTED}) == len(PLANTED) >= 10


@pytest.mark.timeout(240)
@pytest.mark.parametrize("defect", PLANTED, ids=lambda defect: defect.name)
def test_a_planted_defect_is_found(defect: Planted) -> None:
    """The same moves find each."""
    with defect.in_force(), pytest.raises((AssertionError, InvariantError)):
        live_many_lives()
