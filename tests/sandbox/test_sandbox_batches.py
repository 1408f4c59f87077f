"""The sandbox's work that goes on after its request: batches and runs, as the official SDKs read them, billed once."""

import json
from typing import Any

import anthropic
import openai
import pytest
from google import genai
from google.genai import types

from penia_proxy.sandbox import Behaviour, Charge, Sandbox
from penia_proxy.sandbox.faults import as_headers

# The Google SDK's own habit, not ours to mend; and its word about assistants, which are still there.
pytestmark = [
    pytest.mark.filterwarnings("ignore:Inheritance class AiohttpClientSession:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*deprecated:DeprecationWarning"),
]

HELLO: Any = [{"role": "user", "content": "Say something."}]
CHAT = {"model": "gpt-4o-mini", "max_tokens": 20, "messages": HELLO}
BODIES: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": CHAT,
    "/v1/responses": {"model": "gpt-5-nano", "input": "Say something.", "background": True},
    "/v1/embeddings": {"model": "text-embedding-3-small", "input": "one"},
}


def later(sandbox: Sandbox) -> list[Charge]:
    """Return all that is billed beside answers."""
    return [charge for call in sandbox.calls for charge in call.later]


def answers_cost_nothing(sandbox: Sandbox) -> None:
    """Check that no answer of its own is on the bill."""
    assert {(call.input_tokens, call.output_tokens, call.produced_tokens) for call in sandbox.calls} == {(0, 0, 0)}


async def begun(sdk: openai.AsyncOpenAI, endpoint: Any, bodies: list[dict[str, Any]], **headers: str) -> Any:
    lines = [
        json.dumps({"custom_id": f"line-{number}", "method": "POST", "url": endpoint, "body": body})
        for number, body in enumerate(bodies)
    ]
    file = await sdk.files.create(file=("work.jsonl", "\n".join(lines).encode()), purpose="batch")
    return await sdk.batches.create(
        input_file_id=file.id, endpoint=endpoint, completion_window="24h", extra_headers=headers
    )


async def results(sdk: openai.AsyncOpenAI, file_id: str) -> list[dict[str, Any]]:
    content = await sdk.files.content(file_id)
    return [json.loads(line) for line in content.text.splitlines()]


@pytest.mark.parametrize("endpoint", BODIES)
async def test_openai_batch(openai_sdk: openai.AsyncOpenAI, sandbox: Sandbox, endpoint: str) -> None:
    """Validated, at work, done: then there are results, whose usage and the batch's are what is billed."""
    made = await begun(openai_sdk, endpoint, [BODIES[endpoint]] * 2)
    read = [await openai_sdk.batches.retrieve(made.id) for _ in range(4)]
    done = read[-1]

    assert [batch.status for batch in (made, *read)] == ["validating", "in_progress", *["completed"] * 3]
    assert [batch.output_file_id for batch in (made, read[0])] == [None, None]
    assert read[0].usage is not None
    assert read[0].usage.total_tokens == 0
    assert done.request_counts is not None
    assert (done.request_counts.completed, done.request_counts.failed, done.error_file_id) == (2, 0, None)
    assert done.output_file_id is not None
    lines = await results(openai_sdk, done.output_file_id)
    assert await results(openai_sdk, done.output_file_id) == lines
    bodies = [line["response"]["body"] for line in lines]
    assert [line["custom_id"] for line in lines] == ["line-0", "line-1"]
    charges = later(sandbox)
    assert [charge.key for charge in charges] == [f"{made.id}/line-0", f"{made.id}/line-1"]
    assert {(charge.batch, charge.served_model) for charge in charges} == {(True, bodies[0]["model"])}
    assert done.usage is not None
    assert done.usage.input_tokens == sum(charge.tokens.input for charge in charges)
    assert done.usage.output_tokens == sum(charge.tokens.produced for charge in charges)
    assert [body["usage"]["total_tokens"] for body in bodies] == [
        charge.tokens.input + charge.tokens.produced for charge in charges
    ]
    answers_cost_nothing(sandbox)


async def test_openai_batch_with_errors(openai_sdk: openai.AsyncOpenAI, sandbox: Sandbox) -> None:
    """A line that is refused is in the error file, in the provider's shape, and not billed."""
    made = await begun(openai_sdk, "/v1/chat/completions", [CHAT, CHAT | {"messages": []}], **{"X-Sandbox-Polls": "0"})
    done = await openai_sdk.batches.retrieve(made.id)

    assert done.error_file_id is not None
    (line,) = await results(openai_sdk, done.error_file_id)
    assert (line["custom_id"], line["response"]["status_code"]) == ("line-1", 400)
    assert line["response"]["body"]["error"]["param"] == "messages"
    assert [charge.key for charge in later(sandbox)] == [f"{made.id}/line-0"]


