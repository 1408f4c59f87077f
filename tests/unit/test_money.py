"""Nano-dollars."""

import math
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penia_proxy.budget.money import NANOS_PER_USD, nanos_ceiling, nanos_of, nanos_of_usd, usd
from penia_proxy.config import USD_MAX


@given(st.integers(min_value=-(2**23) * NANOS_PER_USD, max_value=2**23 * NANOS_PER_USD))
def test_the_json_edge_loses_nothing(nanos: int) -> None:
    """Nano-dollars survive the trip to a JSON number and back, up to 2²³ USD (8 million)."""
    assert nanos_of_usd(usd(nanos)) == nanos


def test_a_number_is_taken_as_written() -> None:
    """0.1 USD is exactly a hundred million nano-dollars, whatever its binary fraction is."""
    assert nanos_of_usd(0.1) == 100_000_000
    assert nanos_of_usd(5) == 5_000_000_000


@pytest.mark.parametrize("amount", [math.nan, math.inf, -math.inf, USD_MAX + 1, -USD_MAX - 1, 1e308])
def test_what_is_no_amount_is_refused(amount: float) -> None:
    """NaN, infinities and absurd amounts do not become money."""
    with pytest.raises(ValueError, match="not an amount"):
        nanos_of_usd(amount)


@pytest.mark.parametrize(
    ("written", "even", "ceiling"),
    [
        ("0.0000000005", 0, 1),
        ("0.0000000015", 2, 2),
        ("0.0000000025", 2, 3),
        ("0.00000000251", 3, 3),
        ("0.00000000200", 2, 2),
        ("-0.0000000015", -2, -1),
    ],
)
def test_costs_round_half_even_and_holds_round_up(written: str, even: int, ceiling: int) -> None:
    """A tie goes to the even nano-dollar in a cost; a hold never falls below what it stands for."""
    assert nanos_of(Decimal(written)) == even
    assert nanos_ceiling(Decimal(written)) == ceiling
