"""The sandbox as OpenAI: the official SDK understands it, and the bytes are laid out as the API's."""

import asyncio
import json
from typing import Any

import aiohttp
import openai
import pytest
from openai.types.chat import ChatCompletionChunk

from penia_proxy.sandbox import Behaviour, Sandbox

HELLO: Any = [{"role": "user", "content": "Say something about rivers."}]
PIXEL = "data:image/png;base64,iVBORw0KGgo="
CHAT = {"model": "gpt-4o", "messages": HELLO}


def tool(name: str) -> Any:
    """Return a function with two parameters."""
    schema = {"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}}
    return {"type": "function", "function": {"name": name, "parameters": schema}}


async def chunks_of(client: openai.AsyncOpenAI, **asked: Any) -> list[ChatCompletionChunk]:
    """Return all chunks of a streamed call."""
    stream = await client.chat.completions.create(stream=True, **asked)
    return [chunk async for chunk in stream]


async def events_of(http: aiohttp.ClientSession, body: dict[str, Any], **headers: str) -> list[str]:
    """Return the data of every event of a streamed call, as sent."""
    async with http.post("/v1/chat/completions", json=body | {"stream": True}, headers=headers) as response:
        text = (await response.read()).decode()
    assert text.endswith("\n\n")
    events = text[:-2].split("\n\n")
    assert all(event.startswith("data: ") for event in events)
    return [event.removeprefix("data: ") for event in events]


async def test_whole_answer(openai_sdk: openai.AsyncOpenAI) -> None:
    """An answer has text, a reason to end, and usage that adds up; the model answers under its dated name."""
    answer = await openai_sdk.chat.completions.create(**CHAT)

    assert answer.choices[0].message.content
    assert answer.choices[0].finish_reason == "stop"
    assert answer.model == "gpt-4o-2024-08-06"
    assert answer.usage is not None
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    assert answer.usage.completion_tokens_details is not None
    assert answer.service_tier == "default"


async def test_sync_sdk(sandbox: Sandbox) -> None:
    """The synchronous SDK reads both forms, and they say the same."""

    def ask() -> tuple[str | None, str]:
        with openai.OpenAI(base_url=f"{sandbox.url}/v1", api_key="k", max_retries=0) as client:
            whole = client.chat.completions.create(**CHAT)
            streamed = client.chat.completions.create(**CHAT, stream=True)
            return whole.choices[0].message.content, "".join(c.choices[0].delta.content or "" for c in streamed)

    whole, streamed = await asyncio.to_thread(ask)

    assert whole == streamed


async def test_stream_says_the_same(openai_sdk: openai.AsyncOpenAI) -> None:
    """A streamed answer has the whole one's text, id, time and fingerprint."""
    whole = await openai_sdk.chat.completions.create(**CHAT)
    chunks = await chunks_of(openai_sdk, **CHAT)

    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == whole.choices[0].message.content
    assert {(c.id, c.created, c.model, c.system_fingerprint) for c in chunks} == {
        (whole.id, whole.created, whole.model, whole.system_fingerprint)
    }


async def test_no_usage_unless_asked(http: aiohttp.ClientSession) -> None:
    """Without include_usage no chunk has a usage key; with it every chunk has null, and one without choices has it."""
    plain = [json.loads(event) for event in (await events_of(http, CHAT))[:-1]]
    asked = [json.loads(e) for e in (await events_of(http, CHAT | {"stream_options": {"include_usage": True}}))[:-1]]

    assert not any("usage" in chunk for chunk in plain)
    assert [chunk["usage"] for chunk in asked[:-1]] == [None] * len(plain)
    assert asked[-1]["choices"] == []
    assert asked[-1]["usage"]["completion_tokens"] == sum(
        bool(chunk["choices"][0]["delta"].get("content")) for chunk in plain
    )
    for chunk in asked:
        del chunk["usage"]
    assert asked[:-1] == plain


async def test_stream_ends_with_done(http: aiohttp.ClientSession) -> None:
    """A stream's last event is [DONE], and its chunks have the API's key order."""
    events = await events_of(http, CHAT | {"stream_options": {"include_usage": True}})

    assert events[-1] == "[DONE]"
    assert list(json.loads(events[1])) == [
        "id", "object", "created", "model", "service_tier", "system_fingerprint", "choices", "usage", "obfuscation"
    ]  # fmt: skip


async def test_layout_of_a_whole_answer(http: aiohttp.ClientSession) -> None:
    """A whole answer is indented by two spaces and its keys are in the API's order."""
    async with http.post("/v1/chat/completions", json=CHAT) as response:
        raw = await response.read()
        cookies = response.headers.getall("Set-Cookie")

    assert raw.startswith(b'{\n  "id": "chatcmpl-')
    assert raw.endswith(b"}\n")
    assert list(json.loads(raw)) == [
        "id", "object", "created", "model", "choices", "usage", "service_tier", "system_fingerprint"
    ]  # fmt: skip
    assert len(cookies) == 2


async def test_equal_requests_get_equal_bytes(http: aiohttp.ClientSession) -> None:
    """Key order and white space of a request do not matter: the answers are equal to the byte, headers too."""
    answers = []
    for data in (json.dumps(CHAT), json.dumps(dict(reversed(CHAT.items())), indent=4)):
        async with http.post("/v1/chat/completions", data=data) as response:
            headers = {name: value for name, value in response.headers.items() if name != "Date"}
            answers.append((headers, await response.read()))

    assert answers[0] == answers[1]


async def test_another_question_another_answer(openai_sdk: openai.AsyncOpenAI) -> None:
    """Another prompt gets another text under another id."""
    one = await openai_sdk.chat.completions.create(**CHAT)
    other = await openai_sdk.chat.completions.create(model="gpt-4o", messages=[{"role": "user", "content": "Hills?"}])

    assert one.choices[0].message.content != other.choices[0].message.content
    assert one.id != other.id


@pytest.mark.parametrize("stream", [False, True])
async def test_cap_cuts(openai_sdk: openai.AsyncOpenAI, sandbox: Sandbox, stream: bool) -> None:
    """The output cap is kept to the token, and said."""
    if stream:
        chunks = await chunks_of(openai_sdk, **CHAT, max_tokens=5)
        assert sum(bool(chunk.choices[0].delta.content) for chunk in chunks) == 5
        assert chunks[-1].choices[0].finish_reason == "length"
    else:
        answer = await openai_sdk.chat.completions.create(**CHAT, max_completion_tokens=5)
        assert answer.usage is not None
        assert answer.usage.completion_tokens == 5
        assert answer.choices[0].finish_reason == "length"

    assert sandbox.calls[-1].output_tokens == 5


async def test_capped_answer_is_a_beginning(openai_sdk: openai.AsyncOpenAI) -> None:
    """A capped answer is the beginning of the uncapped one."""
    whole = (await openai_sdk.chat.completions.create(**CHAT)).choices[0].message.content
    capped = (await openai_sdk.chat.completions.create(**CHAT, max_tokens=4)).choices[0].message.content

    assert whole is not None
    assert capped
    assert whole.startswith(capped)


async def test_stop_sequence(openai_sdk: openai.AsyncOpenAI) -> None:
    """The text ends before the stop sequence."""
    words = "".join((await openai_sdk.chat.completions.create(**CHAT)).choices[0].message.content or "").split()
    stopped = await openai_sdk.chat.completions.create(**CHAT, stop=[words[3]])
    text = stopped.choices[0].message.content

    assert text is not None
    assert words[3] not in text
    assert stopped.choices[0].finish_reason == "stop"


async def test_several_choices(openai_sdk: openai.AsyncOpenAI) -> None:
    """With n the choices differ, the prompt counts once, and the streamed choices take turns."""
    one = await openai_sdk.chat.completions.create(**CHAT)
    whole = await openai_sdk.chat.completions.create(**CHAT, n=3)
    chunks = await chunks_of(openai_sdk, **CHAT, n=3)
    texts = [choice.message.content for choice in whole.choices]

    assert len(set(texts)) == 3
    assert whole.usage is not None
    assert one.usage is not None
    assert whole.usage.completion_tokens > one.usage.completion_tokens
    assert [c.choices[0].index for c in chunks[:6]] == [0, 1, 2, 0, 1, 2]
    for index, text in enumerate(texts):
        said = [c.choices[0].delta.content or "" for c in chunks if c.choices[0].index == index]
        assert "".join(said) == text


async def test_tools(openai_sdk: openai.AsyncOpenAI) -> None:
    """Two tools are called in parallel, with arguments of their schema, and the stream pieces them together alike."""
    tools = [tool("weather"), tool("news")]
    whole = await openai_sdk.chat.completions.create(**CHAT, tools=tools)
    calls = whole.choices[0].message.tool_calls or []
    async with openai_sdk.chat.completions.stream(**CHAT, tools=tools) as stream:
        streamed = (await stream.get_final_completion()).choices[0].message.tool_calls or []

    assert whole.choices[0].finish_reason == "tool_calls"
    assert whole.choices[0].message.content is None
    assert [call.function.name for call in calls if call.type == "function"] == ["weather", "news"]
    for call, same in zip(calls, streamed, strict=True):
        assert call.type == "function"
        assert set(json.loads(call.function.arguments)) == {"city", "days"}
        assert (call.id, call.function.arguments) == (same.id, same.function.arguments)


async def test_one_tool_when_told(openai_sdk: openai.AsyncOpenAI) -> None:
    """A named tool is the one that is called; without parallel calls there is one."""
    tools = [tool("weather"), tool("news")]
    named = await openai_sdk.chat.completions.create(
        **CHAT, tools=tools, tool_choice={"type": "function", "function": {"name": "news"}}
    )
    single = await openai_sdk.chat.completions.create(**CHAT, tools=tools, parallel_tool_calls=False)

    assert [call.function.name for call in named.choices[0].message.tool_calls or []] == ["news"]
    assert len(single.choices[0].message.tool_calls or []) == 1


async def test_tool_result_is_answered_in_words(openai_sdk: openai.AsyncOpenAI) -> None:
    """After a tool's result the model speaks."""
    first = await openai_sdk.chat.completions.create(**CHAT, tools=[tool("weather")])
    call = (first.choices[0].message.tool_calls or [])[0]
    turns: Any = [
        *HELLO,
        first.choices[0].message.model_dump(exclude_none=True),
        {"role": "tool", "tool_call_id": call.id, "content": "sunny"},
    ]
    second = await openai_sdk.chat.completions.create(model="gpt-4o", messages=turns, tools=[tool("weather")])

    assert second.choices[0].message.content
    assert second.choices[0].finish_reason == "stop"


async def test_cap_within_tool_arguments(openai_sdk: openai.AsyncOpenAI) -> None:
    """A cap cuts a tool call's arguments, and the count is the cap."""
    answer = await openai_sdk.chat.completions.create(**CHAT, tools=[tool("weather")], max_tokens=4)

    assert answer.choices[0].finish_reason == "length"
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 4


async def test_structured_answer(openai_sdk: openai.AsyncOpenAI) -> None:
    """A JSON schema is followed, references and enumerations included; json_object gives an object."""
    schema = {
        "type": "object",
        "properties": {
            "kind": {"enum": ["a", "b"]},
            "parts": {"type": "array", "items": {"$ref": "#/$defs/part"}},
            "maybe": {"anyOf": [{"type": "number"}, {"type": "null"}]},
        },
        "$defs": {"part": {"type": "object", "properties": {"sure": {"type": "boolean"}}}},
    }
    answer = await openai_sdk.chat.completions.create(
        **CHAT, response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    )
    plain = await openai_sdk.chat.completions.create(**CHAT, response_format={"type": "json_object"})
    value = json.loads(answer.choices[0].message.content or "")

    assert value["kind"] in {"a", "b"}
    assert isinstance(value["parts"][0]["sure"], bool)
    assert isinstance(value["maybe"], float)
    assert isinstance(json.loads(plain.choices[0].message.content or ""), dict)


async def test_recursive_schema_ends(openai_sdk: openai.AsyncOpenAI) -> None:
    """A schema that branches into itself is followed only so far."""
    schema = {"type": "object", "properties": {f"child{number}": {"$ref": "#"} for number in range(64)}}
    answer = await openai_sdk.chat.completions.create(
        **CHAT, response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    )

    value = json.loads(answer.choices[0].message.content or "")

    assert value["child0"]["child0"]
    assert value["child63"] is None


@pytest.mark.parametrize("url", [PIXEL, "https://example.com/picture.png"])
async def test_images(openai_sdk: openai.AsyncOpenAI, url: str) -> None:
    """An image, inline or by URL, is taken and counted."""
    text = {"type": "text", "text": "What is this? " * 60}
    image = {"type": "image_url", "image_url": {"url": url, "detail": "low"}}
    without: Any = [{"role": "user", "content": [text]}]
    with_image: Any = [{"role": "user", "content": [text, image]}]
    one = await openai_sdk.chat.completions.create(model="gpt-4o", messages=without)
    other = await openai_sdk.chat.completions.create(model="gpt-4o", messages=with_image)

    assert one.usage is not None
    assert other.usage is not None
    assert other.usage.prompt_tokens - one.usage.prompt_tokens == 85


async def test_image_that_is_none(openai_sdk: openai.AsyncOpenAI) -> None:
    """An image that is neither inline nor a URL is refused."""
    messages: Any = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "file:///etc/passwd"}}]}]

    with pytest.raises(openai.BadRequestError):
        await openai_sdk.chat.completions.create(model="gpt-4o", messages=messages)


