"""
Say how many tokens something is.

Its one job: text, bytes and images as tokens of a model's family, as an estimate or as a bound.
Rules: `count` never raises and never takes long: any failure of the tokenizer, its panics included, falls back to
the byte bound. The vocabulary comes from `penia_proxy/vocab/`, checked by hash; nothing is downloaded. Counting
can hold the processor for a tenth of a second: the caller puts it on a thread. What is counted is never kept.
"""

import base64
import binascii
import hashlib
import json
import math
import re
from functools import lru_cache
from pathlib import Path

from tiktoken import Encoding

from penia_proxy.errors import ConfigError

VOCABULARY = Path(__file__).resolve().parent.parent / "vocab"

SLICE_BYTES = 16_384
"""What the tokenizer gets at once: a million spaces make tiktoken 0.14 panic, in slices they do not."""

COUNTED_BYTES_MAX = 262_144
"""Of a longer text, slices spread evenly over it are counted and the rest is extrapolated by bytes (random letters take
2.4 s a megabyte)."""

_OPENAI = re.compile(r"(ft:)?(gpt-|o[1-9](-|$)|chatgpt-|codex|computer-use|text-embedding-|davinci-002|babbage-002)")
_CL100K = re.compile(r"(ft:)?(gpt-4(-|$)|gpt-3\.5|gpt-35|text-embedding-|davinci-002|babbage-002)")
_CLAUDE_TO_4_6 = re.compile(
    r"claude-(instant|v?[12]|3|4[-.][0-6](?!\d)|4-[os]|(opus|sonnet|haiku)-(3|4([-.][0-6](?!\d)|$|[-@]20\d{6})))"
)

FACTORS: tuple[tuple[re.Pattern[str], float], ...] = (
    (_CLAUDE_TO_4_6, 1.5),
    (re.compile("claude"), 1.8),
    (re.compile("gemini|gemma|learnlm"), 1.32),
    (re.compile("mistral|mixtral|ministral|codestral|magistral|devstral|pixtral"), 1.37),
    (re.compile("deepseek"), 1.1),
    (re.compile("nova"), 1.3),
    (re.compile("llama"), 1.1),
    (re.compile("grok"), 1.3),
)
"""Tokens of a family per token of o200k: the largest ratio that whole recorded prompts showed, rounded up (3,763
exchanges, November 2026; Claude from 4.7 on: measurements against 4.6, times its ratio). Too much reserves a little,
too little overruns."""

FACTOR_UNKNOWN = 1.6
"""The same for a family nobody measured: covered 98.9 % of those exchanges across all families."""


def byte_bound(n_bytes: int) -> int:
    """
    Return the most tokens that text of this many UTF-8 bytes can be.

    Byte-level BPE spends at least one byte on a token, so this bounds the text, for free. It does not bound what is
    not text in the body: images, what a provider adds unseen (tools, schemas), stored state.
    """
    return max(0, n_bytes)


def count(text: str, model: str) -> int:
    """
    Estimate the tokens of a text for a model.

    For OpenAI's models exact, but for the seams of slices, up to COUNTED_BYTES_MAX; for others an upper estimate. Never
    raises. Not a bound: `byte_bound` is; nothing returned here exceeds it.
    """
    n_bytes = _size(text)
    if not n_bytes:
        return 0
    encoding, factor = _family(model)
    try:
        counted = _count(text, n_bytes, _encoding(encoding)) * factor
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException:  # noqa: BLE001 - tiktoken's PanicException is one; a damaged vocabulary must not stop calls
        return byte_bound(n_bytes)
    return min(math.ceil(counted), byte_bound(n_bytes))


def load_vocabulary() -> None:
    """
    Load the encoding of today's models now (half a second, 83 MB) instead of at the first count.

    Raises ConfigError if its file is missing or is not what it was when it was shipped.
    """
    _encoding("o200k_base")


def image_tokens_max(provider_format: str, model: str) -> int:
    """Return the most input tokens one image of unknown size can be; without a rule, its format's dearest."""
    name = _bare(model)
    for pattern, tokens in _IMAGE_TOKENS:
        if pattern.match(name):
            return tokens
    return 4_800 if provider_format == "anthropic" else 12_000


