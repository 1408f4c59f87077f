"""Prices: the catalogue, the overrides, and what a rate card makes of them."""

import random
from collections import Counter
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path

import genai_prices
import pytest
from genai_prices.data import providers as catalogue
from genai_prices.types import ModelPrice
from hypothesis import given, settings
from hypothesis import strategies as st

from penia_proxy.budget.money import nanos_of
from penia_proxy.budget.overrides import Overrides
from penia_proxy.budget.prices import LOOKUPS_MAX, MODEL_NAME_MAX, PriceBook, RateCard
from penia_proxy.budget.ratecard import Possible
from penia_proxy.budget.units import OWN_UNITS, REQUESTS, UNITS
from penia_proxy.budget.usage import Usage
from penia_proxy.errors import ConfigError

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
ROOT = Path(__file__).resolve().parents[2]
MODELS = [(p.id, m.id) for p in catalogue if p.id in {"openai", "anthropic"} for m in p.models]
BILLED_IN_CODE = [("groq", "whisper-large-v3"), ("groq", "whisper-large-v3-turbo")]
"""Where the library bills ten seconds for a shorter recording, which its data do not say (pricing/groq.yaml does)."""
OTHER_UNITS = [
    unit.usage_key for key, unit in UNITS.items() if not unit.is_tokens and key not in {REQUESTS, *OWN_UNITS}
]
TIERS = [None, "default", "standard", "priority", "flex", "fast", "batch", "unheard-of"]


@pytest.fixture(scope="module")
def book() -> PriceBook:
    """Return the catalogue without overrides."""
    return PriceBook(catalogue, Overrides(), "test")


@pytest.fixture
def pricing(tmp_path: Path) -> "Pricing":
    """Give a pricing/ directory to write into."""
    return Pricing(tmp_path)


