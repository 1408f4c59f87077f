"""What pricing/ says over the catalogue: each number has a source and a day, and does what its source says."""

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from genai_prices.data import providers as catalogue

from penia_proxy.budget.overrides import Override, Overrides
from penia_proxy.budget.prices import PriceBook, RateCard
from penia_proxy.budget.ratecard import Possible
from penia_proxy.budget.usage import TOKEN_COUNTS, Usage

PRICING = Path(__file__).resolve().parents[2] / "pricing"
WEDNESDAY = datetime(2026, 11, 25, 2, 30, tzinfo=UTC)
SATURDAY = WEDNESDAY + timedelta(days=3)
BARE = PriceBook(catalogue, Overrides(), "")
BOOK = PriceBook.load(PRICING)
ENTRIES = Overrides.load(PRICING).entries
EVERYTHING = Usage(**dict.fromkeys(TOKEN_COUNTS, 1_000_000))
SECONDS_AND_PAGES = (
    "audio_seconds",
    "input_audio_seconds",
    "output_audio_seconds",
    "input_document_pages",
    "input_annotated_document_pages",
)
USES = ("web_searches", "social_searches", "storage_searches", "map_searches", "code_executions")
MANY = dict.fromkeys(SECONDS_AND_PAGES, 3_600_000) | dict.fromkeys(USES, 1_000)


def card(provider: str, model: str, at: datetime = WEDNESDAY, region: str | None = None) -> RateCard:
    found = BOOK.card(provider, model, at, region=region)
    assert found is not None
    return found


def usd(card: RateCard, usage: Usage) -> Decimal:
    return Decimal(card.price(usage).total_nanos) / 10**9


def tokens(name: str, count: int = 1_000_000, **said: str) -> Usage:
    return replace(Usage(**{name: count}), **said)  # type: ignore[arg-type]


NAMED = [pytest.param(entry, id=f"{entry.provider}-{number}") for number, entry in enumerate(ENTRIES)]


@pytest.mark.parametrize("entry", NAMED)
def test_every_number_has_its_source_and_day(entry: Override) -> None:
    """Where it was read, and when; a file or a page, so that it can be read again."""
    assert re.search(r"https?://|litellm \d|genai-prices \d|types\.py", entry.source)
    assert entry.provider == "ollama" or re.search(r"read 20\d\d-\d\d-\d\d$", entry.source)


@pytest.mark.parametrize("entry", NAMED)
def test_every_entry_changes_something(entry: Override) -> None:
    """One that no longer does (the catalogue has caught up, a model is gone) is to be looked at."""
    if entry.provider == "ollama":
        assert BOOK.card("ollama", "llama3", SATURDAY)
        return
    without = Overrides(tuple(other for other in ENTRIES if other is not entry))
    lacking = PriceBook(catalogue, without, "")
    names = next(provider for provider in catalogue if provider.id == entry.provider).models
    models = [info.id for info in names] + [entry.match.equals or "", "gpt-4o", "gpt-6-sol", "gpt-5.5", "gpt-5-mini"]
    models += ["gpt-5.6-sol", "gpt-4.1-mini", *(f"accounts/fireworks/models/{info.id}" for info in names)]
    when = entry.when
    region = "us" if when.region == "*" else when.region
    usage = replace(
        EVERYTHING,
        units=MANY | dict.fromkeys(entry.at_least, 1),
        service_tier=when.service_tier,
        speed=when.speed,
        inference_geo=when.inference_geo,
        search_size=when.search_size,
    )

    def price(book: PriceBook, model: str, at: datetime) -> object:
        found = book.card(entry.provider, model, at, region=region)
        return found and found.price(usage)

    assert any(price(BOOK, m, at) != price(lacking, m, at) for m in models for at in (WEDNESDAY, SATURDAY))