@pytest.mark.parametrize("how", ["cancelled", "failed"])
async def test_openai_batch_that_ends_badly(openai_sdk: openai.AsyncOpenAI, sandbox: Sandbox, how: str) -> None:
    """It has no results and no bill."""
    headers = as_headers(Behaviour(polls=0, fails=how == "failed"))
    made = await begun(openai_sdk, "/v1/chat/completions", [CHAT], **headers)
    if how == "cancelled":
        await openai_sdk.batches.cancel(made.id)
    ended = await openai_sdk.batches.retrieve(made.id)

    assert (ended.status, ended.output_file_id) == (how, None)
    assert later(sandbox) == []


@pytest.mark.parametrize("content", [b"", b"no json", b'{"custom_id": "1"}'])
async def test_openai_file_that_is_no_batch(openai_sdk: openai.AsyncOpenAI, content: bytes) -> None:
    """A file without requests is refused, as is one that is not there; a file can be described and deleted."""
    file = await openai_sdk.files.create(file=("work.jsonl", content), purpose="batch")

    assert await openai_sdk.files.retrieve(file.id) == file
    assert (file.bytes, file.filename, file.purpose) == (len(content), "work.jsonl", "batch")
    with pytest.raises(openai.BadRequestError):
        await openai_sdk.batches.create(input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h")
    await openai_sdk.files.delete(file.id)
    with pytest.raises(openai.NotFoundError):
        await openai_sdk.files.retrieve(file.id)


async def test_equal_batches_are_two(openai_sdk: openai.AsyncOpenAI, sandbox: Sandbox) -> None:
    """The same work asked for twice has two ids and two bills."""
    first = await begun(openai_sdk, "/v1/chat/completions", [CHAT])
    second = await begun(openai_sdk, "/v1/chat/completions", [CHAT])

    assert first.id != second.id
    assert len({charge.key for charge in later(sandbox)}) == 2


def anthropic_requests(*params: dict[str, Any]) -> Any:
    return [{"custom_id": f"line-{number}", "params": each} for number, each in enumerate(params)]


MESSAGE: dict[str, Any] = {"model": "claude-haiku-4-5", "max_tokens": 20, "messages": HELLO}


async def test_anthropic_batch(anthropic_sdk: anthropic.AsyncAnthropic, sandbox: Sandbox) -> None:
    """At work, ended; the results are where the batch says, and what they report at ``batch`` is billed."""
    made = await anthropic_sdk.messages.batches.create(
        requests=anthropic_requests(MESSAGE, MESSAGE | {"max_tokens": -1})
    )
    read = [await anthropic_sdk.messages.batches.retrieve(made.id) for _ in range(3)]
    lines = [line async for line in await anthropic_sdk.messages.batches.results(made.id)]

    assert [one.processing_status for one in (made, *read)] == ["in_progress", "in_progress", "ended", "ended"]
    assert read[0].results_url is None
    assert read[-1].results_url == f"{sandbox.url}/v1/messages/batches/{made.id}/results"
    counts = read[-1].request_counts
    assert (counts.processing, counts.succeeded, counts.errored) == (0, 1, 1)
    good, bad = (line.result for line in lines)
    assert good.type == "succeeded"
    assert bad.type == "errored"
    assert bad.error.error.type == "invalid_request_error"
    usage = good.message.usage
    (charge,) = later(sandbox)
    assert (charge.key, charge.batch, charge.service_tier) == (f"{made.id}/line-0", True, usage.service_tier)
    assert (charge.tokens.input, charge.tokens.output) == (usage.input_tokens, usage.output_tokens)
    assert charge.served_model == good.message.model == "claude-haiku-4-5-20251001"
    answers_cost_nothing(sandbox)


async def test_anthropic_batch_cancelled(anthropic_sdk: anthropic.AsyncAnthropic, sandbox: Sandbox) -> None:
    """Its results say so for each request, and it is not billed; before it has ended there are none."""
    made = await anthropic_sdk.messages.batches.create(requests=anthropic_requests(MESSAGE))
    with pytest.raises(anthropic.AnthropicError, match="results_url"):
        await anthropic_sdk.messages.batches.results(made.id)
    await anthropic_sdk.messages.batches.cancel(made.id)
    lines = [line async for line in await anthropic_sdk.messages.batches.results(made.id)]

    assert [line.result.type for line in lines] == ["canceled"]
    assert later(sandbox) == []


def google_sdk(sandbox: Sandbox) -> genai.Client:
    return genai.Client(api_key="made-up", http_options=types.HttpOptions(base_url=sandbox.url))


async def test_google_batch(sandbox: Sandbox) -> None:
    """Pending, running, succeeded: the results are in the operation, and what they report is billed."""
    requests = [
        types.InlinedRequest(
            contents=[types.Content(role="user", parts=[types.Part(text=text)])], metadata={"key": text}
        )
        for text in ("one", "two")
    ]
    async with google_sdk(sandbox).aio as sdk:
        made = await sdk.batches.create(model="gemini-2.5-flash", src=requests)
        assert made.name is not None
        read = [await sdk.batches.get(name=made.name) for _ in range(3)]

    states = [one.state.name for one in (made, *read) if one.state]
    assert states == ["JOB_STATE_PENDING", "JOB_STATE_RUNNING", "JOB_STATE_SUCCEEDED", "JOB_STATE_SUCCEEDED"]
    assert read[-1].dest is not None
    inlined = read[-1].dest.inlined_responses or []
    usages = [one.response.usage_metadata for one in inlined if one.response]
    charges = later(sandbox)
    assert [(charge.served_model, charge.batch) for charge in charges] == [("gemini-2.5-flash", True)] * 2
    assert [
        (usage.prompt_token_count, usage.candidates_token_count, usage.thoughts_token_count) for usage in usages
    ] == [(charge.tokens.input, charge.tokens.output, charge.tokens.reasoning) for charge in charges]
    answers_cost_nothing(sandbox)


async def test_google_batch_that_ends_badly(sandbox: Sandbox) -> None:
    """A cancelled one has an error, no results and no bill; a request that is refused has its error in its place."""
    bad = types.InlinedRequest(contents="x", config=types.GenerateContentConfig(candidate_count=99))
    async with google_sdk(sandbox).aio as sdk:
        stopped = await sdk.batches.create(model="gemini-2.5-flash", src=[bad])
        assert stopped.name is not None
        await sdk.batches.cancel(name=stopped.name)
        ended = await sdk.batches.get(name=stopped.name)
        made = await sdk.batches.create(model="gemini-2.5-flash", src=[bad])
        assert made.name is not None
        read = [await sdk.batches.get(name=made.name) for _ in range(2)]

    assert ended.state is not None
    assert ended.state.name == "JOB_STATE_CANCELLED"
    assert read[-1].dest is not None
    assert read[-1].dest.inlined_responses is not None
    assert read[-1].dest.inlined_responses[0].error is not None
    assert later(sandbox) == []


async def test_run(openai_sdk: openai.AsyncOpenAI, sandbox: Sandbox) -> None:
    """A run is queued, at work, done; its usage comes at the end, counts the thread, and is billed once."""
    beta = openai_sdk.beta
    assistant = await beta.assistants.create(model="gpt-4o", instructions="Be brief.")
    thread = await beta.threads.create(messages=HELLO)
    await beta.threads.messages.create(thread.id, role="user", content="And more, at some length.")
    made = await beta.threads.runs.create(thread.id, assistant_id=assistant.id)
    read = [await beta.threads.runs.retrieve(made.id, thread_id=thread.id) for _ in range(3)]
    alone = await beta.threads.runs.create("thread_elsewhere", assistant_id="asst_elsewhere")

    assert [run.status for run in (made, *read)] == ["queued", "in_progress", "completed", "completed"]
    assert [run.usage for run in (made, read[0])] == [None, None]
    usage = read[-1].usage
    assert usage is not None
    first, second = later(sandbox)
    assert (first.key, first.served_model) == (made.id, "gpt-4o-2024-08-06")
    assert (first.tokens.input, first.tokens.output) == (usage.prompt_tokens, usage.completion_tokens)
    assert second.key == alone.id
    assert second.tokens.input < first.tokens.input
    answers_cost_nothing(sandbox)


async def test_run_followed(openai_sdk: openai.AsyncOpenAI, sandbox: Sandbox) -> None:
    """The SDK's own follower puts the message together, and the run's usage at the end is what is billed."""
    async with openai_sdk.beta.threads.runs.stream(thread_id="thread_1", assistant_id="asst_1") as stream:
        deltas = [event async for event in stream if event.event == "thread.message.delta"]
        run = stream.current_run

    assert run is not None
    assert run.usage is not None
    assert run.status == "completed"
    (charge,) = later(sandbox)
    assert charge.tokens.output == run.usage.completion_tokens == len(deltas)


async def test_run_that_ends_badly(openai_sdk: openai.AsyncOpenAI, sandbox: Sandbox) -> None:
    """A cancelled or failed run has no usage and no bill."""
    runs = openai_sdk.beta.threads.runs
    stopped = await runs.create("thread_1", assistant_id="asst_1")
    cancelled = await runs.cancel(stopped.id, thread_id="thread_1")
    headers = as_headers(Behaviour(polls=0, fails=True))
    made = await runs.create("thread_1", assistant_id="asst_1", extra_headers=headers)
    failed = await runs.retrieve(made.id, thread_id="thread_1")

    assert [(run.status, run.usage) for run in (cancelled, failed)] == [("cancelled", None), ("failed", None)]
    assert failed.last_error is not None
    assert later(sandbox) == []