# Published sizing rules at their largest; ✓: also seen in recorded usage.
_IMAGE_TOKENS: tuple[tuple[re.Pattern[str], int], ...] = (
    # Tiles: fitted into 2048², short side to 768: at most 8 of 512². 85 + 170 a tile ✓; mini 2,833 + 5,667 ✓.
    (re.compile(r"(ft:)?gpt-4o-mini"), 48_170),
    (re.compile(r"(ft:)?(gpt-4o|chatgpt-4o|gpt-4\.5|gpt-4-|o1|o3(?!-mini)|computer-use)"), 1_600),
    # Patches of 32²: at most 1,536 times 2.46 (4.1-nano ✓), 1.72 (o4-mini), 1.62 (4.1-mini) or 1.
    (re.compile(r"(ft:)?gpt-4\.1-nano"), 3_779),
    (re.compile(r"o4-mini|codex-mini"), 2_642),
    (re.compile(r"(ft:)?gpt-4\.1-mini"), 2_489),
    (re.compile(r"(ft:)?gpt-4\.1"), 1_600),
    # Small gpt-5 were billed 2,500 patches (community.openai.com/t/1377015), times at most 2.46 or 1.62.
    (re.compile(r"gpt-5.*-nano"), 6_150),
    (re.compile(r"gpt-5.*-mini"), 4_050),
    (re.compile(r"gpt-5(\.[0-3])?(-|$)"), 3_000),
    # From 5.4 on, detail `original`: 10,000 patches (the cap in github.com/openai/codex/pull/19865) times 1.2.
    (re.compile(r"gpt-"), 12_000),
    # Patches of 28²: 1,568 ✓ (long edge 1,568); from 4.7 on 4,784 (long edge 2,576).
    (_CLAUDE_TO_4_6, 1_600),
    (re.compile(r"claude"), 4_800),
    (re.compile(r"gemini"), 2_300),
    (re.compile(r"nova"), 1_900),
)


def _size(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


def _bare(model: str) -> str:
    """Return the name without what routers put in front (``models/``, ``openai/``)."""
    return model.rpartition("/")[2].lower()


def _family(model: str) -> tuple[str, float]:
    """Return the encoding of a model and what its own tokens are per token of that encoding."""
    name = _bare(model)
    if _OPENAI.match(name):
        return ("cl100k_base" if _CL100K.match(name) else "o200k_base"), 1.0
    for pattern, factor in FACTORS:
        if pattern.search(name):
            return "o200k_base", factor
    return "o200k_base", FACTOR_UNKNOWN


def _count(text: str, n_bytes: int, encoding: Encoding) -> float:
    # A character is at most 4 bytes, so that no slice exceeds SLICE_BYTES.
    step = SLICE_BYTES if text.isascii() else SLICE_BYTES // 4
    starts = range(0, len(text), step)
    slices_max = COUNTED_BYTES_MAX // SLICE_BYTES
    if n_bytes <= COUNTED_BYTES_MAX:
        return sum(len(encoding.encode_ordinary(text[start : start + step])) for start in starts)
    tokens = counted_bytes = 0
    for number in range(slices_max):
        piece = text[starts[number * len(starts) // slices_max] :][:step]
        tokens += len(encoding.encode_ordinary(piece))
        counted_bytes += _size(piece)
    return tokens * n_bytes / counted_bytes


@lru_cache(maxsize=2)
def _encoding(name: str) -> Encoding:
    """Build an encoding. Two threads that come first at once both build it; either is right."""
    try:
        facts = json.loads((VOCABULARY / "encodings.json").read_bytes())[name]
        raw = (VOCABULARY / facts["file"]).read_bytes()
    except (OSError, ValueError, KeyError) as error:
        raise ConfigError(f"the vocabulary {name} is missing from the installation: reinstall penia") from error
    if hashlib.sha256(raw).hexdigest() != facts["sha256"]:
        raise ConfigError(f"the vocabulary {facts['file']} is damaged (SHA-256 differs): reinstall penia")
    try:
        pairs = (line.split() for line in raw.splitlines() if line)
        ranks = {base64.b64decode(token): int(rank) for token, rank in pairs}
    except (ValueError, binascii.Error) as error:
        raise ConfigError(f"the vocabulary {facts['file']} cannot be read: reinstall penia") from error
    # Special tokens are left out: in a caller's text they are ordinary text.
    return Encoding(name, pat_str=facts["pattern"], mergeable_ranks=ranks, special_tokens={})
