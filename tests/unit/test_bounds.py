"""No call costs more than the most it was said to, whatever the model, the tier and the split of its tokens."""

import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from genai_prices.data import providers as catalogue
from hypothesis import given, settings
from hypothesis import strategies as st

from penia_proxy.budget.estimate import OVERHEAD_TOKENS, Known, Size, estimate
from penia_proxy.budget.models import ModelFacts
from penia_proxy.budget.prices import PriceBook, RateCard
from penia_proxy.budget.ratecard import Possible
from penia_proxy.budget.usage import INPUT_COUNTS, OUTPUT_COUNTS, Usage

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
BOOK = PriceBook.load()
MODELS = [(provider.id, info.id) for provider in catalogue for info in provider.models]
FAMOUS = [pair for pair in MODELS if pair[0] in {"openai", "anthropic", "google", "aws", "azure"}]
"""Those with the most kinds of prices."""
SENSES = ("input_audio", "cache_read_audio", "input_video", "output_audio", "output_video")
TIERS = ("default", "standard", "flex", "priority", "fast", "batch", "ultrafast")
ANSWERED = {
    None: (None, *TIERS),
    "auto": (None, *TIERS),
    "default": (None, "default", "standard"),
    "flex": (None, "default", "flex"),
    "priority": (None, "default", "priority"),
    "fast": (None, "default", "priority", "fast"),
    "ultrafast": (None, "default", "ultrafast"),
}
"""What providers answer to what is asked for: a project's settings choose where nothing is asked."""


def split(rng: random.Random, total: int, names: list[str]) -> dict[str, int]:
    """Return counts that sum to at most the total."""
    counts = dict.fromkeys(names, 0)
    for name in rng.sample(names, k=rng.randint(1, len(names))):
        counts[name] = rng.choice((0, 1, rng.randint(0, max(total - sum(counts.values()), 0))))
    if rng.random() < 0.5:
        counts[rng.choice(names)] += max(total - sum(counts.values()), 0)
    scale = sum(counts.values())
    return counts if scale <= total else {name: count * total // scale for name, count in counts.items()}


def some_use(rng: random.Random, most_in: int, most_out: int, possible: Possible, asked: str | None) -> Usage:
    """Return a use within the bounds that the request allows."""
    excluded = {"cache_write_1h": not possible.cache_1h, "cache_write_12h": not possible.cache_12h}
    excluded |= dict.fromkeys(SENSES, not possible.senses)
    given_in = split(rng, most_in, [name for name in INPUT_COUNTS if not excluded.get(name)])
    made = split(rng, most_out, [name for name in OUTPUT_COUNTS if not excluded.get(name)])
    return Usage(
        **given_in,
        **made,
        service_tier=rng.choice(ANSWERED[asked]),
        inference_geo=rng.choice((None, "us", "global")),
        search_size=rng.choice((None, "low", "medium", "high")),
    )


def bounded(card: RateCard, size: Size, rng: random.Random) -> bool:
    """Whether a call has a bound; if so, hold some uses within it against it."""
    facts = ModelFacts(context_window=None, output_tokens_max=rng.choice((1, 4_096, 128_000)))
    said = estimate(size, card, Known(100, facts=facts, cost_factor=rng.choice((0.01, 1.0, 3.0))))
    most_out = size.output_bound(facts.output_tokens_max)
    if said.ask.most_nanos is None or most_out is None:
        return False
    assert said.ask.expected_nanos is not None
    assert said.ask.expected_nanos <= said.ask.most_nanos
    # No tokenizer makes more tokens than bytes, so so many can be billed; no window lowers this where none is known.
    bytes_in = size.text_bytes + size.images * size.image_tokens_max + size.hidden_tokens
    window = card.context_window if card.context_window and card.context_window > card.highest_tier_above else None
    most_in = min(bytes_in + OVERHEAD_TOKENS, window or bytes_in + OVERHEAD_TOKENS)
    for _ in range(8):
        usage = some_use(rng, most_in, most_out, size.possible, size.service_tier)
        assert card.price(usage).total_nanos <= said.ask.most_nanos, (card.provider, card.model, usage)
    return True


@settings(max_examples=1_500, deadline=None)
@given(
    pair=st.sampled_from(MODELS) | st.sampled_from(FAMOUS),
    asked=st.sampled_from(list(ANSWERED)),
    region=st.sampled_from([None, "us", "eu", "gov"]),
    hours=st.integers(0, 24 * 400),
    seed=st.integers(0, 2**32),
)
def test_no_call_of_any_provider_costs_more_than_its_bound(
    pair: tuple[str, str], asked: str | None, region: str | None, hours: int, seed: int
) -> None:
    """Over every catalogue's card with our prices on it: tiers, places, days, long contexts, caches and senses."""
    rng = random.Random(seed)
    card = BOOK.card(*pair, NOW + timedelta(hours=hours), region=region)
    size = Size(
        text_bytes=rng.choice((0, 100, 30_000, 150_000, 200_001, 272_001, 900_000)),
        images=rng.randrange(3),
        image_tokens_max=1_600,
        hidden_tokens=rng.choice((0, 1_300)),
        output_cap=rng.choice((None, 0, 7, 40_000)),
        choices=rng.randint(1, 3),
        service_tier=asked,
        cache_1h=rng.random() < 0.5,
        cache_12h=rng.random() < 0.5,
        audio=rng.random() < 0.5,
    )
    if card is not None:
        bounded(card, size, rng)


def test_the_bounds_are_tried() -> None:
    """Nearly every card has a bound for a plain call, so that the test above has something to hold against it."""
    rng = random.Random(7)
    cards = [card for pair in MODELS if (card := BOOK.card(*pair, NOW)) is not None]

    assert len(cards) > 2_000
    assert sum(bounded(card, Size(text_bytes=1_000, output_cap=100), rng) for card in cards) == len(cards)


def test_a_choice_without_a_price_has_no_bound() -> None:
    """A tier, a speed and a cache lifetime that may be dearer and whose price is not known are refused, not guessed."""
    card = BOOK.card("openai", "gpt-4", NOW)
    assert card is not None
    plain = Size(text_bytes=10, output_cap=5)

    for choice, why in (
        ({"service_tier": "priority"}, "service tier 'priority'"),
        ({"service_tier": "warp"}, "service tier 'warp'"),
        ({"speed": "fast"}, "speed 'fast'"),
        ({"cache_12h": True}, "cache lifetime"),
    ):
        ask = estimate(replace(plain, **choice), card, Known(100)).ask
        assert ask.most_nanos is None
        assert why in ask.unbounded_why
    for tier in (None, "auto", "default", "flex", "batch", "standard_only"):
        assert estimate(replace(plain, service_tier=tier), card, Known(100)).ask.most_nanos is not None


def test_a_tier_without_a_price_marks_what_it_cost() -> None:
    """Where an answer says that it was served at one, the cost is that of standard, and said to be a lower bound."""
    card = BOOK.card("openai", "gpt-4", NOW)
    assert card is not None
    plain = card.price(Usage(input=10))

    assert card.price(Usage(input=10, service_tier="priority")) == replace(plain, unrated=("service_tier=priority",))
    assert card.price(Usage(input=10, speed="fast")) == replace(plain, unrated=("speed=fast",))
    assert card.price(Usage(input=10, service_tier="flex")) == plain
    assert card.price(Usage(cache_write_12h=10)).unrated == ("cache_write_12h",)