class Pricing:
    """A pricing/ directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def __call__(self, *entries: str, provider: str = "local", name: str = "a.yaml") -> PriceBook:
        listed = "".join(f"  - {{{entry}, source: test}}\n" for entry in entries)
        (self.directory / name).write_text(f"provider: {provider}\nentries:\n{listed}", encoding="utf-8")
        return PriceBook.load(self.directory)

    def problems(self, *entries: str, provider: str = "local") -> list[str]:
        with pytest.raises(ConfigError) as caught:
            self(*entries, provider=provider)
        detail: list[str] = caught.value.detail
        return detail


def card(book: PriceBook, provider: str, model: str, at: datetime = NOW) -> RateCard:
    """Return a card that must exist."""
    found = book.card(provider, model, at)
    assert found is not None
    return found


def random_usage(rng: random.Random, *, audio: bool = True) -> Usage:
    """Return counts of every kind and size, around the long-context thresholds too."""

    def some() -> int:
        return rng.choice((0, 0, 1, rng.randrange(2_000), rng.randrange(400_000)))

    return Usage(
        input=rng.choice((some(), 100_000, 100_001, 200_000, 200_001, 272_000, 272_001)),
        cache_read=some(),
        cache_write=some(),
        cache_write_1h=some(),
        cache_write_12h=some(),
        output=some(),
        reasoning=some(),
        input_audio=some() if audio else 0,
        output_audio=some() if audio else 0,
        cache_read_audio=some() if audio else 0,
        input_video=some() if audio else 0,
        output_video=some() if audio else 0,
        input_image=some(),
        cache_read_image=some(),
        output_image=some(),
        citation=some(),
        units={name: rng.randrange(4) for name in OTHER_UNITS if rng.random() < 0.1},
        service_tier=rng.choice(TIERS),
        speed=rng.choice((None, "standard", "fast")),
    )


def library_price(provider: str, model: str, usage: Usage, at: datetime) -> tuple[int, int]:
    """Return (total, input) as genai-prices has it, told every overlap: its wider counts hold the narrower ones."""
    units = dict(usage.units)
    for whole, parts in (
        ("audio_seconds", ("input_audio_seconds", "output_audio_seconds")),
        ("input_document_pages", ("input_annotated_document_pages",)),
    ):
        units[whole] = sum(units.get(name, 0) for name in (whole, *parts))
    theirs = genai_prices.Usage(
        input_tokens=usage.input_total,
        cache_read_tokens=usage.cache_read_total,
        cache_write_tokens=usage.cache_write_total,
        cache_write_5m_tokens=usage.cache_write,
        cache_write_1h_tokens=usage.cache_write_1h,
        input_audio_tokens=usage.input_audio + usage.cache_read_audio,
        cache_audio_read_tokens=usage.cache_read_audio,
        input_image_tokens=usage.input_image + usage.cache_read_image,
        cache_image_read_tokens=usage.cache_read_image,
        input_video_tokens=usage.input_video,
        output_tokens=usage.output_total,
        output_reasoning_tokens=usage.reasoning,
        output_audio_tokens=usage.output_audio,
        output_image_tokens=usage.output_image,
        output_video_tokens=usage.output_video,
        output_citation_tokens=usage.citation,
        **units,
    )
    context = {"service_tier": usage.service_tier, "speed": usage.speed}
    if usage.service_tier == "batch":
        context["processing"] = "batch"
    price = genai_prices.calc_price(
        theirs,
        model,
        provider_id=provider,
        genai_request_timestamp=at,
        price_context={key: value for key, value in context.items() if value},
    )
    return nanos_of(price.total_price), nanos_of(price.input_price)


def instants(rng: random.Random) -> Iterator[datetime]:
    """Yield now, instants of the last three years, and one to come."""
    yield NOW
    yield NOW + timedelta(days=200)
    for _ in range(8):
        yield NOW - timedelta(seconds=rng.randrange(3 * 365 * 86_400))


def test_every_price_equals_the_catalogues(book: PriceBook) -> None:
    """Every OpenAI and Anthropic model, in any mix of counts, tiers, speeds and dates, costs what genai-prices says."""
    rng = random.Random(2026)
    compared = 0
    for provider, model in MODELS:
        for at in instants(rng):
            found = book.card(provider, model, at)
            for _ in range(3):
                usage = random_usage(rng)
                try:
                    expected = library_price(provider, model, usage, at)
                except LookupError:  # an id that is only a prefix of names
                    assert found is None
                    continue
                if found is None:
                    assert expected == (0, 0), model
                    continue
                price = found.price(usage)
                assert (price.total_nanos, price.input_nanos) == expected, (model, at, usage)
                compared += 1
    assert compared > 3_000


def test_every_price_of_every_provider_equals_the_catalogues(book: PriceBook) -> None:
    """All providers' models, some borrowed, in any mix of counts and tiers, by the time of day and years back."""
    rng = random.Random(47)
    models = [(p.id, m.id) for p in catalogue for m in p.models]
    compared: Counter[str] = Counter()
    for provider, model in [*models, ("azure", "gpt-4o"), ("azure", "claude-sonnet-4-5")]:
        for at in (NOW.replace(hour=rng.randrange(24)), NOW - timedelta(seconds=rng.randrange(3 * 365 * 86_400))):
            found = book.card(provider, model, at)
            usage = random_usage(rng)
            if (provider, model) in BILLED_IN_CODE:
                usage = replace(usage, units={})
            try:
                expected = library_price(provider, model, usage, at)
            except LookupError:  # an id that is only a prefix of names
                assert found is None
                continue
            if found is None:
                assert expected == (0, 0), (provider, model)
                continue
            price = found.price(usage)
            assert (price.total_nanos, price.input_nanos) == expected, (provider, model, at, usage)
            compared[provider] += 1
    assert compared.total() > 3_500
    assert len(compared) > 40


@pytest.mark.parametrize(
    ("provider", "model", "expected"),
    [
        ("openai", "gpt-4o-2024-08-06", "gpt-4o"),
        ("openai", "GPT-4o", "gpt-4o"),
        ("openai", "gpt-5.2-20251211", "gpt-5.2"),
        ("anthropic", "claude-haiku-4-5-20251001", "claude-haiku-4-5"),
        ("google", "models/gemini-2.5-flash", "gemini-2.5-flash"),
    ],
)
def test_names_find_their_model(book: PriceBook, provider: str, model: str, expected: str) -> None:
    """Dates, case and path prefixes lead to the catalogue's model."""
    assert card(book, provider, model).model == expected


