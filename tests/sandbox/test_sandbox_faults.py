"""Every behaviour of the sandbox can be observed from outside, and is booked as it was."""

import asyncio
import gzip
import json
import zlib
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import anthropic
import brotli
import openai
import pytest
import zstandard

from penia_proxy.sandbox import Asked, Behaviour, Call, Sandbox
from penia_proxy.sandbox.faults import ScriptError, as_headers, from_headers, with_settings

CHAT: dict[str, Any] = {
    "model": "gpt-4o",
    "messages": [{"role": "user", "content": "Say something about rivers."}],
    "stream": True,
    "stream_options": {"include_usage": True},
}
MESSAGES: dict[str, Any] = {
    "model": "claude-sonnet-5",
    "max_tokens": 400,
    "messages": [{"role": "user", "content": "Say something about rivers."}],
    "stream": True,
}
WHOLE = {name: value for name, value in CHAT.items() if not name.startswith("stream")}
PINGS = 1
"""Events that the SDK keeps to itself."""
BOTH = pytest.mark.parametrize(("path", "body"), [("/v1/chat/completions", CHAT), ("/v1/messages", MESSAGES)])


async def ended(sandbox: Sandbox) -> Call:
    """Return the last call once it has ended: the client may know of an end before the server does."""
    async with asyncio.timeout(5):
        while sandbox.calls[-1].ending == "running":
            await asyncio.sleep(0)
    return sandbox.calls[-1]


async def read_all(http: aiohttp.ClientSession, path: str, body: dict[str, Any], **headers: str) -> bytes:
    """Return the answer's whole body."""
    async with http.post(path, json=body, headers=headers) as response:
        return await response.read()


async def read_until_broken(http: aiohttp.ClientSession, path: str, body: dict[str, Any], **headers: str) -> bytes:
    """Return what came before the connection broke; fail if it did not break."""
    came = b""
    async with http.post(path, json=body, headers=headers) as response:
        try:
            async for chunk in response.content.iter_any():
                came += chunk
        except aiohttp.ClientError:
            return came
    pytest.fail("The connection did not break.")


def usages(raw: bytes) -> Iterator[Any]:
    """Yield every usage in a stream that is not null."""
    for line in raw.decode().splitlines():
        if line.startswith("data: {"):
            event = json.loads(line.removeprefix("data: "))
            for holder in (event, event.get("message", {})):
                if holder.get("usage") is not None:
                    yield holder["usage"]


@BOTH
async def test_output_tokens(sandbox: Sandbox, http: aiohttp.ClientSession, path: str, body: dict[str, Any]) -> None:
    """An answer is as long as told, by header; the caller's cap still counts."""
    await read_all(http, path, body, **{"X-Sandbox-Output-Tokens": "200"})
    assert sandbox.calls[-1].output_tokens == sandbox.calls[-1].produced_tokens == 200

    await read_all(http, path, body | {"max_tokens": 7}, **{"X-Sandbox-Output-Tokens": "200"})
    assert sandbox.calls[-1].output_tokens == 7


@BOTH
@pytest.mark.parametrize(
    ("coding", "decode"),
    [
        ("gzip", gzip.decompress),
        ("deflate", zlib.decompress),
        ("br", brotli.decompress),
        ("zstd", lambda data: zstandard.ZstdDecompressor().decompressobj().decompress(data)),
    ],
)
@pytest.mark.parametrize("stream", [True, False])
async def test_compression(
    http: aiohttp.ClientSession,
    path: str,
    body: dict[str, Any],
    coding: str,
    decode: Callable[[bytes], bytes],
    stream: bool,
) -> None:
    """A compressed answer decodes to the plain one, and says how it is compressed."""
    asked = body if stream else {k: v for k, v in body.items() if not k.startswith("stream")}
    plain = await read_all(http, path, asked)
    headers = {"X-Sandbox-Compress": coding, "Accept-Encoding": f"x, {coding};q=0.5"}
    async with http.post(path, json=asked, headers=headers) as response:
        packed = await response.read()

    assert response.headers["Content-Encoding"] == coding
    assert packed != plain
    assert decode(packed) == plain


async def test_compression_is_flushed_per_event(http: aiohttp.ClientSession, sandbox: Sandbox) -> None:
    """What was sent of a compressed stream can be decoded before the rest comes."""
    headers = {"X-Sandbox-Compress": "gzip", "Accept-Encoding": "gzip", "X-Sandbox-Stall-After-Bytes": "600"}
    decoder = zlib.decompressobj(wbits=31)
    async with http.post("/v1/chat/completions", json=CHAT, headers=headers) as response:
        plain = b""
        while b'"content":' not in plain:
            plain += decoder.decompress(await response.content.readany())

    call = await ended(sandbox)

    assert plain.startswith(b"data: {")
    assert call.produced_tokens < call.output_tokens


