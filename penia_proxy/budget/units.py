"""
Know what can be priced.

Its one job: every billable unit by its price key, and which unit each token count of a `Usage` is.
Rules: the registry is the catalogue's (genai_prices/data_units.py), and of ours only what it has no word for yet: a
test says when it has. How units are priced is not known here.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from genai_prices.data_units import unit_data

Dimensions = frozenset[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Unit:
    """A billable unit."""

    usage_key: str
    """Its name in ``Usage.units``, where it is not tokens."""
    per: int
    """How many of them the price is for."""
    dimensions: Dimensions
    """A price holds for every count that has all of these."""

    @property
    def direction(self) -> str:
        """``input``, ``output`` or nothing."""
        return dict(self.dimensions).get("direction", "")

    @property
    def is_tokens(self) -> bool:
        return ("family", "tokens") in self.dimensions


def _tokens(direction: str, modality: str, *, kind: str = "", ttl: str = "") -> Dimensions:
    named = {"family": "tokens", "direction": direction, "modality": modality, "token_type": kind, "cache_ttl": ttl}
    return frozenset((name, value) for name, value in named.items() if value)


OWN_UNITS: dict[str, Unit] = {
    "cache_write_12h_mtok": Unit(
        "cache_write_12h_tokens", 1_000_000, _tokens("input", "", kind="cache_write", ttl="12h")
    ),
    "map_searches_kcount": Unit(
        "map_searches", 1_000, frozenset({("family", "tool_calls"), ("tool_type", "map_search")})
    ),
}
"""What the catalogue has no word for: OpenAI's cache writes kept for 12 hours, Google's grounding with Maps."""

UNITS: Mapping[str, Unit] = {
    **OWN_UNITS,
    **{
        raw.get("price_key", usage_key): Unit(usage_key, raw["per"], frozenset(raw["dimensions"].items()))
        for usage_key, raw in unit_data.items()
    },
}
"""Every unit that can be priced, by price key."""

REQUESTS = "requests_kcount"
"""The price that every call has once, whatever it used."""

INPUT_DIMENSIONS: Mapping[str, Dimensions] = {
    "input": _tokens("input", "text"),
    "cache_read": _tokens("input", "text", kind="cache_read"),
    "cache_write": _tokens("input", "text", kind="cache_write", ttl="5m"),
    "cache_write_1h": _tokens("input", "text", kind="cache_write", ttl="1h"),
    "cache_write_12h": _tokens("input", "text", kind="cache_write", ttl="12h"),
    "input_audio": _tokens("input", "audio"),
    "input_image": _tokens("input", "image"),
    "input_video": _tokens("input", "video"),
    "cache_read_audio": _tokens("input", "audio", kind="cache_read"),
    "cache_read_image": _tokens("input", "image", kind="cache_read"),
}
OUTPUT_DIMENSIONS: Mapping[str, Dimensions] = {
    "output": _tokens("output", "text"),
    "reasoning": _tokens("output", "text", kind="reasoning"),
    "output_audio": _tokens("output", "audio"),
    "output_image": _tokens("output", "image"),
    "output_video": _tokens("output", "video"),
    "citation": _tokens("output", "text", kind="citation"),
}
"""The token counts of a Usage, in the order of `INPUT_COUNTS` and `OUTPUT_COUNTS`, and what each is a count of."""
