"""A running sandbox, the official SDKs pointed at it, and bare HTTP for what the SDKs hide."""

from collections.abc import AsyncIterator

import aiohttp
import anthropic
import openai
import pytest

from penia_proxy.sandbox import Sandbox, running_sandbox


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    """Run a healthy sandbox."""
    async with running_sandbox() as running:
        yield running


@pytest.fixture
async def openai_sdk(sandbox: Sandbox) -> AsyncIterator[openai.AsyncOpenAI]:
    """Point OpenAI's SDK at it, without retries: each test sees the first answer."""
    async with openai.AsyncOpenAI(base_url=f"{sandbox.url}/v1", api_key="sk-test", max_retries=0) as client:
        yield client


@pytest.fixture
async def anthropic_sdk(sandbox: Sandbox) -> AsyncIterator[anthropic.AsyncAnthropic]:
    """Point Anthropic's SDK at it, without retries."""
    async with anthropic.AsyncAnthropic(base_url=sandbox.url, api_key="sk-test", max_retries=0) as client:
        yield client


@pytest.fixture
async def http(sandbox: Sandbox) -> AsyncIterator[aiohttp.ClientSession]:
    """Speak bare HTTP with a key; bodies are as they are on the wire."""
    async with aiohttp.ClientSession(
        sandbox.url, headers={"Authorization": "Bearer sk-test"}, auto_decompress=False
    ) as session:
        yield session