@pytest.mark.parametrize(
    ("provider", "model"),
    [
        ("openai", "a-model-from-nowhere"),
        ("openai-local", "gpt-4o"),
        ("nobody", "gpt-4o"),
        ("openai", ""),
        ("openai", "x" * (MODEL_NAME_MAX + 1)),
        ("github-copilot", "gpt-4o"),
    ],
)
def test_no_price_is_not_zero(book: PriceBook, provider: str, model: str) -> None:
    """An unknown model, a provider that is only called alike, and an entry without prices have no card at all."""
    assert book.card(provider, model, NOW) is None


def test_strange_names_do_not_grow_memory(book: PriceBook) -> None:
    """However many models callers invent, only so many lookups are remembered, and the library remembers none."""
    for number in range(LOOKUPS_MAX + 100):
        book.card("nobody", f"m{number}", NOW)

    assert book._lookup.cache_info().currsize <= LOOKUPS_MAX
    assert not [key for key in book._models if "nobody" in key]


def test_a_card_is_compiled_once_per_stretch(book: PriceBook) -> None:
    """The same model on days without a change of prices is the same card; a change makes another."""
    first = card(book, "openai", "gpt-5.6-sol", datetime(2026, 9, 1, tzinfo=UTC))

    assert card(book, "openai", "gpt-5.6-sol", datetime(2026, 9, 2, tzinfo=UTC)) is first
    assert card(book, "openai", "gpt-5.6-sol-2026-07-01", datetime(2026, 9, 2, tzinfo=UTC)).model == "gpt-5.6-sol"
    assert card(book, "openai", "gpt-5.6-sol", datetime(2026, 8, 20, tzinfo=UTC)) is not first


def test_a_day_is_a_day_in_utc(book: PriceBook) -> None:
    """A dated price begins at midnight UTC, whatever zone the instant is written in."""
    edge = datetime(2026, 8, 21, tzinfo=UTC)
    east = timezone(timedelta(hours=9))
    before, after = (
        card(book, "openai", "gpt-5.6-sol", edge - timedelta(seconds=1)),
        card(book, "openai", "gpt-5.6-sol", edge),
    )

    assert before.expected(1_000_000, 0) > after.expected(1_000_000, 0)
    assert card(book, "openai", "gpt-5.6-sol", (edge - timedelta(seconds=1)).astimezone(east)) is before


def test_impossible_counts_are_clamped_and_marked(book: PriceBook) -> None:
    """A negative or absurd count costs nothing or the believable most, is marked, and never raises."""
    gpt = card(book, "openai", "gpt-4o")

    assert gpt.price(Usage(input=-5, output=10)).clamped
    assert gpt.price(Usage(input=-5, output=10)).total_nanos == gpt.price(Usage(output=10)).total_nanos
    assert gpt.price(Usage(output=10**40)).clamped
    assert gpt.price(Usage(output=10**40)).total_nanos < 2**63
    assert gpt.price(Usage(units={"web_searches": -1})).clamped
    assert not gpt.price(Usage(input=5, output=10)).clamped


def test_what_has_no_rate_is_named(book: PriceBook) -> None:
    """A count without a price does not vanish: the price says that it is a lower bound, and of what."""
    embedding = card(book, "openai", "text-embedding-3-small")

    assert embedding.price(Usage(input=10)).unrated == ()
    assert embedding.price(Usage(input=10, output=1, units={"hours": 2, "zeros": 0})).unrated == ("output", "hours")