async def test_reasoning(openai_sdk: openai.AsyncOpenAI, sandbox: Sandbox) -> None:
    """Reasoning is inside the completion's count, grows with the effort, and is not streamed."""
    low = await openai_sdk.chat.completions.create(model="gpt-5-mini", messages=HELLO, reasoning_effort="low")
    high = await openai_sdk.chat.completions.create(model="gpt-5-mini", messages=HELLO, reasoning_effort="high")
    asked: Any = {"model": "o3", "messages": HELLO, "stream_options": {"include_usage": True}}
    chunks = await chunks_of(openai_sdk, **asked)
    spoken = sum(bool(c.choices[0].delta.content) for c in chunks[:-1])

    assert low.usage is not None
    assert low.usage.completion_tokens_details is not None
    assert low.usage.completion_tokens_details.reasoning_tokens == 64
    assert high.usage is not None
    assert high.usage.completion_tokens_details is not None
    assert high.usage.completion_tokens_details.reasoning_tokens == 256
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == spoken + 128
    assert (sandbox.calls[-1].output_tokens, sandbox.calls[-1].reasoning_tokens) == (spoken, 128)


async def test_cap_eaten_by_reasoning(openai_sdk: openai.AsyncOpenAI) -> None:
    """A cap below the reasoning leaves no words: the answer is empty, and all of it billed."""
    answer = await openai_sdk.chat.completions.create(model="o3", messages=HELLO, max_completion_tokens=50)

    assert answer.choices[0].message.content == ""
    assert answer.choices[0].finish_reason == "length"
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 50


