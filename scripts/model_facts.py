"""
Write ``pricing/models.json``: what models can do, and how much they take and write.

Its one job: the table that litellm's wheel carries (MIT), cut down to the providers that our price catalogue knows
and to the facts that Penia uses. Run it now and then: ``python scripts/model_facts.py``; it asks the package index for
the newest wheel, without its dependencies, and only unzips it.
Rules: nothing of litellm is installed or imported. The output is the same for the same wheel but for its date, one
model a line, so that a change can be read. No prices: those are genai-prices' and `pricing/*.yaml`'s.
"""

import argparse
import hashlib
import json
import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from genai_prices.data_snapshot import get_snapshot

from penia_proxy.clock import SystemClock

TABLE = "litellm/model_prices_and_context_window_backup.json"
TARGET = Path(__file__).resolve().parent.parent / "pricing" / "models.json"

PROVIDERS = {
    "openai": ("openai", "text-completion-openai"),
    "anthropic": ("anthropic",),
    "google": (
        "gemini",
        "vertex_ai",
        "vertex_ai-language-models",
        "vertex_ai-embedding-models",
        "vertex_ai-anthropic_models",
    ),
    "azure": ("azure", "azure_ai"),
    "aws": ("bedrock_converse", "bedrock"),
    "baseten": ("baseten",),
    "cerebras": ("cerebras",),
    "cloudflare": ("cloudflare",),
    "cohere": ("cohere_chat", "cohere"),
    "databricks": ("databricks",),
    "deepseek": ("deepseek",),
    "elevenlabs": ("elevenlabs",),
    "fireworks": ("fireworks_ai", "fireworks_ai-embedding-models"),
    "github-copilot": ("github_copilot",),
    "groq": ("groq",),
    "meta": ("meta",),
    "minimax": ("minimax",),
    "mistral": ("mistral", "codestral"),
    "moonshotai": ("moonshot",),
    "novita": ("novita",),
    "ovhcloud": ("ovhcloud",),
    "perplexity": ("perplexity",),
    "together": ("together_ai",),
    "typesafe": ("typesafe",),
    "voyageai": ("voyage",),
    "x-ai": ("xai",),
    "zai": ("zai",),
    "zhipuai": ("bigmodel",),
}
"""genai-prices' provider → litellm's; of two that list a model, the first says what it can do."""

CAPABILITIES = {
    "vision": ("supports_vision",),
    "tools": ("supports_function_calling",),
    "json": ("supports_response_schema", "supports_native_structured_output"),
    "reasoning": ("supports_reasoning",),
    "prompt_caching": ("supports_prompt_caching",),
    "audio_input": ("supports_audio_input",),
    "audio_output": ("supports_audio_output",),
}
"""Our word → litellm's flags, any of which is enough."""

VARIANT = re.compile(r"(\d+-x-\d+|max-x-max|\d+-steps|max-steps|low|medium|high|standard|hd)/")
"""Prices by picture size and quality are listed as if they were models."""

REGION = re.compile(r"(eu|us|global|us-gov|global-standard|[a-z]+(-[a-z]+)+-\d)/|.*-commitment/|\*/")
"""Prices by region, too."""


def main() -> None:
    """Write the file, or say what is wrong."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").strip().partition("\n")[0])
    parser.add_argument("--wheel", type=Path, help="a wheel that is already here")
    parser.add_argument("--target", type=Path, default=TARGET)
    asked = parser.parse_args()
    priced = {provider.id for provider in get_snapshot().providers}
    if strangers := PROVIDERS.keys() - priced:
        sys.exit(f"genai-prices does not price {', '.join(sorted(strangers))}")
    with tempfile.TemporaryDirectory() as directory:
        wheel = asked.wheel or download(Path(directory))
        document = extract(wheel)
    asked.target.write_text(written(document), encoding="utf-8")
    count = sum(map(len, document["models"].values()))
    sys.stdout.write(f"{asked.target.name}: {count} models of {len(document['models'])} providers, {wheel.name}\n")


def download(directory: Path) -> Path:
    """Fetch the newest wheel of litellm, alone."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:", "litellm"]
    subprocess.run([*command, "--dest", str(directory)], check=True)
    (wheel,) = directory.glob("litellm-*.whl")
    return wheel


def extract(wheel: Path) -> dict[str, Any]:
    """Return the document that a wheel makes."""
    with zipfile.ZipFile(wheel) as archive:
        table: dict[str, dict[str, Any]] = json.loads(archive.read(TABLE))
    models = {provider: facts_of(table, theirs) for provider, theirs in PROVIDERS.items()}
    return {
        "date": SystemClock().now().date().isoformat(),
        "source": {
            "wheel": wheel.name,
            "version": wheel.name.split("-")[1],
            "sha256": hashlib.sha256(wheel.read_bytes()).hexdigest(),
            "file": TABLE,
            "license": "MIT, Copyright (c) 2023 Berri AI; see LICENSE.models",
        },
        "models": {provider: lines for provider, lines in sorted(models.items()) if lines},
    }


def facts_of(table: Mapping[str, Mapping[str, Any]], providers: tuple[str, ...]) -> dict[str, dict[str, Any]]:
    """Return one of our provider's models, by name in small letters."""
    found: dict[str, dict[str, Any]] = {}
    for provider in providers:
        for name, entry in names_of(table, provider):
            facts = line_of(entry)
            known = found.setdefault(name, facts)
            # Where a model is listed twice, the larger figure bounds both.
            for key in ("context", "output"):
                if key in facts:
                    known[key] = max(known.get(key, 0), facts[key])
    return {name: facts for name, facts in sorted(found.items()) if facts}


def names_of(table: Mapping[str, Mapping[str, Any]], provider: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield (model, entry) of one of litellm's providers, named as the provider itself names them."""
    prefixes = tuple(f"{prefix}/" for prefix in (provider, provider.partition("-")[0], provider.partition("_")[0]))
    for key, entry in table.items():
        if entry.get("litellm_provider") != provider:
            continue
        name = key
        for prefix in prefixes:
            name = name.removeprefix(prefix)
        if not VARIANT.match(name) and not REGION.match(name):
            yield name.lower(), entry


def line_of(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is kept of one entry; what is not known is left out."""
    line: dict[str, Any] = {
        "context": count_of(entry.get("max_input_tokens")),
        "output": count_of(entry.get("max_output_tokens")),
        "mode": entry.get("mode"),
        "can": [word for word, flags in CAPABILITIES.items() if any(entry.get(flag) is True for flag in flags)],
        "deprecated": entry.get("deprecation_date"),
    }
    return {key: value for key, value in line.items() if value}


def count_of(value: object) -> int | None:
    """Return a number of tokens, None for anything else."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None


def written(document: Mapping[str, Any]) -> str:
    """Return the document as JSON with one model a line."""
    head = {key: value for key, value in document.items() if key != "models"}
    lines = [json.dumps(head, indent=1).removesuffix("\n}") + ",", ' "models": {']
    for index, (provider, models) in enumerate(document["models"].items()):
        lines.append(f"  {json.dumps(provider)}: {{")
        lines.append(",\n".join(f"   {json.dumps(name)}: {json.dumps(facts)}" for name, facts in models.items()))
        lines.append("  }" + ("," if index < len(document["models"]) - 1 else ""))
    return "\n".join([*lines, " }", "}", ""])


if __name__ == "__main__":
    main()