@settings(max_examples=400, deadline=None)
@given(
    pair=st.sampled_from(MODELS),
    seed=st.integers(0, 2**32),
    slack_in=st.integers(0, 300_000),
    slack_out=st.integers(0, 5_000),
    asked=st.sampled_from([None, "auto", "default", "priority", "flex", "fast", "unheard-of"]),
    asked_speed=st.sampled_from([None, "standard", "fast"]),
)
def test_no_usage_costs_more_than_most(
    pair: tuple[str, str], seed: int, slack_in: int, slack_out: int, asked: str | None, asked_speed: str | None
) -> None:
    """Whatever the split of the counts and whatever tier the request allows, the price is at most the bound."""
    found = _BOOK.card(*pair, NOW)
    if found is None:
        return
    rng = random.Random(seed)
    audio = rng.random() < 0.5
    usage = random_usage(rng, audio=audio)
    served = {
        None: TIERS,
        "auto": TIERS,
        "unheard-of": TIERS,
        "default": [None, "default", "standard"],
        "priority": [None, "default", "priority"],
        "fast": [None, "default", "priority", "fast"],
        "flex": [None, "default", "flex"],
    }[asked]
    usage = replace(
        usage,
        units={},
        service_tier=rng.choice(served),
        speed=rng.choice([None, "standard", asked_speed]),
        inference_geo=rng.choice([None, "us", "global"]),
    )
    most = found.most(
        usage.input_total + slack_in,
        usage.output_total + slack_out,
        service_tier=asked,
        speed=asked_speed,
        possible=Possible(usage.cache_write_1h > 0, usage.cache_write_12h > 0, audio),
    )

    assert found.price(usage).total_nanos <= most


_BOOK = PriceBook.load(ROOT / "pricing")


def test_the_bound_is_tight_where_it_can_be(book: PriceBook) -> None:
    """A bound is the dearest split, not more: uncached standard input and output of a model without other rates."""
    gpt = card(book, "openai", "gpt-4")

    assert gpt.most(1_000, 100) == gpt.expected(1_000, 100) == gpt.price(Usage(input=1_000, output=100)).total_nanos


@pytest.mark.parametrize(
    ("asked", "rate"),
    [(None, "8"), ("auto", "8"), ("priority", "8"), ("fast", "8"), ("default", "5"), ("flex", "5")],
)
def test_the_tier_asked_for_decides_the_bound(book: PriceBook, asked: str | None, rate: str) -> None:
    """A project can make any call a priority one, so only a tier in the request makes the bound smaller."""
    luna = card(book, "openai", "gpt-5.6-sol")  # input 4, cache write 5; priority 8, cache write 10
    dearest = Decimal(rate) * (Decimal("1.25") if rate == "8" else 1)

    assert luna.most(100_000, 0, service_tier=asked) == nanos_of(dearest * 100_000 / 1_000_000)


def test_long_context_raises_the_bound(book: PriceBook) -> None:
    """Beyond the threshold the whole call costs the long rate, and at the threshold it does not."""
    found = card(book, "openai", "gpt-5.4")

    assert found.most(272_000, 0, service_tier="default") == 272_000 * 2_500
    assert found.most(272_001, 0, service_tier="default") == 272_001 * 5_000
    assert found.expected(272_001, 1) == 272_001 * 5_000 + 22_500
    assert found.price(Usage(input=272_000)).total_nanos == 272_000 * 2_500
    assert found.price(Usage(input=272_000, cache_read=1)).total_nanos == 272_000 * 5_000 + 500


def test_hour_long_writes_and_audio_raise_the_bound_only_when_asked(book: PriceBook) -> None:
    """Rates for what cannot occur in the call stay out of its bound."""
    opus, realtime = card(book, "anthropic", "claude-opus-4-5"), card(book, "openai", "gpt-realtime")

    assert opus.most(1_000, 0, possible=Possible(cache_1h=True)) == 10_000_000
    assert opus.most(1_000, 0) == 6_250_000
    assert realtime.most(1_000, 0, possible=Possible(senses=True)) > realtime.most(1_000, 0)


def test_searches_are_named_as_unbounded(book: PriceBook) -> None:
    """Billed units that are not tokens are outside the bound, and the card says which."""
    assert card(book, "anthropic", "claude-opus-4-5").unbounded_units == ("web_searches",)