async def test_service_tier(openai_sdk: openai.AsyncOpenAI) -> None:
    """The tier is in the answer, whole and streamed."""
    flex = await openai_sdk.chat.completions.create(**CHAT, service_tier="flex")
    chunks = await chunks_of(openai_sdk, **CHAT, service_tier="priority")

    assert flex.service_tier == "flex"
    assert {chunk.service_tier for chunk in chunks} == {"priority"}


async def test_logprobs(openai_sdk: openai.AsyncOpenAI) -> None:
    """Log probabilities come token by token when asked for."""
    answer = await openai_sdk.chat.completions.create(**CHAT, logprobs=True)
    logprobs = answer.choices[0].logprobs

    assert logprobs is not None
    assert logprobs.content is not None
    assert "".join(token.token for token in logprobs.content) == answer.choices[0].message.content


async def test_prompt_cache(openai_sdk: openai.AsyncOpenAI, sandbox: Sandbox) -> None:
    """A prefix of 1,024 tokens or more is cached the second time, in steps of 128, whatever follows it."""
    long = {"role": "system", "content": "The river runs to the sea. " * 300}
    counts = []
    for question in ("one", "two"):
        messages: Any = [long, {"role": "user", "content": question}]
        answer = await openai_sdk.chat.completions.create(model="gpt-4o", messages=messages)
        assert answer.usage is not None
        assert answer.usage.prompt_tokens_details is not None
        counts.append((answer.usage.prompt_tokens, answer.usage.prompt_tokens_details.cached_tokens or 0))

    assert counts[0][1] == 0
    assert counts[0][0] == counts[1][0]
    assert 1024 <= counts[1][1] <= counts[1][0]
    assert counts[1][1] % 128 == 0
    call = sandbox.calls[-1]
    assert call.input_tokens + call.cache_read_tokens == counts[1][0]
    assert call.cache_read_tokens == counts[1][1]


