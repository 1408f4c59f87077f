"""Tokens: counts, bounds and the shipped vocabulary."""

import hashlib
import json
import random
import shutil
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import tiktoken_ext.openai_public
from hypothesis import given
from hypothesis import strategies as st

from penia_proxy.budget import tokens
from penia_proxy.budget.tokens import byte_bound, count, image_tokens_max, load_vocabulary
from penia_proxy.errors import ConfigError


@pytest.fixture
def vocabulary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Give a private copy of the vocabulary, to damage."""
    shutil.copytree(tokens.VOCABULARY, tmp_path / "vocab")
    monkeypatch.setattr(tokens, "VOCABULARY", tmp_path / "vocab")
    tokens._encoding.cache_clear()
    yield tmp_path / "vocab"
    tokens._encoding.cache_clear()


@pytest.mark.parametrize(
    ("text", "model", "expected"),
    [
        ("", "gpt-4o", 0),
        ("hello world", "gpt-4o", 2),
        ("tiktoken is great!", "gpt-4o", 6),
        ("tiktoken is great!", "gpt-4", 6),
        ("お誕生日おめでとう", "gpt-4", 9),
        ("お誕生日おめでとう", "gpt-4o-2024-08-06", 8),
        ("お誕生日おめでとう", "openai/gpt-4o", 8),
        ("お誕生日おめでとう", "text-embedding-3-small", 9),
    ],
)
def test_openai_text_is_counted_exactly(text: str, model: str, expected: int) -> None:
    """OpenAI's own published examples come out as published, each with its model's encoding."""
    assert count(text, model) == expected


@pytest.mark.parametrize("name", ["o200k_base", "cl100k_base"])
def test_the_shipped_encodings_are_tiktokens_own(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pattern and hash of each shipped encoding equal those of the installed tiktoken, and the file has that hash."""
    hashes: list[str] = []
    monkeypatch.setattr(
        tiktoken_ext.openai_public, "load_tiktoken_bpe", lambda _, expected_hash: hashes.append(expected_hash) or {}
    )
    theirs = getattr(tiktoken_ext.openai_public, name)()
    ours = json.loads((tokens.VOCABULARY / "encodings.json").read_bytes())[name]

    assert ours["pattern"] == theirs["pat_str"]
    assert [ours["sha256"]] == hashes
    assert hashlib.sha256((tokens.VOCABULARY / ours["file"]).read_bytes()).hexdigest() == ours["sha256"]


@pytest.mark.fault("X1")
@pytest.mark.parametrize(
    "text",
    [
        " " * 1_000_000,
        "\t" * 1_000_000,
        "a" * 1_000_000,
        "\n" * 300_000,
        "<|endoftext|>" * 10,
        "\ud800 lone surrogate",
        "日本語" * 100_000,
        "🤷" * 50_000,
        "\x00" * 100,
    ],
    ids=["spaces", "tabs", "letters", "newlines", "special", "surrogate", "japanese", "emoji", "nul"],
)
@pytest.mark.parametrize("model", ["gpt-4o", "gpt-4", "claude-opus-4-7", ""])
def test_hostile_text_is_counted_or_bounded(text: str, model: str) -> None:
    """No text makes counting fail, and no count exceeds the byte bound."""
    assert 0 < count(text, model) <= byte_bound(len(text.encode("utf-8", "surrogatepass")))


@pytest.mark.fault("X1")
def test_a_panic_of_the_tokenizer_falls_back_to_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A whole megabyte of spaces panics tiktoken with a BaseException: the byte bound answers instead."""
    monkeypatch.setattr(tokens, "SLICE_BYTES", 10_000_000)
    monkeypatch.setattr(tokens, "COUNTED_BYTES_MAX", 10_000_000)
    encoding = tokens._encoding("o200k_base")

    class Panic(BaseException):
        pass

    class Panicking:
        def encode_ordinary(self, text: str) -> list[int]:
            raise Panic

    monkeypatch.setattr(tokens, "_encoding", lambda _: Panicking())

    assert count("x" * 1000, "gpt-4o") == 1000
    assert encoding.encode_ordinary("x")


def test_an_interrupt_is_not_swallowed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C during a count still stops the program."""

    def interrupted(_: str) -> object:
        raise KeyboardInterrupt

    monkeypatch.setattr(tokens, "_encoding", interrupted)

    with pytest.raises(KeyboardInterrupt):
        count("x", "gpt-4o")