@pytest.mark.parametrize("accepted", ["", "identity", "gzip;q=0", "br, gzip; q=0.0"])
async def test_no_compression_unless_accepted(http: aiohttp.ClientSession, accepted: str) -> None:
    """Who does not accept a coding does not get it."""
    headers = {"X-Sandbox-Compress": "gzip", "Accept-Encoding": accepted}
    async with http.post("/v1/chat/completions", json=WHOLE, headers=headers) as response:
        assert "Content-Encoding" not in response.headers
        assert await response.json()


@BOTH
async def test_closed_before_answering(
    sandbox: Sandbox, http: aiohttp.ClientSession, path: str, body: dict[str, Any]
) -> None:
    """The connection is closed instead of an answer; nothing was produced."""
    with pytest.raises(aiohttp.ServerDisconnectedError):
        await read_all(http, path, body, **{"X-Sandbox-Close-Before": "true"})
    call = await ended(sandbox)

    assert (call.status, call.ending, call.produced_tokens, call.finished) == (None, "cut", 0, False)


@BOTH
async def test_reset(sandbox: Sandbox, http: aiohttp.ClientSession, path: str, body: dict[str, Any]) -> None:
    """A reset breaks the stream after so many bytes; what was sent by then is booked."""
    whole = await read_all(http, path, body)
    headers = {"X-Sandbox-Reset-After-Bytes": "2000", "X-Sandbox-Chunk-Delay-S": "0.001"}
    came = await read_until_broken(http, path, body, **headers)
    call = await ended(sandbox)

    assert whole.startswith(came)
    assert (call.ending, call.sent_bytes) == ("cut", 2000)
    assert 0 < call.produced_tokens < call.output_tokens


@pytest.mark.parametrize("stream", [True, False])
async def test_end_too_early(sandbox: Sandbox, http: aiohttp.ClientSession, stream: bool) -> None:
    """A stream can end in good order but too early; JSON that is too short breaks off."""
    headers = {"X-Sandbox-End-After-Bytes": "300"}
    if stream:
        whole = await read_all(http, "/v1/chat/completions", CHAT)
        came = await read_all(http, "/v1/chat/completions", CHAT, **headers)
        assert came == whole[:300]
    else:
        came = await read_until_broken(http, "/v1/chat/completions", WHOLE, **headers)
        assert len(came) == 300
    call = await ended(sandbox)

    assert (call.ending, call.sent_bytes) == ("cut", 300)
    assert (call.produced_tokens < call.output_tokens) is stream


@BOTH
async def test_stall(sandbox: Sandbox, http: aiohttp.ClientSession, path: str, body: dict[str, Any]) -> None:
    """After so many bytes nothing more comes; when the client gives up, that is how the call ended."""
    async with http.post(path, json=body, headers={"X-Sandbox-Stall-After-Bytes": "1000"}) as response:
        came = await response.content.readexactly(1000)
        assert came
        assert sandbox.calls[-1].ending == "running"
        response.close()
    call = await ended(sandbox)

    assert (call.ending, call.sent_bytes, call.status) == ("client_gone", 1000, 200)


async def test_stall_before_the_first_byte(sandbox: Sandbox, http: aiohttp.ClientSession) -> None:
    """No answer comes at all until the client gives up, and nothing was produced."""
    with pytest.raises(TimeoutError):
        async with http.post(
            "/v1/chat/completions",
            json=CHAT,
            headers={"X-Sandbox-Stall-Before": "true"},
            timeout=aiohttp.ClientTimeout(total=0.05),
        ):
            pass
    call = await ended(sandbox)

    assert (call.status, call.ending, call.produced_tokens) == (None, "client_gone", 0)


async def test_a_stop_ends_stalled_calls() -> None:
    """Stopping the sandbox does not wait for an answer that never comes."""
    from penia_proxy.sandbox import running_sandbox

    async with asyncio.timeout(5), aiohttp.ClientSession(headers={"x-api-key": "k"}) as session:
        async with running_sandbox(Behaviour(stall_before=True)) as sandbox:
            asking = asyncio.create_task(session.post(f"{sandbox.url}/v1/messages", json=MESSAGES))
            while not sandbox.calls:
                await asyncio.sleep(0)
        with pytest.raises(aiohttp.ClientError):
            await asking