async def test_cache_can_be_forgotten(openai_sdk: openai.AsyncOpenAI, sandbox: Sandbox) -> None:
    """After forgetting, the same call gets the same counts as the first time."""
    messages: Any = [{"role": "user", "content": "The river runs to the sea. " * 300}]
    first = await openai_sdk.chat.completions.create(model="gpt-4o", messages=messages)
    sandbox.forget()
    again = await openai_sdk.chat.completions.create(model="gpt-4o", messages=messages)

    assert first == again


async def test_cache_writes_of_newer_models(openai_sdk: openai.AsyncOpenAI, sandbox: Sandbox) -> None:
    """Models whose cache writes have a price report them once, inside the prompt's count."""
    messages: Any = [{"role": "user", "content": "The river runs to the sea. " * 300}]
    answer = await openai_sdk.chat.completions.create(model="gpt-6-luna", messages=messages)

    assert answer.usage is not None
    details = answer.usage.prompt_tokens_details
    assert details is not None
    assert details.cache_write_tokens == sandbox.calls[-1].cache_write_5m_tokens >= 1024
    assert sandbox.calls[-1].input_tokens + sandbox.calls[-1].cache_write_5m_tokens == answer.usage.prompt_tokens


async def test_short_prompts_are_not_cached(openai_sdk: openai.AsyncOpenAI, sandbox: Sandbox) -> None:
    """Below 1,024 tokens nothing is cached."""
    messages: Any = [{"role": "user", "content": "The river runs to the sea. " * 140}]
    for _ in range(2):
        await openai_sdk.chat.completions.create(model="gpt-4o", messages=messages)

    assert 900 < sandbox.calls[-1].input_tokens < 1024
    assert sandbox.calls[-1].cache_read_tokens == 0