def test_nothing_before_its_day_costs_anything_else() -> None:
    """Corrections hold from the day they were made; what was booked before stays what it was."""
    for provider, model in (("mistral", "mistral-large-latest"), ("deepseek", "deepseek-v4-pro"), ("openai", "gpt-5")):
        before = datetime(2026, 11, 21, 2, 30, tzinfo=UTC)  # a Saturday, in DeepSeek's peak hours
        ours, theirs = BOOK.card(provider, model, before), BARE.card(provider, model, before)

        assert ours is not None
        assert theirs is not None
        assert ours.price(Usage(input=1_000, output=10)) == theirs.price(Usage(input=1_000, output=10))


@pytest.mark.parametrize(
    ("tier", "length", "dollars"),
    [
        (None, 100_000, "1.0"),
        ("priority", 100_000, "2.0"),
        ("flex", 100_000, "0.5"),
        ("batch", 100_000, "0.5"),
        (None, 300_000, "6.0"),
    ],
)
def test_twelve_hour_writes_cost_two_and_a_half_inputs(tier: str | None, length: int, dollars: str) -> None:
    """At every tier and length: gpt-5.6-sol's input is 4 USD, 8 beyond 272,000 tokens."""
    sol = card("openai", "gpt-5.6-sol")

    assert usd(sol, replace(Usage(cache_write_12h=length), service_tier=tier)) == Decimal(dollars)
    assert sol.prices_12h
    held = sol.most(length, 0, service_tier=tier or "default", possible=Possible(cache_12h=True))
    assert Decimal(held) / 10**9 >= Decimal(dollars)
    assert tier is not None or Decimal(held) / 10**9 == Decimal(dollars)


@pytest.mark.parametrize(
    ("provider", "model", "region", "factor"),
    [
        ("openai", "gpt-5.4-mini", "eu", "1.1"),
        ("openai", "gpt-5.4-mini", "jp", "1.1"),
        ("openai", "gpt-5.4-mini", "gov", "1.1"),
        ("openai", "gpt-4o", "eu", "1"),
        ("openai", "gpt-4o", "gov", "1.1"),
        ("azure", "gpt-4o", "us", "1.1"),
        ("azure", "gpt-6-sol", "eu", "1.2"),
        ("azure", "text-embedding-3-small", "us", "1"),
        ("google", "gemini-3.6-flash", "europe-west4", "1.1"),
        ("google", "gemini-2.5-flash", "europe-west4", "1"),
        ("google", "claude-sonnet-4-5@20250929", "us-east5", "1.1"),
        ("google", "claude-3-5-sonnet", "us-east5", "1"),
        ("x-ai", "grok-4.6", "us", "1.1"),
        ("x-ai", "grok-4.6", "eu-west-1", "1"),
        ("together", "MiniMaxAI/MiniMax-M3", "us", "1.25"),
    ],
)
def test_places_have_a_price(provider: str, model: str, region: str, factor: str) -> None:
    """Every token price is multiplied where calls stay in one place, at every tier, and its bound with it."""
    usual, there = card(provider, model), card(provider, model, region=region)

    for usage in (tokens("input", 1_000), tokens("cache_read", 1_000), tokens("input", 1_000, service_tier="flex")):
        assert there.price(usage).total_nanos == usual.price(usage).total_nanos * Decimal(factor)
    assert there.most(0, 1_000) == usual.most(0, 1_000) * Decimal(factor)
    assert usual is card(provider, model, region=None)


@pytest.mark.parametrize(
    ("model", "dollars"),
    [
        ("us.anthropic.claude-sonnet-4-5-20250929-v1:0", "3.3"),
        ("eu.anthropic.claude-sonnet-4-5-20250929-v1:0", "3.3"),
        ("anthropic.claude-sonnet-4-5-20250929-v1:0", "3.3"),
        ("global.anthropic.claude-sonnet-4-5-20250929-v1:0", "3"),
        ("us.amazon.nova-pro-v1:0", "0.8"),
        ("amazon.nova-pro-v1:0", "0.8"),
    ],
)
def test_bedrocks_prefixes_have_a_price(model: str, dollars: str) -> None:
    """From Claude 4.5 on a place costs a tenth more than anywhere; the catalogue knows."""
    assert usd(card("aws", model), tokens("input", 1_000)) * 1_000 == Decimal(dollars)


