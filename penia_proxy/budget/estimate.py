"""
Say what a call may cost before it is made.

Its one job: from the size of a request, a rate card and a habit of output, the expected cost and the most it can be.
Rules: ``most`` is a bound, never a guess: where no bound exists it says why instead. ``expected`` may be wrong, and
is corrected by what the provider reports. No tokenizer makes more tokens than bytes (byte-level BPE), so bytes bound
input for free.
"""

import math
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Literal

from penia_proxy.budget.engine import Ask
from penia_proxy.budget.models import ModelFacts
from penia_proxy.budget.money import CALL_NANOS_MAX
from penia_proxy.budget.prices import RateCard
from penia_proxy.budget.ratecard import Possible
from penia_proxy.budget.rolling import Rolling
from penia_proxy.budget.usage import BATCH_TIER, Usage
from penia_proxy.values import quick

OUTPUT_COLD_START = 1024
"""Tokens expected of a (component, model) nothing is known about (DESIGN.md §5)."""

HABIT_SAMPLES = 256
HABIT_KEYS_MAX = 10_000

OVERHEAD_TOKENS = 64
TOKENS_PER_MESSAGE = 16
"""wire_formats.md §0.7: 16 a message and 64 a request cover the framing of every family measured but hidden prompts."""

HIDDEN_TOOL_TOKENS = 1_300
"""
Prompts that providers add unseen when tools or a schema are given: Nova up to 1,280, Claude up to 540
(wire_formats.md §3).
"""


@quick
@dataclass(frozen=True, slots=True)
class Size:
    """How big a request is, as its dialect read it."""

    text_bytes: int
    """The body without the payloads of its images: bounds every token that is text."""
    images: int = 0
    image_tokens_max: int = 0
    """The most tokens one image can be on this model; 0 where there are none."""
    messages: int = 0
    hidden_tokens: int = 0
    """The most the provider adds unseen."""
    beyond_body: bool = False
    """Input that is not in the body (files, stored state): only the context window bounds it."""
    output_cap: int | None = None
    """The caller's own cap on one answer's output; None if there is none."""
    choices: int = 1
    requests: int = 1
    """How many requests this stands for; each has a context window of its own (a batch)."""
    output_extra: int = 0
    """Output that is billed on top of the cap (rejected predictions)."""
    no_output: bool = False
    """Embeddings: nothing is generated."""
    service_tier: str | None = None
    speed: str | None = None
    cache_1h: bool = False
    cache_12h: bool = False
    """A cache may be written that is kept for longer than half an hour (OpenAI)."""
    audio: bool = False
    """Sound or moving pictures can be in it, or come of it."""
    presumed: Usage | None = None
    """
    What the call is taken to use where its text says little (sound, characters to speak), before it is made and where
    its answer does not say either. Its ``units`` count in a bound: where there can be more, say so below.
    """
    presumed_output: Literal["", "output", "output_audio"] = ""
    """The count of ``presumed`` that the habit of the (component, model) fills in: what a session's answer makes."""
    unbounded_why: str = ""
    """Not empty: what in this request can cost without bound (hosted tools)."""

    @property
    def possible(self) -> Possible:
        """What dear kinds of tokens the call can have."""
        return Possible(self.cache_1h, self.cache_12h, self.audio)

    def input_bound(self, context_window: int | None) -> int | None:
        """Return the most input tokens this can be; None if nothing bounds them."""
        if self.beyond_body:
            # The window of embeddings is each input's.
            inputs = max(self.messages, 1) if self.no_output else 1
            return None if context_window is None else context_window * inputs
        tokens = self.text_bytes + self.images * self.image_tokens_max + self.hidden_tokens + OVERHEAD_TOKENS
        # A request beyond the window is refused by the provider and costs nothing, so the window bounds what is billed;
        # but not that of embeddings, whose window is each input's.
        if context_window is None or self.no_output:
            return tokens
        return min(tokens, context_window * self.requests)

    def input_expected(self, text_tokens: int, context_window: int | None) -> int:
        """Return the expected input when the text was counted to be ``text_tokens``."""
        tokens = (
            text_tokens
            + self.images * self.image_tokens_max
            + self.messages * TOKENS_PER_MESSAGE
            + self.hidden_tokens
            + OVERHEAD_TOKENS
        )
        bound = self.input_bound(context_window)
        return tokens if bound is None else min(tokens, bound)

    def presumed_with(self, output: int) -> Usage | None:
        """Return what the call is taken to use, with so much of what it makes where its habit says how much."""
        if self.presumed is None or not self.presumed_output:
            return self.presumed
        if self.presumed_output == "output":
            return replace(self.presumed, output=output)
        return replace(self.presumed, output_audio=output)

    def output_expected(self, habit: int) -> int:
        """Return the expected output of all choices, at most what the caller allows."""
        if self.no_output:
            return 0
        return (habit if self.output_cap is None else min(habit, self.output_cap)) * self.choices

    def output_bound(self, output_max: int | None) -> int | None:
        """Return the most output tokens of a model that writes at most ``output_max``; None if nothing bounds them."""
        if self.no_output:
            return 0
        cap = output_max if self.output_cap is None else self.output_cap
        return None if cap is None else cap * self.choices + self.output_extra


