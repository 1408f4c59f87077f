"""How entries of pricing/ are laid over the catalogue: days, places, multiples of prices, gaps, and multipliers."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from penia_proxy.budget.prices import PriceBook, RateCard
from penia_proxy.budget.usage import Usage
from penia_proxy.errors import ConfigError

TUESDAY = datetime(2026, 11, 24, 12, tzinfo=UTC)
Write = Callable[..., PriceBook]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Give a function that writes entries about a provider, and loads them over the catalogue."""

    def written(*entries: str, provider: str = "openai") -> PriceBook:
        listed = "".join(f"  - {{{entry}, source: test}}\n" for entry in entries)
        (tmp_path / "a.yaml").write_text(f"provider: {provider}\nentries:\n{listed}", encoding="utf-8")
        return PriceBook.load(tmp_path)

    return written


def card(book: PriceBook, model: str, at: datetime = TUESDAY, region: str | None = None) -> RateCard:
    found = book.card("openai", model, at, region=region)
    assert found is not None
    return found


def nanos(card: RateCard, **said: int | str) -> int:
    return card.price(Usage(**said)).total_nanos  # type: ignore[arg-type]


def test_a_price_can_hold_on_some_days(write: Write) -> None:
    """Of the week in UTC, whatever zone the instant is written in; the rest of the week it is not there."""
    book = write("model: {equals: gpt-4o}, days: [saturday, sunday], prices: {input_mtok: 1}")
    saturday = datetime(2026, 11, 28, tzinfo=UTC)

    assert nanos(card(book, "gpt-4o"), input=1_000) == 2_500_000
    assert nanos(card(book, "gpt-4o", saturday - timedelta(seconds=1)), input=1_000) == 2_500_000
    assert nanos(card(book, "gpt-4o", saturday), input=1_000) == 1_000_000
    assert nanos(card(book, "gpt-4o", saturday + timedelta(days=2)), input=1_000) == 2_500_000
    assert card(book, "gpt-4o", saturday) is card(book, "gpt-4o", saturday + timedelta(hours=47))


def test_a_day_can_have_the_prices_of_one_hour(write: Write) -> None:
    """The catalogue's of that time of day, so that its own changes are followed."""
    book = write('model: {equals: deepseek-v4-pro}, days: [tuesday], as_at: "02:00"', provider="deepseek")
    prices = [
        book.card("deepseek", "deepseek-v4-pro", TUESDAY.replace(hour=hour) + timedelta(days=days))
        for days in (0, 1)
        for hour in (0, 2, 12)
    ]

    assert [nanos(found, input=100) for found in prices if found] == [132_000] * 3 + [66_000, 132_000, 66_000]


def test_a_price_can_be_a_multiple_of_another(write: Write) -> None:
    """In each context and length it is of what the other one is there; without the other one there is none."""
    book = write(
        "model: {equals: gpt-5.6-sol}, prices: {cache_write_12h_mtok: {of: input_mtok, times: 2.5}}",
        "model: {equals: gpt-4o}, prices: {input_audio_mtok: {of: output_audio_mtok, times: 2}}",
    )
    sol = card(book, "gpt-5.6-sol")

    assert nanos(sol, cache_write_12h=1_000) == 10_000_000
    assert nanos(sol, cache_write_12h=1_000, service_tier="priority") == 20_000_000
    assert nanos(sol, cache_write_12h=300_000) == 300_000 * 20_000
    assert "input_audio_mtok" not in card(book, "gpt-4o").prices


def test_a_multiple_of_itself_is_of_what_it_was(write: Write) -> None:
    """A part of the prices can be halved: those that are named."""
    book = write(
        "model: {equals: gpt-4o}, when: {service_tier: slow}, prices: {input_mtok: {of: input_mtok, times: 0.5}}"
    )
    found = card(book, "gpt-4o")

    assert nanos(found, input=1_000, output=1_000) == 12_500_000
    assert nanos(found, input=1_000, output=1_000, service_tier="slow") == 11_250_000