@pytest.mark.parametrize(
    ("provider", "model", "tier", "count", "factor"),
    [
        ("aws", "us.amazon.nova-pro-v1:0", "flex", "input", "0.5"),
        ("aws", "us.amazon.nova-pro-v1:0", "priority", "output", "1.75"),
        ("aws", "openai.gpt-oss-120b-1:0", "priority", "input", "1.75"),
        ("aws", "amazon.titan-embed-text-v2:0", "priority", "input", "1"),
        ("google", "gemini-3.6-flash", "flex", "cache_read", "0.5"),
        ("google", "gemini-2.5-flash", "flex", "output", "0.5"),
        ("google", "gemini-2.5-flash", "flex", "cache_read", "1"),
        ("google", "gemini-2.5-pro", "priority", "reasoning", "1.8"),
        ("openai", "gpt-6-astra", "ultrafast", "output", "6"),
        ("azure", "gpt-4o", "priority", "output", "1"),
        ("azure", "gpt-5.5", "priority", "output", "2.5"),
        ("fireworks", "accounts/fireworks/models/glm-5p3", "priority", "output", "1.25"),
        ("anthropic", "claude-opus-4-5", "priority", "output", "1"),
    ],
)
def test_tiers_have_a_price(provider: str, model: str, tier: str, count: str, factor: str) -> None:
    """By the tier that the answer says it was served at, where the catalogue has none for it."""
    found = card(provider, model)

    assert found.price(tokens(count, 1_000, service_tier=tier)).total_nanos == found.price(
        tokens(count, 1_000)
    ).total_nanos * Decimal(factor)


@pytest.mark.parametrize(
    ("provider", "model", "factor"),
    [
        ("openai", "gpt-5.4", "0.5"),
        ("openai", "text-embedding-3-small", "0.5"),
        ("anthropic", "claude-sonnet-4-5", "0.5"),
        ("google", "gemini-2.5-pro", "0.5"),
        ("google", "gemini-3.7-flash", "0.5"),
        ("google", "claude-opus-4-6", "0.5"),
        ("mistral", "mistral-small-latest", "0.5"),
        ("mistral", "mistral-large-latest", "0.5"),
        ("mistral", "magistral-medium", "0.5"),
        ("x-ai", "grok-4.3", "0.8"),
        ("x-ai", "grok-4.7", "0.8"),
        ("groq", "openai/gpt-oss-20b", "0.5"),
        ("groq", "llama-3.1-8b-instant", "0.5"),
        ("azure", "gpt-4o", "0.5"),
        ("anthropic", "claude-opus-4-1", "0.5"),
        ("anthropic", "claude-sonnet-4-20250514", "0.5"),
        ("anthropic", "claude-3-haiku-20240307", "0.5"),
        ("aws", "us.anthropic.claude-sonnet-4-5-20250929-v1:0", "0.5"),
        ("fireworks", "accounts/fireworks/models/glm-5p3", "0.5"),
        ("together", "MiniMaxAI/MiniMax-M3", "1"),
    ],
)
def test_batches_have_a_price(provider: str, model: str, factor: str) -> None:
    """A usage at the tier `batch` costs what the catalogue has for batches, or half where only the provider says so."""
    found = card(provider, model)
    usage = tokens("input", 1_000)

    assert found.price(usage.with_tier("batch")).total_nanos == found.price(usage).total_nanos * Decimal(factor)


def test_a_gap_is_filled_once() -> None:
    """Where the catalogue has a batch price of its own, ours does not halve it again."""
    for provider in ("openai", "anthropic", "google", "mistral", "groq", "x-ai"):
        models = next(one for one in catalogue if one.id == provider).models
        batched = [info.id for info in models if any(v.when.get("processing") for v in info.price_variants or ())]
        assert batched
        for model in batched:
            ours, theirs = BOOK.card(provider, model, WEDNESDAY), BARE.card(provider, model, WEDNESDAY)
            if ours is not None and theirs is not None:
                usage = tokens("output", 1_000, service_tier="batch")
                assert ours.price(usage).total_nanos == theirs.price(usage).total_nanos