def test_long_text_is_sampled_all_over() -> None:
    """A megabyte whose end is denser than its start is not counted by its start alone."""
    rng = random.Random(1)
    prose = "the quick brown fox jumps over the lazy dog. " * 12_000
    dense = "".join(rng.choice("abcdefghijklmnopqrstuvwxyz0123456789") for _ in range(len(prose)))
    encoding = tokens._encoding("o200k_base")
    exact = sum(
        len(encoding.encode_ordinary(text[i : i + 16_384]))
        for text in (prose, dense)
        for i in range(0, len(text), 16_384)
    )

    assert count(prose + dense, "gpt-4o") == pytest.approx(exact, rel=0.1)


@given(st.text(max_size=300))
def test_slices_add_up(text: str) -> None:
    """Text that fits one slice counts as the whole does."""
    assert count(text, "gpt-4o") == min(
        len(tokens._encoding("o200k_base").encode_ordinary(text)), len(text.encode("utf-8", "surrogatepass"))
    )


def test_a_damaged_vocabulary_is_noticed_and_survived(vocabulary: Path) -> None:
    """One changed byte refuses the load by hash, while counting goes on with the byte bound."""
    path = vocabulary / "o200k_base.tiktoken"
    path.write_bytes(b"X" + path.read_bytes()[1:])

    with pytest.raises(ConfigError, match="damaged"):
        load_vocabulary()
    assert count("hello world", "gpt-4o") == 11


def test_a_missing_vocabulary_is_noticed_and_survived(vocabulary: Path) -> None:
    """Without its file the encoding is refused with a remedy, and counting goes on with the byte bound."""
    (vocabulary / "o200k_base.tiktoken").unlink()

    with pytest.raises(ConfigError, match="reinstall"):
        load_vocabulary()
    assert count("hello world", "gpt-4o") == 11


def test_loading_needs_no_network(vocabulary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first count opens no socket."""

    def forbidden(*_: object, **__: object) -> None:
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket, "socket", forbidden)
    monkeypatch.setattr(socket, "getaddrinfo", forbidden)

    assert count("hello world", "gpt-4o") == 2


def test_threads_may_count_at_once(vocabulary: Path) -> None:
    """Threads that come first together all get the right count."""
    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(lambda _: count("hello world", "gpt-4o"), range(8))) == {2}


@pytest.mark.parametrize(
    ("model", "factor"),
    [
        ("gpt-6-sol", 1.0),
        ("o3", 1.0),
        ("o1-preview", 1.0),
        ("claude-3-5-sonnet-20241022", 1.5),
        ("claude-sonnet-4-20250514", 1.5),
        ("claude-haiku-4-5-20251001", 1.5),
        ("claude-opus-4-6", 1.5),
        ("claude-opus-4.6", 1.5),
        ("claude-4-7-opus", 1.8),
        ("claude-opus-4-7", 1.8),
        ("claude-opus-4-10", 1.8),
        ("claude-fable-5-2", 1.8),
        ("models/gemini-3-pro", 1.32),
        ("llama-4-scout", 1.1),
        ("a-model-from-nowhere", 1.6),
    ],
)
def test_each_family_has_its_factor(model: str, factor: float) -> None:
    """A family is recognised through versions, dates and prefixes; the unknown gets a factor of its own."""
    assert tokens._family(model)[1] == factor


@pytest.mark.parametrize(
    ("provider_format", "model", "expected"),
    [
        ("openai", "gpt-4o", 1_600),
        ("openai", "gpt-4o-mini", 48_170),
        ("openai", "gpt-4.1-nano", 3_779),
        ("openai", "gpt-5.1-codex-mini", 4_050),
        ("openai", "gpt-5.4", 12_000),
        ("openai", "gpt-6.1-sol", 12_000),
        ("anthropic", "claude-opus-4-6", 1_600),
        ("anthropic", "claude-opus-4-7", 4_800),
        ("anthropic", "a-model-from-nowhere", 4_800),
        ("openai", "a-model-from-nowhere", 12_000),
    ],
)
def test_an_image_has_a_most(provider_format: str, model: str, expected: int) -> None:
    """Each family's largest image; an unknown model gets the dearest of its format."""
    assert image_tokens_max(provider_format, model) == expected


def test_the_byte_bound_is_never_negative() -> None:
    """Bytes bound tokens one to one."""
    assert (byte_bound(0), byte_bound(-1), byte_bound(7)) == (0, 0, 7)