@BOTH
@pytest.mark.parametrize("size", [1, 7, 100])
async def test_split(http: aiohttp.ClientSession, path: str, body: dict[str, Any], size: int) -> None:
    """Split into small writes, the body is the same."""
    whole = await read_all(http, path, body)

    assert await read_all(http, path, body, **{"X-Sandbox-Split-Bytes": str(size)}) == whole


@BOTH
async def test_usage_left_out(sandbox: Sandbox, http: aiohttp.ClientSession, path: str, body: dict[str, Any]) -> None:
    """A stream without usage, or with null, reports none; what it cost is on the bill all the same."""
    for fault in ("omit", "null"):
        raw = await read_all(http, path, body, **{"X-Sandbox-Usage": fault})
        assert list(usages(raw)) == []
        assert (b'"usage"' in raw) is (fault == "null")
        assert sandbox.calls[-1].input_tokens > 0
        assert sandbox.calls[-1].usage_sent == fault


@BOTH
@pytest.mark.parametrize(("fault", "kind", "sign"), [("strings", str, None), ("negative", int, -1), ("huge", float, 1)])
async def test_usage_that_is_wrong(
    http: aiohttp.ClientSession, path: str, body: dict[str, Any], fault: str, kind: type, sign: int | None
) -> None:
    """Counts can travel as text, negative, or absurdly large, in every usage object."""
    found = list(usages(await read_all(http, path, body, **{"X-Sandbox-Usage": fault})))

    assert found
    for usage in found:
        count = usage.get("output_tokens", usage.get("completion_tokens"))
        assert isinstance(count, kind)
        assert sign is None or count * sign > 0


@BOTH
async def test_usage_twice(http: aiohttp.ClientSession, path: str, body: dict[str, Any]) -> None:
    """The last usage of a stream can come twice, and be equal."""
    once = list(usages(await read_all(http, path, body)))
    twice = list(usages(await read_all(http, path, body, **{"X-Sandbox-Usage": "twice"})))

    assert twice == [*once, once[-1]]


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages", "/v1/embeddings"])
async def test_usage_of_whole_answers(http: aiohttp.ClientSession, path: str) -> None:
    """Whole answers know the same faults; twice is a duplicate key."""
    body = WHOLE | {"max_tokens": 50, "input": "x"}
    raw = {
        fault: await read_all(http, path, body, **{"X-Sandbox-Usage": fault})
        for fault in ("normal", "omit", "null", "twice", "negative")
    }
    count = "prompt_tokens" if path != "/v1/messages" else "input_tokens"

    assert "usage" not in json.loads(raw["omit"])
    assert json.loads(raw["null"])["usage"] is None
    assert raw["twice"].count(b'"usage"') == 2
    assert json.loads(raw["twice"]) == json.loads(raw["normal"])
    assert json.loads(raw["negative"])["usage"][count] == -json.loads(raw["normal"])["usage"][count]


@BOTH
async def test_error_in_a_success(http: aiohttp.ClientSession, path: str, body: dict[str, Any]) -> None:
    """A 200 can carry an error body, even where a stream was asked for."""
    async with http.post(path, json=body, headers={"X-Sandbox-Error-Body": "true"}) as response:
        assert response.status == 200
        assert "error" in await response.json()


async def test_error_event_openai(openai_sdk: openai.AsyncOpenAI, sandbox: Sandbox) -> None:
    """A stream that fails in the middle raises in the SDK, after the pieces that came before."""
    stream = await openai_sdk.chat.completions.create(**CHAT, extra_headers={"X-Sandbox-Error-After-Chunks": "4"})
    came = [await anext(stream) for _ in range(4)]
    with pytest.raises(openai.APIError):
        await anext(stream)

    assert len(came) == 4
    assert sandbox.calls[-1].produced_tokens == 3


async def test_error_event_anthropic(anthropic_sdk: anthropic.AsyncAnthropic, sandbox: Sandbox) -> None:
    """A stream that fails in the middle raises in the SDK, as overloaded."""
    stream = await anthropic_sdk.messages.create(**MESSAGES, extra_headers={"X-Sandbox-Error-After-Chunks": "6"})
    for _ in range(6 - PINGS):
        await anext(stream)
    with pytest.raises(anthropic.APIStatusError) as raised:
        await anext(stream)

    assert raised.value.body["error"]["type"] == "overloaded_error"
    assert sandbox.calls[-1].produced_tokens == 3