@pytest.mark.parametrize("content", ["", "x", "é" * 40, "word " * 400, "\x00\n\t" * 5])
async def test_no_more_input_than_bytes(openai_sdk: openai.AsyncOpenAI, sandbox: Sandbox, content: str) -> None:
    """No request has more input tokens than its body has bytes."""
    await openai_sdk.chat.completions.create(model="gpt-4o", messages=[{"role": "user", "content": content}])

    assert 0 < sandbox.calls[-1].input_tokens <= sandbox.calls[-1].body_bytes


async def test_embeddings(openai_sdk: openai.AsyncOpenAI, sandbox: Sandbox) -> None:
    """Both encodings give the same unit vectors, as many numbers as asked for, one vector an input."""
    asked: Any = {"model": "text-embedding-3-small", "input": ["one river", "another"], "dimensions": 64}
    floats = await openai_sdk.embeddings.create(**asked, encoding_format="float")
    packed = await openai_sdk.embeddings.create(**asked)

    assert [entry.embedding for entry in floats.data] == [entry.embedding for entry in packed.data]
    assert [len(entry.embedding) for entry in floats.data] == [64, 64]
    assert sum(number * number for number in floats.data[0].embedding) == pytest.approx(1, abs=1e-4)
    assert floats.usage.prompt_tokens == sandbox.calls[-1].input_tokens == 3 + 2


@pytest.mark.parametrize(("given", "tokens"), [("word", 1), ([1, 2, 3], 3), ([[1, 2], [3]], 3)])
async def test_embedding_inputs(openai_sdk: openai.AsyncOpenAI, given: Any, tokens: int) -> None:
    """A text, token numbers, and lists of either are taken."""
    answer = await openai_sdk.embeddings.create(model="text-embedding-3-large", input=given)

    assert answer.usage.total_tokens == tokens
    assert len(answer.data[0].embedding) == 3072


async def test_models(openai_sdk: openai.AsyncOpenAI) -> None:
    """The list has models, one of them can be got, and an unknown one cannot."""
    listed = [model.id async for model in openai_sdk.models.list()]

    assert "gpt-4o" in listed
    assert (await openai_sdk.models.retrieve("gpt-4o")).owned_by == "system"
    with pytest.raises(openai.NotFoundError):
        await openai_sdk.models.retrieve("gpt-nonsense")