def test_us_inference_costs_a_tenth_more() -> None:
    """From Opus 4.6 on, inference kept in the US costs 1.1 × every token price, and a bound reckons with it."""
    usage = Usage(input=1_000, cache_read=1_000, cache_write=1_000, cache_write_1h=1_000, output=1_000)
    for model, factor in (("claude-opus-4-6", "1.1"), ("claude-sonnet-5-5-20260901", "1.1"), ("claude-opus-4-5", "1")):
        found = card(_BOOK, "anthropic", model)
        plain, us = found.price(usage), found.price(replace(usage, inference_geo="us"))

        assert us.total_nanos == plain.total_nanos * Decimal(factor)
        assert found.most(0, 1_000) == found.price(Usage(output=1_000)).total_nanos * Decimal(factor)
        assert found.source == "catalogue"
        assert found.price(Usage(input=7, inference_geo="global")) == found.price(Usage(input=7))


@pytest.mark.parametrize(
    ("provider", "model", "usd_per_thousand"),
    [
        ("openai", "o3-pro", 10),
        ("openai", "gpt-4o-search-preview-2025-03-11", 25),
        ("openai", "gpt-4o", 10),
        ("google", "gemini-2.5-flash-image", 35),
        ("google", "gemini-robotics-er-2-preview", 14),
        ("groq", "openai/gpt-oss-120b", 5),
        ("x-ai", "grok-4", 5),
    ],
)
def test_searches_that_the_catalogue_leaves_out_are_priced(provider: str, model: str, usd_per_thousand: int) -> None:
    """From the day the gap was found, and on top of the catalogue's own token prices, which stay as they are."""
    book, bare = PriceBook.load(), PriceBook(catalogue, Overrides(), "test")
    once = Usage(input=1_000, output=10, units={"web_searches": 1})

    found, plain = card(book, provider, model), card(bare, provider, model)
    words = plain.price(replace(once, units={})).total_nanos
    assert found.price(once).unrated == ()
    assert found.price(once).total_nanos == words + usd_per_thousand * 1_000_000
    before = NOW.replace(day=22)
    assert card(book, provider, model, before).price(once) == card(bare, provider, model, before).price(once)


def test_the_shipped_overrides_load_and_are_in_the_version() -> None:
    """The project's own pricing/ is found without being named, and stamps what it prices."""
    assert PriceBook.load().version == _BOOK.version
    assert _BOOK.version.startswith(f"genai-prices {genai_prices.__version__} + pricing ")
    assert len(_BOOK.version.rpartition(" ")[2]) == 8


def test_the_version_follows_the_files(pricing: Pricing) -> None:
    """Without override files the version is the catalogue's; another price is another version."""
    bare = PriceBook.load(pricing.directory).version
    first = pricing("model: {equals: m}, prices: {input_mtok: 1, output_mtok: 2}").version
    second = pricing("model: {equals: m}, prices: {input_mtok: 1, output_mtok: 3}").version

    assert bare == f"genai-prices {genai_prices.__version__}"
    assert len({bare, first, second}) == 3


def test_an_unknown_model_can_be_priced(pricing: Pricing) -> None:
    """An operator prices what the catalogue does not know, to the decimal that was written."""
    book = pricing(
        "model: {starts_with: Llama}, context_window: 8192, prices: {input_mtok: 0.123456789012345678, output_mtok: 2}"
    )
    found = card(book, "local", "llama3:8b")

    assert (found.source, found.model, found.context_window, found.is_free) == ("override", "Llama*", 8192, False)
    assert found.prices["input_mtok"].base == Decimal("0.123456789012345678")
    assert found.price(Usage(input=10**9)).total_nanos == 123_456_789_012
    assert found.most(10**9, 0) == 123_456_789_013


def test_zero_is_free_and_no_price_is_not(pricing: Pricing) -> None:
    """Explicit zeros make a model free; one missing price leaves it without a card."""
    book = pricing(
        "model: {equals: mine}, prices: {input_mtok: 0, output_mtok: 0}",
        "model: {equals: half}, prices: {input_mtok: 0}",
        "model: {equals: cheap}, prices: {input_mtok: 0, output_mtok: 1}",
    )

    assert card(book, "local", "mine").is_free
    assert card(book, "local", "mine").most(10**9, 10**9) == 0
    assert not card(book, "local", "cheap").is_free
    assert book.card("local", "half", NOW) is None
    assert book.card("local", "other", NOW) is None


