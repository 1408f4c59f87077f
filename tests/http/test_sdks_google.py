"""The official SDK of Google works by base URL alone, and what it answers is what the provider answered."""

import asyncio
from typing import Any

import aiohttp
import pytest
from google import genai
from google.genai import errors, types

from penia_proxy.sandbox.faults import Behaviour
from tests.gateways import Running, Start

# The SDK's own habit, not ours to mend.
pytestmark = pytest.mark.filterwarnings("ignore:Inheritance class AiohttpClientSession:DeprecationWarning")

MODEL = "gemini-2.5-flash"
PROVIDERS = {"google": {}}
TOOL = types.Tool(
    function_declarations=[
        types.FunctionDeclaration(
            name="weather", parameters=types.Schema(type="OBJECT", properties={"city": types.Schema(type="STRING")})
        )
    ]
)
PNG = types.Part.from_bytes(data=b"\x89PNG\r\n\x1a\n", mime_type="image/png")
CASES: dict[str, tuple[Any, dict[str, Any]]] = {
    "text": ("Say something.", {"system_instruction": "Be brief."}),
    "capped": ("Say something, ünïcode “quotes”.", {"max_output_tokens": 70}),
    "candidates": ("Say something.", {"candidate_count": 3}),
    "tools": ("What is the weather in Oslo?", {"tools": [TOOL]}),
    "image": ([PNG, "What is this?"], {}),
    "schema": ("As JSON.", {"response_mime_type": "application/json", "response_schema": {"type": "OBJECT"}}),
}


def client(url: str, penia: Running) -> genai.Client:
    base = f"{url}/google" if url == penia.url else url
    return genai.Client(api_key="made-up", http_options=types.HttpOptions(base_url=base))


def plain(answer: Any) -> Any:
    """Return what the SDK's object says, less the headers, which are a transport's."""
    if isinstance(answer, list):
        return [plain(item) for item in answer]
    return answer.model_dump(exclude={"sdk_http_response"})


async def twice(start: Start, ask: Any, **options: Any) -> tuple[Any, Any, Running]:
    """Ask the provider and the gateway the same; each from a fresh provider."""
    direct = await start(providers=PROVIDERS, **options)
    through = await start(providers=PROVIDERS, **options)
    return await ask(direct.sandbox.url, direct), await ask(through.url, through), through


async def billed(penia: Running) -> None:
    """Check that the call has a record at what the provider reported."""
    (record,) = await penia.records()
    (call,) = penia.sandbox.calls
    assert record["cost_basis"] == "reported"
    assert record["cost"] > 0
    assert (record["model"], record["streamed"]) == (call.model, call.streamed)
    assert record["input_tokens"] == call.input_tokens > 0
    assert record["output_tokens"] == call.output_tokens + call.reasoning_tokens
    assert record["reasoning_tokens"] == call.reasoning_tokens


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("mode", "case"), [*(("async", case) for case in CASES), ("sync", "text")])
async def test_generate_content(start: Start, case: str, mode: str, *, stream: bool) -> None:
    """Every field of the answer, or of every chunk, equals a direct call's."""
    contents, settings = CASES[case]
    given: Any = {"model": MODEL, "contents": contents, "config": types.GenerateContentConfig(**settings)}

    def run(url: str, penia: Running) -> Any:
        with client(url, penia) as sdk:
            if stream:
                return plain(list(sdk.models.generate_content_stream(**given)))
            return plain(sdk.models.generate_content(**given))

    async def ask(url: str, penia: Running) -> Any:
        if mode == "sync":
            return await asyncio.to_thread(run, url, penia)
        async with client(url, penia).aio as sdk:
            if not stream:
                return plain(await sdk.models.generate_content(**given))
            return plain([chunk async for chunk in await sdk.models.generate_content_stream(**given)])

    direct, through, penia = await twice(start, ask)

    assert through == direct
    await billed(penia)


async def test_embed_content(start: Start) -> None:
    """Vectors and their count."""

    async def ask(url: str, penia: Running) -> Any:
        async with client(url, penia).aio as sdk:
            return plain(await sdk.models.embed_content(model="gemini-embedding-2", contents="one"))

    direct, through, penia = await twice(start, ask)

    assert through == direct
    await billed(penia)


async def test_what_is_free_passes_unmetered(start: Start) -> None:
    """Token counts and models."""

    async def ask(url: str, penia: Running) -> Any:
        async with client(url, penia).aio as sdk:
            counted = await sdk.models.count_tokens(model=MODEL, contents="Say something.")
            models = [model.model_dump() async for model in await sdk.models.list()]
            return plain(counted), models, plain(await sdk.models.get(model=MODEL))

    direct, through, penia = await twice(start, ask)

    assert through == direct
    assert through[1]
    assert await penia.records() == []


@pytest.mark.parametrize("status", [400, 429, 503])
async def test_the_providers_errors_stay_its_own(start: Start, status: int) -> None:
    """The same exception with the same body as a direct call's."""

    async def ask(url: str, penia: Running) -> Any:
        async with client(url, penia).aio as sdk:
            with pytest.raises(errors.APIError) as raised:
                await sdk.models.generate_content(model=MODEL, contents="x")
            return type(raised.value), raised.value.code, raised.value.details

    direct, through, penia = await twice(start, ask, script=Behaviour(status=status))

    assert through == direct
    assert await penia.records() == []


async def test_a_cut_stream_is_billed_for_what_passed(start: Start) -> None:
    """Its input is known, its output is counted; never nothing, and never as if it were whole."""
    penia = await start(providers=PROVIDERS, script=Behaviour(end_after_bytes=2500, output_tokens=50))
    body = {"contents": [{"role": "user", "parts": [{"text": "Say something."}]}]}
    target = f"{penia.url}/google/v1beta/models/{MODEL}:streamGenerateContent?alt=sse"
    async with penia.session.post(target, json=body, headers={"x-goog-api-key": "made-up"}) as answer:
        await answer.read()

    (record,) = await penia.records()
    (call,) = penia.sandbox.calls
    assert (record["cost_basis"], record["status"]) == ("partial", "cut")
    assert record["input_tokens"] == call.input_tokens
    assert record["output_tokens"] > 0
    assert record["cost"] > 0


async def test_a_key_in_the_query_is_passed_on_and_never_kept(
    start: Start, caplog: pytest.LogCaptureFixture, tmp_path: Any
) -> None:
    """Google takes the key as ``?key=``: it reaches the provider, and neither a log nor the ledger has it."""
    caplog.set_level("DEBUG")
    penia = await start(providers=PROVIDERS)
    body = {"contents": [{"parts": [{"text": "hi"}]}]}
    for model, verb in ((MODEL, "generateContent"), (MODEL, "countTokens"), ("imagen-4", "predict")):
        target = f"{penia.url}/google/v1beta/models/{model}:{verb}?key=AIza-made-up-secret"
        async with aiohttp.ClientSession() as session, session.post(target, json=body) as answer:
            await answer.read()
            assert answer.status == (404 if verb == "predict" else 200)

    assert "AIza-made-up-secret" not in caplog.text
    assert all(b"AIza-made-up-secret" not in file.read_bytes() for file in tmp_path.iterdir())
    (record,) = await penia.records()
    assert record["cost_basis"] == "reported"