@quick
@dataclass(frozen=True, slots=True)
class Estimate:
    """What a call is expected to use, and what it may cost."""

    ask: Ask
    input_tokens: int
    output_tokens: int
    input_raw: int | None = None
    """The input before experience corrected it; None where it says nothing of the request's own size."""
    counted: bool = False
    """Whether the text was counted; its bytes else."""


STEP_TOKENS = 64
"""Output that is held at a time once a call has outgrown its first hold."""


@quick
@dataclass(frozen=True, slots=True)
class Known:
    """What is known of a model and its use beyond its prices."""

    habit: int
    """The output to expect (`OutputHabit.p95`)."""
    facts: ModelFacts | None = None
    bytes_factor: float = 1.0
    counted_factor: float = 1.0
    """Reported ÷ estimated input, by bytes and by count (`Calibration.factors`)."""
    grows: bool = True
    """Whether what is held can grow while the answer comes."""
    cappable: bool = True
    """Whether the request can be sent with a smaller output cap."""
    cost_factor: float = 1.0
    """What tokens came to ÷ their price as plain, uncached text (`Calibration.factors`)."""


def estimate(size: Size, card: RateCard | None, known: Known, *, text_tokens: int | None = None) -> Estimate:
    """
    Estimate a call; ``text_tokens`` None takes the byte bound for its input, which costs nothing to know.

    No card: no price is known. Experience corrects what is expected, and never the most.
    """
    window = _window(card, known)
    bound = size.input_bound(window)
    counted = text_tokens is not None
    if text_tokens is None:
        raw, factor = size.text_bytes if bound is None else bound, known.bytes_factor
    else:
        raw, factor = size.input_expected(text_tokens, window), known.counted_factor
    tokens_in = raw if size.beyond_body else math.ceil(raw * factor)
    if bound is not None:
        tokens_in = min(tokens_in, bound)
    tokens_out = size.output_expected(known.habit)
    if (presumed := size.presumed_with(tokens_out)) is not None:
        tokens_in, tokens_out = presumed.input_total, presumed.output_total
    ask = Ask(None, None) if card is None else _ask(size, card, known, bound, tokens_in, tokens_out)
    says_its_size = not size.beyond_body and size.presumed is None
    return Estimate(ask, tokens_in, tokens_out, raw if says_its_size else None, counted)


def cheaper_asks(
    size: Size,
    card: RateCard | None,
    others: Iterable[tuple[str, ModelFacts]],
    card_of: Callable[[str], RateCard | None],
    like: Estimate,
) -> dict[str, Ask]:
    """Return what a call may cost at each of the other models that takes it and costs less than ``card``."""
    if card is None:
        return {}
    limit = _plain(size, card, like.input_tokens, like.output_tokens)
    found = {}
    for name, facts in others:
        its = card_of(name)
        if its is None or _plain(size, its, like.input_tokens, like.output_tokens) >= limit:
            continue
        if (ask := ask_elsewhere(size, its, facts, like)) is not None:
            found[name] = ask
    return found


def ask_elsewhere(size: Size, card: RateCard, facts: ModelFacts, like: Estimate) -> Ask | None:
    """
    Return what a call may cost at another model of its provider, by the tokens that were estimated; None: not known.

    That is so of a call that may not fit, of batches, of sound, and of input that is not in the request.
    """
    output = size.output_cap or 0
    if size.requests != 1 or size.presumed is not None or size.beyond_body or size.no_output:
        return None
    if like.input_tokens > (facts.context_window or 0) or output > (facts.output_tokens_max or 0):
        return None
    known = Known(habit=0, facts=facts)
    bound = size.input_bound(_window(card, known))
    return _ask(size, card, known, bound, like.input_tokens, like.output_tokens)


