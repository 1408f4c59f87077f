"""An answer's cost is the sum of its parts, or plainly unknown."""

from datetime import UTC, datetime

from penia_proxy.budget.bill import PARTS, bill_of
from penia_proxy.budget.money import CALL_NANOS_MAX
from penia_proxy.budget.prices import PriceBook
from penia_proxy.budget.ratecard import RateCard
from penia_proxy.budget.usage import Usage

BOOK = PriceBook.load()
AT = datetime(2026, 11, 23, 12, tzinfo=UTC)


def card_of(model: str) -> RateCard | None:
    return BOOK.card("anthropic", model, AT)


def test_each_model_is_priced_as_itself() -> None:
    """An advisor of another model is billed at its own price."""
    parts = (("claude-sonnet-4-6", Usage(input=1000, output=10)), ("claude-opus-4-6", Usage(input=500, output=5)))

    bill = bill_of(parts, "claude-sonnet-4-6", "reported", card_of)

    alone = [bill_of((part,), "x", "reported", card_of).cost_nanos or 0 for part in parts]
    assert bill.cost_nanos == sum(alone)
    assert (bill.usage.input_total, bill.usage.output_total) == (1500, 15)
    assert (bill.model, bill.basis) == ("claude-sonnet-4-6", "reported")
    assert bill.remarks == {PARTS: 2}
    assert bill_of(parts[:1], "x", "reported", card_of).remarks == {}


def test_the_asked_model_prices_an_answer_under_an_unknown_name() -> None:
    """Served names that no catalogue knows fall back."""
    usage = Usage(input=1000)
    unknown = bill_of((("served-under-another-name", usage),), "claude-sonnet-4-6", "reported", card_of)

    assert unknown.cost_nanos == bill_of(((None, usage),), "claude-sonnet-4-6", "reported", card_of).cost_nanos
    assert unknown.model == "served-under-another-name"


def test_one_part_without_a_price_makes_the_whole_unpriced() -> None:
    """A known half would look like a whole; cost is null, never a quiet zero."""
    parts = (("claude-sonnet-4-6", Usage(input=1000)), ("nobody-knows", Usage(input=1)))

    bill = bill_of(parts, "nobody-knows-either", "reported", card_of)

    assert (bill.basis, bill.cost_nanos, bill.input_cost_nanos) == ("unpriced", None, None)
    assert bill.usage.input_total == 1001


def test_what_no_call_costs_is_not_believed() -> None:
    """Of a trillion tokens a million dollars are booked, and it is said."""
    bill = bill_of([(None, Usage(input=10**12, output=10**12))], "claude-sonnet-4-6", "reported", card_of)

    assert (bill.cost_nanos, bill.clamped) == (CALL_NANOS_MAX, True)
    assert bill.input_cost_nanos is not None
    assert bill.input_cost_nanos <= CALL_NANOS_MAX
