"""Work that is billed later, with the official SDKs: it is one record, and the books equal the provider's bill."""

import json
from collections.abc import Awaitable, Callable
from typing import Any

import anthropic
import openai
import pytest
from google import genai
from google.genai import types

from penia_proxy.gateway import works
from tests.gateways import Running, Start, billed_nanos, spent_nanos

# Google's SDK's own habit, and OpenAI's word about its assistants.
pytestmark = [
    pytest.mark.filterwarnings("ignore:Inheritance class AiohttpClientSession:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*deprecated:DeprecationWarning"),
]

TALK: Any = [{"role": "user", "content": "Say something."}]
POLLS = 5


@pytest.fixture(autouse=True)
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no poll of the gateway's come between the SDK's own."""
    monkeypatch.setattr(works, "POLL_S_MIN", 3600.0)


async def background(penia: Running) -> None:
    async with openai.AsyncOpenAI(base_url=f"{penia.url}/openai/v1", api_key="made-up") as sdk:
        made = await sdk.responses.create(model="gpt-5-mini", input="Say something.", background=True)
        read = [await sdk.responses.retrieve(made.id) for _ in range(POLLS)]
        assert (made.status, read[-1].status) == ("queued", "completed")


async def followed(penia: Running) -> None:
    """Leave the stream of a response in the background, and take it up again."""
    async with openai.AsyncOpenAI(base_url=f"{penia.url}/openai/v1", api_key="made-up") as sdk:
        async with await sdk.responses.create(
            model="gpt-4o-mini", input="Say something.", background=True, stream=True
        ) as stream:
            first = await anext(aiter(stream))
        assert first.type == "response.created"
        async with await sdk.responses.retrieve(first.response.id, stream=True, starting_after=0) as stream:
            assert [event.type async for event in stream][-1] == "response.completed"


async def openai_batch(penia: Running) -> None:
    bodies: list[dict[str, Any]] = [{"model": "gpt-4o-mini", "max_tokens": 20, "messages": TALK}] * 2
    bodies.append({"model": "gpt-4o-mini", "messages": []})
    lines = [
        json.dumps({"custom_id": str(number), "method": "POST", "url": "/v1/chat/completions", "body": body})
        for number, body in enumerate(bodies)
    ]
    async with openai.AsyncOpenAI(base_url=f"{penia.url}/openai/v1", api_key="made-up") as sdk:
        file = await sdk.files.create(file=("work.jsonl", "\n".join(lines).encode()), purpose="batch")
        made = await sdk.batches.create(input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h")
        read = [await sdk.batches.retrieve(made.id) for _ in range(POLLS)]
        assert read[-1].output_file_id is not None
        contents = [(await sdk.files.content(read[-1].output_file_id)).text for _ in range(2)]
        assert contents[0].count("\n") == 2
        assert contents[0] == contents[1]


async def anthropic_batch(penia: Running) -> None:
    params: Any = {"model": "claude-haiku-4-5", "max_tokens": 20, "messages": TALK}
    async with anthropic.AsyncAnthropic(base_url=f"{penia.url}/anthropic", api_key="made-up") as sdk:
        made = await sdk.messages.batches.create(
            requests=[{"custom_id": str(number), "params": params} for number in (0, 1)]
        )
        for _ in range(POLLS):
            ended = await sdk.messages.batches.retrieve(made.id)
        assert ended.results_url is not None
        # The SDK would ask the provider itself: the batch says where its results are, with the whole address.
        assert ended.results_url.startswith(penia.sandbox.url)
        through = f"{penia.url}/anthropic/v1/messages/batches/{made.id}/results"
        for _ in range(2):
            async with penia.session.get(through, headers={"x-api-key": "made-up"}) as answer:
                assert len((await answer.text()).splitlines()) == 2


async def google_batch(penia: Running) -> None:
    http_options = types.HttpOptions(base_url=f"{penia.url}/google")
    requests: Any = [
        types.InlinedRequest(contents=[types.Content(role="user", parts=[types.Part(text="Say something.")])])
    ]
    async with genai.Client(api_key="made-up", http_options=http_options).aio as sdk:
        made = await sdk.batches.create(model="gemini-2.5-flash", src=requests * 2)
        assert made.name is not None
        for _ in range(POLLS):
            done = await sdk.batches.get(name=made.name)
        assert done.state is not None
        assert done.state.name == "JOB_STATE_SUCCEEDED"


async def run(penia: Running) -> None:
    async with openai.AsyncOpenAI(base_url=f"{penia.url}/openai/v1", api_key="made-up") as sdk:
        made = await sdk.beta.threads.runs.create("thread_1", assistant_id="asst_1", model="gpt-4o-mini")
        for _ in range(POLLS):
            done = await sdk.beta.threads.runs.retrieve(made.id, thread_id="thread_1")
        assert done.status == "completed"


async def run_followed(penia: Running) -> None:
    async with (
        openai.AsyncOpenAI(base_url=f"{penia.url}/openai/v1", api_key="made-up") as sdk,
        sdk.beta.threads.runs.stream(thread_id="thread_1", assistant_id="asst_1", model="gpt-4o-mini") as stream,
    ):
        events = [event.event async for event in stream]
    assert events[-1] == "thread.run.completed"


@pytest.mark.parametrize(
    "work",
    [background, followed, openai_batch, anthropic_batch, google_batch, run, run_followed],
    ids=lambda work: work.__name__,
)
async def test_once_and_exactly(start: Start, work: Callable[[Running], Awaitable[None]]) -> None:
    """However often it is read, each work's tokens and cost are in the books once, as the provider bills them."""
    penia = await start(providers={"openai": {}, "anthropic": {}, "google": {}})

    await work(penia)

    records = await penia.records()
    charges = [charge for call in penia.sandbox.calls for charge in call.later]
    assert charges
    assert spent_nanos(records) == billed_nanos(penia) > 0
    assert sum(record["input_tokens"] for record in records) == sum(charge.tokens.input for charge in charges)
    assert sum(record["output_tokens"] for record in records) == sum(charge.tokens.produced for charge in charges)
    assert penia.gateway.ledger.holds_open == 0