async def test_no_key(http: aiohttp.ClientSession) -> None:
    """Without a key the answer is 401, in OpenAI's shape."""
    async with http.post("/v1/chat/completions", json=CHAT, headers={"Authorization": ""}) as response:
        assert response.status == 401
        assert (await response.json())["error"]["code"] == "invalid_api_key"


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"messages": HELLO}, "model"),
        ({"model": "gpt-4o", "messages": []}, "messages"),
        ({"model": "gpt-4o", "messages": [{"content": "x"}]}, "messages[0]"),
        (CHAT | {"max_tokens": -1}, "max_tokens"),
        (CHAT | {"max_tokens": "5"}, "max_tokens"),
        (CHAT | {"max_tokens": True}, "max_tokens"),
        (CHAT | {"max_tokens": 5, "max_completion_tokens": 5}, "max_tokens"),
        (CHAT | {"model": "o3", "max_tokens": 5}, "max_tokens"),
        (CHAT | {"n": 129}, "n"),
        (CHAT | {"stream_options": {"include_usage": True}}, "stream_options"),
        (CHAT | {"model": "o3", "reasoning_effort": "heroic"}, "reasoning_effort"),
    ],
)
async def test_what_is_refused(http: aiohttp.ClientSession, body: dict[str, Any], param: str) -> None:
    """What the API refuses is refused, and the error names the field."""
    async with http.post("/v1/chat/completions", json=body) as response:
        assert response.status == 400
        error = (await response.json())["error"]

    assert (error["type"], error["param"]) == ("invalid_request_error", param)
    assert list(error) == ["message", "type", "param", "code"]


@pytest.mark.parametrize("data", [b"{", b"[]", b"\xff", b'"text"', b'{"a":' + b"[" * 500 + b"]" * 500 + b"}"])
async def test_no_json(http: aiohttp.ClientSession, data: bytes) -> None:
    """A body that is no JSON object is refused."""
    async with http.post("/v1/chat/completions", data=data) as response:
        assert response.status == 400


async def test_unknown_path(http: aiohttp.ClientSession, sandbox: Sandbox) -> None:
    """Any other path is 404 in the provider's shape, and on the bill."""
    async with http.post("/v1/fine_tuning/jobs", json={}) as response:
        assert response.status == 404
        assert (await response.json())["error"]["type"] == "invalid_request_error"

    assert sandbox.calls[-1].path == "/v1/fine_tuning/jobs"


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, openai.BadRequestError),
        (401, openai.AuthenticationError),
        (404, openai.NotFoundError),
        (429, openai.RateLimitError),
        (500, openai.InternalServerError),
        (503, openai.InternalServerError),
    ],
)
async def test_scripted_status(
    openai_sdk: openai.AsyncOpenAI, sandbox: Sandbox, status: int, kind: type[openai.APIStatusError]
) -> None:
    """A scripted status raises the SDK's exception for it, bills nothing, and is gone with the next call."""
    sandbox.play([Behaviour(status=status)])

    with pytest.raises(kind) as raised:
        await openai_sdk.chat.completions.create(**CHAT)
    assert raised.value.request_id == sandbox.calls[-1].request_id
    assert (sandbox.calls[-1].status, sandbox.calls[-1].input_tokens) == (status, 0)
    assert (await openai_sdk.chat.completions.create(**CHAT)).choices


async def test_retry_headers(http: aiohttp.ClientSession) -> None:
    """A 429 says when to come back, in seconds and in milliseconds, and a script can change it."""
    for header, expected in (({}, ("1", "1000")), ({"X-Sandbox-Retry-After-S": "7"}, ("7", "7000"))):
        async with http.post("/v1/chat/completions", json=CHAT, headers={"X-Sandbox-Status": "429", **header}) as got:
            assert (got.headers["retry-after"], got.headers["retry-after-ms"]) == expected


async def test_unique_ids() -> None:
    """Asked to, the sandbox answers equal calls under different ids."""
    from penia_proxy.sandbox import running_sandbox

    async with (
        running_sandbox(unique_ids=True) as sandbox,
        openai.AsyncOpenAI(base_url=f"{sandbox.url}/v1", api_key="k", max_retries=0) as client,
    ):
        ids = {(await client.chat.completions.create(**CHAT)).id for _ in range(3)}

    assert len(ids) == 3
