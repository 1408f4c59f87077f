"""
Make words, identifiers and token counts from a seed.

Its one job: everything in an answer that a model would have invented, as a function of a seed and nothing else.
Rule: one streamed piece is one output token, so whoever counts pieces has counted tokens.
It must not know about HTTP or any provider's format.
"""

import hashlib
import re
from collections.abc import Iterator, Mapping
from typing import Any

import orjson

BYTES_PER_TOKEN = 4
"""How the sandbox counts input: a token per started four bytes of UTF-8, so never more tokens than bytes."""

TOKENS_PER_MESSAGE = 4
"""What the sandbox adds for each message's frame."""

OUTPUT_TOKENS_MAX = 200_000
"""No answer is longer, whatever is asked for."""

_VOCABULARY = (  # noqa: SIM905 -- 120 quoted words are unreadable
    "acorn amber anchor apple april arbor ash autumn basalt beacon birch bridge brook candle canyon cedar chalk "
    "cinder clay cliff clover cobalt copper coral cotton crane current dawn delta drift dune dusk ember fable "
    "fern field flint forest fossil frost garden glacier granite grove harbor hazel heron hill hollow horizon "
    "indigo iris island ivory jasper juniper kelp kettle lantern larch ledger lichen linen lumen maple marble "
    "meadow mesa mineral mist moss nectar north oak oasis ocean olive onyx opal orchard otter pebble pepper pine "
    "plume pollen prairie quarry quartz raven reed ridge river rowan saffron sage sand scarlet shale shore silver "
    "slate snow sorrel spruce starling stone summit sycamore tarn thistle thyme tide timber topaz trellis tundra "
    "umber valley velvet violet walnut willow"
).split()

_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
_PIECE = re.compile(r"\s?\w{1,8}|[^\w]")

UNSEEDED = frozenset({"stream", "stream_options", "max_tokens", "max_completion_tokens"})
"""Body fields that do not change what is said: how it is delivered, and where it stops."""


def seed_of(body: Mapping[str, Any], salt: str = "") -> bytes:
    """Return 32 bytes that depend on the body less :data:`UNSEEDED`, whatever its key order and white space."""
    return hashlib.sha256(salt.encode() + canonical(body)).digest()


def canonical(body: Mapping[str, Any]) -> bytes:
    """Return the body less :data:`UNSEEDED` as compact JSON with sorted keys."""
    return orjson.dumps({key: body[key] for key in body if key not in UNSEEDED}, option=orjson.OPT_SORT_KEYS)


def derive(seed: bytes, *labels: object) -> bytes:
    """Return another seed for one use of this one, so that ids and words do not move together."""
    return hashlib.sha256(seed + "/".join(map(str, labels)).encode()).digest()


def number(seed: bytes, label: str, low: int, high: int) -> int:
    """Return a number of ``low .. high``, both included."""
    return low + int.from_bytes(derive(seed, label)[:8]) % (high - low + 1)


def identifier(prefix: str, seed: bytes, length: int) -> str:
    """Return ``prefix`` and ``length`` letters and digits, as the providers' ids look."""
    value = int.from_bytes(derive(seed, prefix) + derive(seed, prefix, "more"))
    letters = []
    for _ in range(length):
        value, index = divmod(value, len(_ALPHABET))
        letters.append(_ALPHABET[index])
    return prefix + "".join(letters)


def speech(seed: bytes, count: int) -> list[str]:
    """Return ``count`` pieces that join to sentences; each is one token."""
    said = []
    start = True
    for index, choice in zip(range(min(count, OUTPUT_TOKENS_MAX)), _choices(seed), strict=False):
        word = _VOCABULARY[choice % len(_VOCABULARY)]
        space = " " if index else ""
        stop = index == count - 1 or choice % 11 == 0
        said.append(f"{space}{word.capitalize() if start else word}{'.' if stop else ''}")
        start = stop
    return said


def word(seed: bytes, label: object) -> str:
    """Return one word."""
    return _VOCABULARY[int.from_bytes(derive(seed, label)[:4]) % len(_VOCABULARY)]


def pieces(text: str) -> list[str]:
    """Cut text that was not made of words, such as JSON, into pieces that join to it; each is one token."""
    return _PIECE.findall(text)


def tokens_of(text: str) -> int:
    """Return the input tokens of a text."""
    return -(-len(text.encode("utf-8", "surrogatepass")) // BYTES_PER_TOKEN)


def _choices(seed: bytes) -> Iterator[int]:
    """Yield pseudo-random numbers without end: Knuth's 64-bit congruential generator, cheap enough for a load test."""
    state = int.from_bytes(seed[:8])
    while True:
        state = (state * 6364136223846793005 + 1442695040888963407) & 0xFFFFFFFFFFFFFFFF
        yield state >> 33