@BOTH
async def test_no_end(http: aiohttp.ClientSession, path: str, body: dict[str, Any]) -> None:
    """The last event can be missing, and only it."""
    whole = await read_all(http, path, body)
    cut = await read_all(http, path, body, **{"X-Sandbox-No-End": "true"})

    assert whole.startswith(cut)
    assert b"[DONE]" not in cut
    assert b"message_stop" not in cut


@BOTH
async def test_delays(http: aiohttp.ClientSession, path: str, body: dict[str, Any]) -> None:
    """Delays change when, and not what."""
    headers = {"X-Sandbox-First-Byte-Delay-S": "0.01", "X-Sandbox-Chunk-Delay-S": "0.0001"}

    assert await read_all(http, path, body, **headers) == await read_all(http, path, body)


async def test_client_hangs_up(sandbox: Sandbox, http: aiohttp.ClientSession) -> None:
    """Hanging up stops the bill: what was produced by then is less than the whole."""
    headers = {"X-Sandbox-Output-Tokens": "5000", "X-Sandbox-Chunk-Delay-S": "0.001"}
    async with http.post("/v1/chat/completions", json=CHAT, headers=headers) as response:
        await response.content.readany()
        response.close()
    call = await ended(sandbox)

    assert call.ending == "client_gone"
    assert call.produced_tokens < call.output_tokens == 5000


@pytest.mark.parametrize(
    "header",
    [
        {"X-Sandbox-Nonsense": "1"},
        {"X-Sandbox-Status": "200"},
        {"X-Sandbox-Status": "many"},
        {"X-Sandbox-Usage": "maybe"},
        {"X-Sandbox-Close-Before": "perhaps"},
        {"X-Sandbox-Split-Bytes": "0"},
        {"X-Sandbox-Chunk-Delay-S": "nan"},
    ],
)
async def test_misspelt_behaviour(http: aiohttp.ClientSession, header: dict[str, str]) -> None:
    """A behaviour that makes no sense is refused, so that no test passes by a slip of the pen."""
    async with http.post("/v1/chat/completions", json=CHAT, headers=header) as response:
        assert response.status == 400
        assert "X-Sandbox" in (await response.json())["error"]["message"]


async def test_script_as_a_sequence(sandbox: Sandbox, http: aiohttp.ClientSession) -> None:
    """A sequence is played once, call by call; None is a healthy call, and so is everything after its end."""
    sandbox.play([Behaviour(status=500), None, Behaviour(status=429)])
    statuses = []
    for _ in range(4):
        async with http.post("/v1/chat/completions", json=CHAT) as response:
            statuses.append(response.status)

    assert statuses == [500, 200, 429, 200]


async def test_script_as_a_function(sandbox: Sandbox, http: aiohttp.ClientSession) -> None:
    """A function decides by what is asked; headers win over it."""

    def script(asked: Asked) -> Behaviour | None:
        return Behaviour(status=404) if asked.body["model"] == "unknown" else None

    sandbox.play(script)
    statuses = []
    for model, headers in (("gpt-4o", {}), ("unknown", {}), ("unknown", {"X-Sandbox-Status": "500"})):
        async with http.post("/v1/chat/completions", json=CHAT | {"model": model}, headers=headers) as response:
            statuses.append(response.status)

    assert statuses == [200, 404, 500]


def test_behaviour_travels_as_headers() -> None:
    """What a behaviour says as headers is read back as the same behaviour."""
    behaviour = Behaviour(
        first_byte_delay_s=0.5,
        output_tokens=0,
        compress="br",
        status=500,
        close_before=True,
        usage="twice",
        reset_after_bytes=12,
    )

    assert from_headers(Behaviour(), as_headers(behaviour)) == behaviour
    assert from_headers(behaviour, {"Accept": "x"}) is behaviour


def test_settings_are_refused_by_name() -> None:
    """The error of a bad setting names it."""
    with pytest.raises(ScriptError, match="colour"):
        with_settings(Behaviour(), [("colour", "blue")])


async def test_reset_is_a_reset(sandbox: Sandbox) -> None:
    """A reset arrives as RST, where a connection that is merely closed would end with an empty read."""
    url = urlsplit(sandbox.url)
    data = json.dumps(CHAT).encode()
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: {url.netloc}\r\nAuthorization: Bearer k\r\n"
        f"X-Sandbox-Reset-After-Bytes: 100\r\nContent-Length: {len(data)}\r\n\r\n"
    )
    reader, writer = await asyncio.open_connection(url.hostname, url.port)
    writer.write(head.encode() + data)
    with pytest.raises(ConnectionResetError):
        await reader.read()
    writer.close()