def test_a_price_per_request_counts_once(pricing: Pricing) -> None:
    """A price per thousand requests is charged on every call, and is in its bound."""
    found = card(pricing("model: {regex: '.*'}, prices: {requests_kcount: 5}"), "local", "x")

    assert found.price(Usage()).total_nanos == found.most(0, 0) == found.expected(0, 0) == 5_000_000


def test_a_dated_entry_holds_from_its_day(pricing: Pricing) -> None:
    """History keeps its price; the latest entry that has begun wins, wherever it stands."""
    book = pricing(
        "model: {equals: m}, start_date: 2026-06-01, prices: {input_mtok: 3, output_mtok: 0}",
        "model: {equals: m}, start_date: 2026-01-01, prices: {input_mtok: 2, output_mtok: 0}",
        "model: {equals: m}, start_date: 2027-01-01, prices: {input_mtok: 9, output_mtok: 0}",
    )

    assert book.card("local", "m", datetime(2025, 12, 31, 23, 59, 59, tzinfo=UTC)) is None
    assert card(book, "local", "m", datetime(2026, 1, 1, tzinfo=UTC)).expected(1, 0) == 2_000
    assert card(book, "local", "m", NOW).expected(1, 0) == 3_000


def test_an_override_wins_over_the_catalogue_key_by_key(pricing: Pricing) -> None:
    """What an entry names it replaces, in the standard price only; the rest stays the catalogue's."""
    book = pricing("model: {equals: gpt-5.4}, prices: {input_mtok: 1, web_searches_kcount: 1}", provider="openai")
    plain = card(PriceBook(catalogue, Overrides(), ""), "openai", "gpt-5.4")
    found = card(book, "openai", "gpt-5.4-2026-03-05")

    assert found.source == "override"
    assert found.price(Usage(input=1_000)).total_nanos == 1_000_000
    assert found.price(Usage(output=9)).total_nanos == plain.price(Usage(output=9)).total_nanos
    priority = Usage(input=1_000, service_tier="priority")
    assert found.price(priority).total_nanos == plain.price(priority).total_nanos
    search = Usage(units={"web_searches": 1}, service_tier="priority")
    assert found.price(search).total_nanos == 1_000_000
    assert card(book, "openai", "gpt-5.4-mini").source == "catalogue"


def test_an_override_can_be_about_a_context(pricing: Pricing) -> None:
    """With ``when``, an entry prices exactly the answers that say so, and a bound reckons with it."""
    book = pricing(
        "model: {equals: gpt-5.4}, when: {service_tier: priority}, prices: {input_mtok: 77}",
        "model: {equals: gpt-5.4}, when: {speed: slow}, multiply: 0.5",
        provider="openai",
    )
    found = card(book, "openai", "gpt-5.4")

    assert found.price(Usage(input=1_000, service_tier="priority")).total_nanos == 77_000_000
    assert found.price(Usage(input=1_000)).total_nanos == 2_500_000
    assert found.price(Usage(input=1_000, speed="slow", units={"web_searches": 1})).total_nanos == 11_250_000
    assert found.most(1_000, 0) == 77_000_000