def test_recordings_and_pages_are_halved_too() -> None:
    """Mistral's discount on batches is on everything that is billed."""
    for model, unit in (
        ("voxtral-mini-transcribe-3-0", "input_audio_seconds"),
        ("mistral-ocr-2503", "input_document_pages"),
    ):
        found = card("mistral", model)
        usage = Usage(units={unit: 36_000})
        assert found.price(usage.with_tier("batch")).total_nanos * 2 == found.price(usage).total_nanos > 0


@pytest.mark.parametrize(
    ("at", "dollars"),
    [
        (WEDNESDAY, "1.32"),
        (WEDNESDAY.replace(hour=5), "0.66"),
        (WEDNESDAY.replace(hour=6), "1.32"),
        (WEDNESDAY.replace(hour=10), "0.66"),
        (SATURDAY, "0.66"),
        (SATURDAY + timedelta(days=1, hours=5), "0.66"),
        (SATURDAY + timedelta(days=2), "1.32"),
    ],
)
def test_deepseeks_peak_hours_are_on_working_days(at: datetime, dollars: str) -> None:
    """Double from 01 to 04 and from 06 to 10 UTC, from Monday to Friday only."""
    assert usd(card("deepseek", "deepseek-v4-pro", at), tokens("input")) == Decimal(dollars)


@pytest.mark.parametrize(
    ("model", "size", "dollars"),
    [
        ("sonar", "low", "0.005"),
        ("sonar", "medium", "0.008"),
        ("sonar", "high", "0.012"),
        ("sonar", None, "0.012"),
        ("sonar-pro", "low", "0.006"),
    ],
)
def test_perplexitys_fee_is_by_the_size_of_the_search(model: str, size: str | None, dollars: str) -> None:
    """Not said, it is the highest, which is also the bound."""
    found = card("perplexity", model)

    assert usd(found, Usage(search_size=size)) == Decimal(dollars)
    assert found.most(0, 0) >= found.price(Usage(search_size=size)).total_nanos


@pytest.mark.parametrize(
    ("provider", "model", "unit", "dollars"),
    [
        ("openai", "gpt-5", "code_executions", "0.03"),
        ("azure", "gpt-5", "code_executions", "0.033"),
        ("azure", "gpt-5", "web_searches", "0.014"),
        ("google", "gemini-2.5-flash", "map_searches", "0.025"),
        ("google", "gemini-3.6-flash", "map_searches", "0.014"),
        ("google", "gemini-3.6-flash", "web_searches", "0.014"),
        ("google", "gemini-2.5-flash", "web_searches", "0.035"),
        ("x-ai", "grok-4.6", "web_searches", "0.005"),
        ("anthropic", "claude-opus-4-5", "web_searches", "0.01"),
    ],
)
def test_tools_have_a_fee(provider: str, model: str, unit: str, dollars: str) -> None:
    """By the use, at any tier."""
    for tier in (None, "batch"):
        assert usd(card(provider, model), Usage(units={unit: 1}, service_tier=tier)) == Decimal(dollars)


def test_names_that_moved_are_priced_as_what_they_name() -> None:
    """The catalogue prices mistral-large-latest as the model that was retired in May."""
    large = card("mistral", "mistral-large-latest")

    assert (usd(large, tokens("input")), usd(large, tokens("output"))) == (Decimal("0.5"), Decimal("1.5"))
    assert usd(card("mistral", "mistral-large-2411"), tokens("input")) == 2


def test_a_short_recording_is_billed_as_ten_seconds() -> None:
    """Groq's minimum; none at all costs nothing, and a longer one what it is."""
    whisper = card("groq", "whisper-large-v3")
    nanos = [whisper.price(Usage(units={"input_audio_seconds": seconds})).total_nanos for seconds in (0, 1, 10, 20)]

    assert nanos == [0, 308_333, 308_333, 616_667]


def test_what_the_file_says_is_shown() -> None:
    """A correction is an override in the price list; a price that only a place or a tier has is not."""
    assert card("mistral", "mistral-large-latest").source == "override"
    assert card("azure", "gpt-4o").source == "override"
    assert card("openai", "gpt-4o", region="eu").source == "override"
    assert card("aws", "amazon.nova-pro-v1:0").source == "catalogue"