def _ask(size: Size, card: RateCard, known: Known, bound: int | None, tokens_in: int, tokens_out: int) -> Ask:
    expected = min(_expected(size, card, known, tokens_in, tokens_out), CALL_NANOS_MAX)
    why = size.unbounded_why or card.unpriced_choice(size.service_tier, size.speed, size.possible)
    if card.is_free and not why:
        return Ask(0, 0, grows=known.grows)
    # The stated maximum: newer than the table, a model may write more. Then the call is booked in full, as an overrun.
    output_bound = size.output_bound(_output_max(card, known))
    if not why and bound is None:
        why = "its input is not in the request, and the model's context window is not known"
    if not why and output_bound is None:
        why = "no output cap was sent, and the model's maximum is not known"
    least = expected if tokens_out <= STEP_TOKENS else _expected(size, card, known, tokens_in, STEP_TOKENS)
    if why or bound is None or output_bound is None:
        return Ask(expected, None, why, min(least, expected), known.grows)
    most = min(_most(size, card, bound, output_bound), CALL_NANOS_MAX)
    if not known.grows:
        first = min(output_bound, STEP_TOKENS * size.choices)
        least = _most(size, card, bound, first) if known.cappable else most
    return Ask(min(expected, most), most, "", min(least, most), known.grows)


def _output_max(card: RateCard, known: Known) -> int | None:
    """Return the most that the model is known to write: its stated maximum, else its context window."""
    return known.facts.output_tokens_max if known.facts and known.facts.output_tokens_max else _window(card, known)


def _window(card: RateCard | None, known: Known) -> int | None:
    stated = known.facts.context_window if known.facts else None
    window = max((card.context_window if card else None) or 0, stated or 0) or None
    if card is not None and window is not None and window <= card.highest_tier_above:
        # Priced beyond its own window: the model has a longer one that a request may ask for (Anthropic's 1M beta).
        return None
    return window


def output_within(size: Size, card: RateCard, known: Known, amount_nanos: int) -> int:
    """Return the largest output cap, per choice and 1 at least, with which a call costs at most an amount."""
    bound = size.input_bound(_window(card, known)) or 0
    least, most = 1, size.output_cap or _output_max(card, known) or 1
    while least < most:
        tokens = (least + most + 1) // 2
        if _most(size, card, bound, tokens * size.choices + size.output_extra) <= amount_nanos:
            least = tokens
        else:
            most = tokens - 1
    return least


def plain_cost(size: Size, card: RateCard | None, usage: Usage) -> int | None:
    """
    Return what a call's reported tokens would cost as plain text, at what it asked for.

    None where that cannot be compared to what it cost: no price is known, more than tokens was billed, or in a batch.
    """
    if card is None or usage.units or usage.service_tier == BATCH_TIER or size.presumed is not None:
        return None
    return _plain(size, card, usage.input_total, usage.output_total)


def _plain(size: Size, card: RateCard, input_tokens: int, output_tokens: int) -> int:
    if size.requests == 1:
        return card.expected(input_tokens, output_tokens, service_tier=size.service_tier, speed=size.speed)
    # Each request of a batch is priced by its own length.
    each = (math.ceil(input_tokens / size.requests), math.ceil(output_tokens / size.requests))
    return card.expected(*each, service_tier=size.service_tier, speed=size.speed) * size.requests


def _expected(size: Size, card: RateCard, known: Known, tokens_in: int, tokens_out: int) -> int:
    if (presumed := size.presumed_with(tokens_out)) is not None:
        return card.price(presumed).total_nanos
    plain = _plain(size, card, tokens_in, tokens_out)
    if size.requests != 1:  # what single calls teach of caches says nothing of a batch
        return plain
    if known.cost_factor == 1:
        return plain
    numerator, denominator = known.cost_factor.as_integer_ratio()
    return -(-plain * numerator // denominator)


def _most(size: Size, card: RateCard, input_bound: int, output_bound: int) -> int:
    most = card.most(
        input_bound, output_bound, service_tier=size.service_tier, speed=size.speed, possible=size.possible
    )
    # Where nothing is unbounded, the units of the request are all there are.
    return most if size.presumed is None else most + card.price(Usage(units=size.presumed.units)).total_nanos


class OutputHabit:
    """
    Remember how much each (component, model) writes: a rolling 95th percentile of the last answers.

    Feeds the hold of `finish` budgets only; a `never` budget holds a bound and does not ask.
    """

    def __init__(self) -> None:
        self._samples: OrderedDict[tuple[str, str], Rolling] = OrderedDict()

    def observe(self, component: str, model: str, output_tokens: int) -> None:
        """Take one answer's output into account."""
        key = (component, model)
        samples = self._samples.get(key)
        if samples is None:
            samples = self._samples[key] = Rolling(HABIT_SAMPLES)
            if len(self._samples) > HABIT_KEYS_MAX:
                self._samples.popitem(last=False)
        else:
            self._samples.move_to_end(key)
        samples.append(output_tokens)

    def p95(self, component: str, model: str) -> int:
        """Return the 95th percentile of the last answers (nearest rank), OUTPUT_COLD_START where there are none."""
        samples = self._samples.get((component, model))
        if not samples:
            return OUTPUT_COLD_START
        return int(samples.quantile(0.95))
