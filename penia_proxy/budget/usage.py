"""
Say what was consumed.

Its one job: one shape for every provider's report, with disjoint counts, so that no reader has to know who includes
what (DESIGN.md §6).
Rule: counts are never negative (but those of a correction) and never overlap. Whoever reads a provider clamps before
it builds a Usage.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from penia_proxy.values import quick

CostBasis = Literal[
    "reported", "provider_cost", "partial", "estimated", "unconfirmed", "client", "free", "unpriced", "repriced"
]
"""
How a record's cost was obtained; DESIGN.md §6 defines each. ``repriced`` is that of a correction only: the price of a
record that had none.
"""

UNPRICED_COUNTS: Mapping[str, int] = {"unpriced": 1, "repriced": -1}
"""What a record of a basis adds to the number of calls without a price; those that are not here add nothing."""


BATCH_TIER = "batch"
"""The tier of what a batch has used: Anthropic's own word, and what we call the catalogue's ``processing: batch``."""


@quick
@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens and other units of one answer. All counts are disjoint; ``units`` holds what is not tokens."""

    input: int = 0
    """Uncached text input."""
    cache_read: int = 0
    cache_write: int = 0
    """Written to a cache at the default lifetime (Anthropic: 5 minutes)."""
    cache_write_1h: int = 0
    """Written to a cache kept for an hour, which costs more (Anthropic)."""
    cache_write_12h: int = 0
    """Written to a cache kept for twelve hours, which costs more (OpenAI)."""
    output: int = 0
    """Visible text output."""
    reasoning: int = 0
    """Thinking that is billed as output and not shown."""
    input_audio: int = 0
    output_audio: int = 0
    input_image: int = 0
    output_image: int = 0
    input_video: int = 0
    output_video: int = 0
    cache_read_audio: int = 0
    cache_read_image: int = 0
    citation: int = 0
    """Text of sources that is billed beside the output (Perplexity's deep research)."""
    units: Mapping[str, int] = field(default_factory=dict)
    """Other billed units by name, e.g. ``{"web_searches": 2}``."""
    service_tier: str | None = None
    """The tier of the response, which sets the price; never the one that was asked for."""
    speed: str | None = None
    """Anthropic's ``usage.speed`` (``fast`` costs more), from the response."""
    inference_geo: str | None = None
    """Where the model ran, from the response (Anthropic: ``us`` costs more)."""
    search_size: str | None = None
    """How much a search took in, from the response: ``low``, ``medium`` or ``high`` sets its fee (Perplexity)."""

    def with_tier(self, service_tier: str | None) -> "Usage":
        """Return the same counts at another tier: some answers state it apart from the counts."""
        return self if service_tier == self.service_tier else replace(self, service_tier=service_tier)

    def plus(self, other: "Usage") -> "Usage":
        """Return the sum of the counts, priced as this one."""
        units = dict(self.units)
        for name, amount in other.units.items():
            units[name] = units.get(name, 0) + amount
        sums = {name: getattr(self, name) + getattr(other, name) for name in TOKEN_COUNTS}
        return replace(self, units=units, **sums)

    def minus(self, other: "Usage") -> "Usage":
        """Return what this has more than another, below 0 where it has less: the counts of a correction."""
        units = {name: self.units.get(name, 0) - other.units.get(name, 0) for name in {*self.units, *other.units}}
        differences = {name: getattr(self, name) - getattr(other, name) for name in TOKEN_COUNTS}
        return replace(self, units={name: amount for name, amount in units.items() if amount}, **differences)

    @property
    def cache_read_total(self) -> int:
        """Input from a cache, of every kind."""
        return self.cache_read + self.cache_read_audio + self.cache_read_image

    @property
    def cache_write_total(self) -> int:
        """Input written to a cache, at every lifetime."""
        return self.cache_write + self.cache_write_1h + self.cache_write_12h

    @property
    def input_media(self) -> int:
        """Uncached input that is not text."""
        return self.input_audio + self.input_image + self.input_video

    @property
    def input_total(self) -> int:
        """All input, cached included: what people call input tokens."""
        return self.input + self.cache_read_total + self.cache_write_total + self.input_media

    @property
    def output_total(self) -> int:
        """All output, reasoning included."""
        return self.output + self.reasoning + self.output_audio + self.output_image + self.output_video + self.citation

    @property
    def total(self) -> int:
        """All tokens."""
        return self.input_total + self.output_total


INPUT_COUNTS = (
    "input",
    "cache_read",
    "cache_write",
    "cache_write_1h",
    "cache_write_12h",
    "input_audio",
    "input_image",
    "input_video",
    "cache_read_audio",
    "cache_read_image",
)
OUTPUT_COUNTS = ("output", "reasoning", "output_audio", "output_image", "output_video", "citation")
TOKEN_COUNTS = INPUT_COUNTS + OUTPUT_COUNTS
"""The names of the disjoint token counts."""
