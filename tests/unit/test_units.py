"""Everything that the catalogue has a price for can be said of a call, and is priced by it."""

from datetime import UTC, datetime
from decimal import Decimal

import pytest
from genai_prices.data import providers as catalogue
from genai_prices.data_units import unit_data

from penia_proxy.budget.catalogue import prices_at
from penia_proxy.budget.compiling import compile_card
from penia_proxy.budget.ratecard import Context, Rate
from penia_proxy.budget.units import INPUT_DIMENSIONS, OUTPUT_DIMENSIONS, OWN_UNITS, REQUESTS, UNITS
from penia_proxy.budget.usage import INPUT_COUNTS, OUTPUT_COUNTS, TOKEN_COUNTS, Usage

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
PRICED = sorted({key for provider in catalogue for info in provider.models for key in prices_at(info, NOW)})
ONE = dict.fromkeys(TOKEN_COUNTS, 1)


@pytest.mark.parametrize("key", [*PRICED, *OWN_UNITS])
def test_every_unit_with_a_price_can_be_used(key: str) -> None:
    """Of each price that any model has: a count or a unit of Usage makes a call dearer by exactly it."""
    unit = UNITS[key]
    prices = {"input_mtok": Rate(Decimal(3)), "output_mtok": Rate(Decimal(5)), key: Rate(Decimal(7 * unit.per))}
    card = compile_card(
        provider="p", model="m", context_window=None, source="", contexts={Context(): prices}, at_least={}
    )
    used = [Usage(**{name: 1}) for name in TOKEN_COUNTS] if unit.is_tokens else [Usage(units={unit.usage_key: 1})]

    costs = [card.price(Usage() if key == REQUESTS else usage) for usage in used]
    assert max(cost.total_nanos for cost in costs) == 7 * 10**9
    assert any(cost.total_nanos == 7 * 10**9 and not cost.unrated for cost in costs)


def test_what_nothing_can_be_said_about_has_no_price_anywhere() -> None:
    """The library has more kinds of tokens than Usage has counts; when it prices one, this fails and a count is due."""
    counted = set(INPUT_DIMENSIONS.values()) | set(OUTPUT_DIMENSIONS.values())
    sayable = {
        key for key, unit in UNITS.items() if not unit.is_tokens or any(unit.dimensions <= one for one in counted)
    }

    assert len(PRICED) > 20
    assert set(PRICED) <= sayable
    assert all("tool" in key or "video" in key or "write" in key or "reasoning" in key or "citation" in key
               for key in UNITS.keys() - sayable)  # fmt: skip


def test_own_units_are_those_that_the_catalogue_lacks() -> None:
    """When its registry names one of them, ours goes."""
    known = {raw.get("price_key", key) for key, raw in unit_data.items()} | set(unit_data)

    assert not known & {*OWN_UNITS, *(unit.usage_key for unit in OWN_UNITS.values())}


def test_every_count_is_of_something() -> None:
    """Counts and their dimensions are the same list, in the same order, and the totals are their sums."""
    assert (tuple(INPUT_DIMENSIONS), tuple(OUTPUT_DIMENSIONS)) == (INPUT_COUNTS, OUTPUT_COUNTS)
    assert Usage(**ONE).input_total == len(INPUT_COUNTS)
    assert Usage(**ONE).output_total == len(OUTPUT_COUNTS)
    assert Usage(**ONE).plus(Usage(**ONE)).total == 2 * len(TOKEN_COUNTS)