def test_a_gap_is_filled_until_the_catalogue_fills_it(write: Write) -> None:
    """`only_if_missing` gives way key by key, and a multiplier where the catalogue has the tier."""
    book = write(
        "model: {regex: '.*'}, only_if_missing: true, prices: {input_mtok: 99, map_searches_kcount: 7}",
        "model: {regex: '.*'}, only_if_missing: true, when: {service_tier: batch}, multiply: 0.1",
    )
    with_batch, without = card(book, "gpt-4o"), card(book, "text-embedding-3-small")

    assert nanos(with_batch, input=1_000) == 2_500_000
    assert with_batch.price(Usage(units={"map_searches": 1})).total_nanos == 7_000_000
    assert nanos(with_batch, input=1_000, service_tier="batch") == 1_250_000
    assert nanos(without, input=1_000_000, service_tier="batch") * 10 == nanos(without, input=1_000_000)


def test_multipliers_of_different_kinds_multiply(write: Write) -> None:
    """A place and a tier are both paid for; of one kind the last one counts."""
    book = write(
        "model: {equals: gpt-4o}, multiply: 3",
        "model: {equals: gpt-4o}, start_date: 2026-01-01, multiply: 2",
        "model: {equals: gpt-4o}, when: {service_tier: slow}, multiply: 0.5",
        "model: {equals: gpt-4o}, when: {region: '*'}, multiply: 1.1",
        "model: {starts_with: gpt-4o}, when: {region: gov}, multiply: 1.2",
    )

    assert nanos(card(book, "gpt-4o"), input=1_000) == 5_000_000
    assert nanos(card(book, "gpt-4o"), input=1_000, service_tier="slow") == 2_500_000
    assert nanos(card(book, "gpt-4o", region="eu"), input=1_000, service_tier="slow") == 2_750_000
    assert nanos(card(book, "gpt-4o", region="GOV"), input=1_000) == 6_000_000


def test_a_price_can_hold_in_one_place(write: Write) -> None:
    """It replaces the standard price there, and its card is one for all places that cost the same."""
    book = write("model: {equals: gpt-4o}, when: {region: eu}, prices: {input_mtok: 9}")

    assert nanos(card(book, "gpt-4o", region="eu"), input=1_000) == 9_000_000
    assert nanos(card(book, "gpt-4o", region="us"), input=1_000) == 2_500_000
    places = {id(card(book, "gpt-4o", region=f"place-{number}")) for number in range(500)}
    assert places == {id(card(book, "gpt-4o"))}


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ("prices: {input_mtok: {of: output_mtok}}", "a base with tiers or without, or of and times"),
        ("prices: {input_mtok: {of: output_mtok, times: 2, base: 1}}", "a base with tiers or without, or of and times"),
        ("prices: {input_mtok: {of: outptu_mtok, times: 2}}", "did you mean 'output_mtok'"),
        ("prices: {input_mtok: {of: output_mtok, times: 1000}}", "entries[0].prices.input_mtok.times"),
        ("days: [], prices: {input_mtok: 1}", "entries[0].days"),
        ("days: [samstag], prices: {input_mtok: 1}", "entries[0].days[0]"),
        ("as_at: '25:00'", "entries[0].as_at"),
        ("as_at: '00:00+01:00'", "a time in UTC"),
        ("as_at: '00:00', when: {speed: fast}", "hold for every answer"),
        ("at_least: {web_serches: 1}", "unknown unit 'web_serches'; did you mean 'web_searches'?"),
        ("at_least: {web_searches: 0}", "entries[0].at_least.web_searches"),
        ("when: {search_size: vast}, prices: {requests_kcount: 1}", "entries[0].when.search_size"),
        ("when: {regoin: eu}, multiply: 2", "regoin"),
        ("only_if_missing: 1, multiply: 2", "entries[0].only_if_missing"),
    ],
)
def test_an_entry_that_cannot_be_meant_is_refused(write: Write, entry: str, expected: str) -> None:
    """With its line, and what would have been right."""
    with pytest.raises(ConfigError) as caught:
        write(f"model: {{equals: m}}, {entry}")

    assert expected in "\n".join(caught.value.detail)


def test_the_same_day_twice_contradicts_and_another_does_not(write: Write) -> None:
    """Days are part of what an entry is about."""
    entry = "model: {equals: m}, days: [monday], prices: {input_mtok: 1}"

    with pytest.raises(ConfigError, match="the same model, date, days"):
        write(entry, entry)
    write(entry, entry.replace("monday", "tuesday"))