@pytest.mark.fault("R2")
@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ("model: {equals: m}, prices: {input_mtok: -1}", "a.yaml:3: entries[0].prices.input_mtok.base"),
        ("model: {equals: m}, prices: {input_mtok: .nan}", "entries[0].prices.input_mtok"),
        ("model: {equals: m}, prices: {input_mtok: .inf}", "entries[0].prices.input_mtok"),
        ("model: {equals: m}, prices: {input_mtok: '1'}", "a price is a plain number"),
        ("model: {equals: m}, prices: {input_mtok: yes}", "a price is a plain number"),
        ("model: {equals: m}, prices: {input_mtok: 2500000}", "less than or equal to 1000000"),
        ("model: {equals: m}, prices: {input_mtok: 25000}", "cannot be right"),
        ("model: {equals: m}, prices: {inptu_mtok: 1}", "unknown price 'inptu_mtok'; did you mean 'input_mtok'?"),
        ("model: {equals: m}, price: {input_mtok: 1}", "unknown key 'price' in entries[0]; did you mean 'prices'?"),
        ("model: {equals: m}", "an entry has prices, multiply, as_at, at_least or context_window"),
        ("model: {}, multiply: 1", "exactly one of"),
        ("model: {equals: m, regex: n}, multiply: 1", "exactly one of"),
        ("model: {regex: '('}, multiply: 1", "not a regular expression"),
        ("model: {equals: m}, multiply: 0", "entries[0].multiply"),
        ("model: {equals: m}, start_date: soon, multiply: 1", "entries[0].start_date"),
        (
            "model: {equals: m}, prices: {input_mtok: {base: 1, tiers: [{start: 9, price: 1}, {start: 9, price: 2}]}}",
            "tiers are in the order of their starts",
        ),
    ],
)
def test_a_bad_entry_is_refused_with_its_line(pricing: Pricing, entry: str, expected: str) -> None:
    """A price that cannot be right stops the start with file, line and reason."""
    assert expected in "\n".join(pricing.problems(entry))
    assert all("a.yaml:3: " in problem for problem in pricing.problems(entry))


def test_an_entry_needs_its_source(pricing: Pricing) -> None:
    """A number without an origin is refused."""
    (pricing.directory / "a.yaml").write_text("provider: p\nentries:\n  - {model: {equals: m}, multiply: 1}\n")

    with pytest.raises(ConfigError, match=r"a\.yaml:3: entries\[0\]\.source"):
        PriceBook.load(pricing.directory)


@pytest.mark.fault("R2")
def test_two_entries_for_the_same_day_contradict_each_other(pricing: Pricing) -> None:
    """The same model, date and context twice is refused, also across files; another date is not."""
    entry = "model: {equals: m}, start_date: 2026-01-01, prices: {input_mtok: 1, output_mtok: 1}"

    assert "a.yaml:4: the same model, date, days and 'when' as " in pricing.problems(entry, entry)[0]
    pricing(entry)
    with pytest.raises(ConfigError, match=r"b\.yaml:3: the same model"):
        pricing(entry, name="b.yaml")
    pricing(entry.replace("2026-01", "2026-02"), name="b.yaml")


def test_a_directory_that_is_named_must_exist(tmp_path: Path) -> None:
    """A mistyped pricing.directory does not quietly drop the overrides."""
    with pytest.raises(ConfigError, match="no such directory"):
        PriceBook.load(tmp_path / "nope")


@pytest.mark.fault("R2")
def test_the_catalogues_own_bad_prices_are_refused() -> None:
    """A negative or sentinel price in the catalogue is as good as no price, and is reported."""
    provider = deepcopy(next(p for p in catalogue if p.id == "anthropic"))
    provider.models[0].prices = ModelPrice(input_mtok=Decimal(-1), output_mtok=Decimal(1))
    book = PriceBook([provider], Overrides(), "")

    assert book.refused == (f"anthropic/{provider.models[0].id}",)
    assert book.card("anthropic", provider.models[0].id, NOW) is None
    assert PriceBook(catalogue, Overrides(), "").refused == ()


def test_the_price_list(pricing: Pricing) -> None:
    """The list has what is in force: catalogue and overrides, of one provider or all, and nothing without a price."""
    book = pricing("model: {starts_with: llama}, context_window: 9, prices: {input_mtok: 0, output_mtok: 0}")
    (local,) = book.models("local", NOW)
    openai = book.models("openai", NOW)

    assert (local.provider, local.model, local.context_window, local.source) == ("local", "llama*", 9, "override")
    assert [line.model for line in openai] == sorted(line.model for line in openai)
    assert all(line.prices and line.source == "catalogue" for line in openai)
    assert {line.provider for line in book.models(None, NOW)} >= {"local", "openai", "anthropic"}
    assert book.models("nobody", NOW) == []
    assert {"local", "openai"} <= book.providers
