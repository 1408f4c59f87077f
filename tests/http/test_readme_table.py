"""The README's table "point your SDK here" works as it stands there."""

import asyncio
import contextlib
import re
from pathlib import Path
from typing import Any

import anthropic
import boto3
import cohere
import groq
import ollama
import openai
import pytest
from google import genai
from mistralai.client import Mistral

from tests.gateways import Start
from tests.http.sdks import KEY, WAYS

HERE = "http://localhost:8113"
README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
ROWS = dict(re.findall(r"^\| `([\w-]+)`[^|]*\| `([^`]+)`", README, re.MULTILINE))

# What each line is about, and what makes a client where the line is for the environment.
SDKS: dict[str, tuple[str, Any]] = {
    "openai": ("openai chat", openai.OpenAI),
    "anthropic": ("anthropic messages", anthropic.Anthropic),
    "google-genai": ("google content", None),
    "mistralai": ("mistral chat", None),
    "cohere": ("cohere chat", None),
    "groq": ("groq chat", groq.Groq),
    "ollama": ("ollama chat", ollama.Client),
    "boto3": ("bedrock converse", None),
}
KEYS = (
    *("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GEMINI_API_KEY", "MISTRAL_API_KEY", "CO_API_KEY", "GROQ_API_KEY"),
    *("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"),
)

pytestmark = pytest.mark.filterwarnings("ignore:Inheritance class AiohttpClientSession:DeprecationWarning")


@pytest.mark.parametrize("sdk", SDKS)
async def test_each_line_is_enough(start: Start, monkeypatch: pytest.MonkeyPatch, sdk: str) -> None:
    """With the SDK's key in the environment, what the line says is all that a program needs; the call is metered."""
    name, kind = SDKS[sdk]
    way = WAYS[name]
    # Whoever signs for Amazon signs for us, and Penia signs anew.
    aws = {"aws": {"access_key_id": KEY, "secret_access_key": KEY, "region": "us-east-1"}} if sdk == "boto3" else {}
    penia = await start(providers={way.provider: {**way.settings, **aws}})
    for variable in KEYS:
        monkeypatch.setenv(variable, KEY)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    line = ROWS[sdk].replace(HERE, penia.url)
    variable, is_variable, address = line.partition("=") if line[0].isupper() and "(" not in line else ("", "", "")
    if is_variable:
        monkeypatch.setenv(variable, address)

    def call() -> Any:
        modules = {"boto3": boto3, "cohere": cohere, "genai": genai, "Mistral": Mistral}
        client = kind() if is_variable else eval(line, modules)
        with client if hasattr(client, "__enter__") else contextlib.closing(client) as opened:
            return way.ask(opened, False, False, **way.given)

    assert await asyncio.to_thread(call)
    (record,) = await penia.records()
    assert record["provider"] == way.provider
    assert record["cost_basis"] == ("free" if way.free else "reported")


def test_the_table_has_a_line_for_each() -> None:
    """Each SDK that is tested has one line, and nothing in it but its own address."""
    assert set(SDKS) <= set(ROWS)
    assert all(HERE in ROWS[sdk] for sdk in SDKS)
