"""
Penia signs calls to Bedrock anew, and Amazon would take them.

Rule: the provider is a real server that verifies each signature as AWS does: from what it received, by botocore's own
canonical form, with the secret that belongs to the key.
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import boto3
import botocore.exceptions
import pytest
from aiohttp import web
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config as BotoConfig
from botocore.credentials import Credentials
from yarl import URL

from tests.eventstreams import chunk, event
from tests.gateways import Running, Start

KEY, SECRET, TOKEN = "AKIAMADEUP", "made-up-secret", "made-up-token"
REGION = "eu-central-1"
NOVA = "us.amazon.nova-lite-v1:0"
PROFILE = f"arn:aws:bedrock:{REGION}:123456789012:inference-profile/{NOVA}"
APPLICATION = f"arn:aws:bedrock:{REGION}:123456789012:application-inference-profile/a1b2c3d4e5f6"
USAGE = {"inputTokens": 3, "outputTokens": 2, "totalTokens": 5}
COST = 3 * 0.06e-6 + 2 * 0.24e-6
"""nova-lite: $0.06 and $0.24 a million."""
CONVERSED = {"output": {"message": {"role": "assistant", "content": [{"text": "Hi"}]}}, "usage": USAGE}
STREAMED = event("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": "Hi"}}) + event(
    "metadata", {"usage": USAGE}
)
INVOKED = chunk({"amazon-bedrock-invocationMetrics": {"inputTokenCount": 3, "outputTokenCount": 2}})


@dataclass
class Amazon:
    """Takes what is signed right, and says why it takes nothing else."""

    url: str = ""
    token: str | None = None
    paths: list[str] = field(default_factory=list)
    bearers: list[str] = field(default_factory=list)

    async def answer(self, request: web.Request) -> web.Response:
        body = await request.read()
        given = request.headers.get("Authorization", "")
        if given.startswith("Bearer "):
            self.bearers.append(given)
        elif why := self.complaint(request, body):
            return web.json_response(
                {"message": why}, status=403, headers={"x-amzn-errortype": "InvalidSignatureException"}
            )
        self.paths.append(request.raw_path)
        stream = "application/vnd.amazon.eventstream"
        match request.raw_path.rpartition("/")[2]:
            case "converse":
                return web.json_response(CONVERSED)
            case "converse-stream":
                return web.Response(body=STREAMED, content_type=stream)
            case "invoke":
                return web.json_response({"usage": USAGE})
            case "count-tokens":
                return web.json_response({"inputTokens": 3})
        return web.Response(body=INVOKED, content_type=stream)

    def complaint(self, request: web.Request, body: bytes) -> str:
        """Say what is wrong with a request's signature, or nothing."""
        kind, _, rest = request.headers.get("Authorization", "").partition(" ")
        if kind != "AWS4-HMAC-SHA256" or len(request.headers.getall("Authorization")) != 1:
            return "not signed once"
        said = dict(part.strip().split("=", 1) for part in rest.split(","))
        names = said["SignedHeaders"].split(";")
        if said["Credential"] != f"{KEY}/{request.headers['X-Amz-Date'][:8]}/{REGION}/bedrock/aws4_request":
            return "another credential"
        if request.headers.get("X-Amz-Security-Token") != self.token:
            return "another token"
        unsigned = {name.lower() for name in request.headers if name.lower().startswith("x-amz-")} - set(names)
        if unsigned or "host" not in names:
            return "headers that must be signed are not"
        signer = SigV4Auth(Credentials(KEY, SECRET, self.token), "bedrock", REGION)
        received = AWSRequest(
            method=request.method,
            url=f"http://{request.headers['Host']}{request.raw_path}",
            data=body,
            headers={name: request.headers[name] for name in names},
        )
        received.context["timestamp"] = request.headers["X-Amz-Date"]
        text = signer.string_to_sign(received, signer.canonical_request(received))
        return "" if signer.signature(text, received) == said["Signature"] else "the signature does not fit"


@pytest.fixture
async def amazon() -> AsyncIterator[Amazon]:
    provider = Amazon()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", provider.answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    provider.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield provider
    await runner.cleanup()


async def signing(start: Start, amazon: Amazon, **settings: Any) -> Running:
    """Start a gateway that signs with the key that this provider knows."""
    explicit = {"access_key_id": KEY, "secret_access_key": SECRET, "region": REGION}
    bedrock = {"base_url": amazon.url, "prices": "aws", "aws": explicit, **settings}
    # What has no price is refused: no test passes by it.
    budget = {"name": "priced", "daily_limit": 1, "enforcement": "block"}
    return await start(providers={"bedrock": bedrock}, budgets=(budget,))


def client(running: Running, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a client as people have it: it signs for the gateway's host, with credentials that are no one's."""
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    return boto3.client(
        "bedrock-runtime",
        region_name="us-east-1",
        endpoint_url=f"{running.url}/bedrock",
        aws_access_key_id="AKIAOFTHECALLER",
        aws_secret_access_key="of-the-caller",
        aws_session_token="of-the-caller",
        config=BotoConfig(retries={"total_max_attempts": 1}),
    )


def converse(bedrock: Any, model: str) -> Any:
    message = {"role": "user", "content": [{"text": "hi"}]}
    answer = bedrock.converse(modelId=model, messages=[message], inferenceConfig={"maxTokens": 5})
    return answer["output"]["message"]["content"][0]["text"]


def converse_stream(bedrock: Any, model: str) -> Any:
    answer = bedrock.converse_stream(modelId=model, messages=[{"role": "user", "content": [{"text": "hi"}]}])
    pieces = [one["contentBlockDelta"]["delta"]["text"] for one in answer["stream"] if "contentBlockDelta" in one]
    return "".join(pieces)


def invoke(bedrock: Any, model: str) -> Any:
    return json.loads(bedrock.invoke_model(modelId=model, body=b'{"messages":[]}')["body"].read())["usage"]


def invoke_stream(bedrock: Any, model: str) -> Any:
    answer = bedrock.invoke_model_with_response_stream(modelId=model, body=b'{"messages":[]}')
    return sorted(key for one in answer["body"] for key in json.loads(one["chunk"]["bytes"]))


async def asked(
    running: Running, monkeypatch: pytest.MonkeyPatch, ask: Callable[[Any, str], Any], model: str = NOVA
) -> Any:
    bedrock = client(running, monkeypatch)
    with contextlib.closing(bedrock):
        return await asyncio.to_thread(ask, bedrock, model)


@pytest.mark.parametrize("model", [NOVA, PROFILE], ids=["a model", "an inference profile"])
@pytest.mark.parametrize(
    ("ask", "said"),
    [
        (converse, "Hi"),
        (converse_stream, "Hi"),
        (invoke, USAGE),
        (invoke_stream, ["amazon-bedrock-invocationMetrics"]),
    ],
)
async def test_a_callers_signature_is_replaced(
    start: Start,
    amazon: Amazon,
    monkeypatch: pytest.MonkeyPatch,
    ask: Callable[[Any, str], Any],
    said: Any,
    model: str,
) -> None:
    """Amazon takes what boto3 signed for us, the path as boto3 encoded it, and the record has the price."""
    running = await signing(start, amazon)

    assert await asked(running, monkeypatch, ask, model) == said
    (record,) = await running.records()

    assert len(amazon.paths) == 1
    assert amazon.paths[0].startswith(f"/model/{model.replace(':', '%3A').replace('/', '%2F')}/")
    assert (record["model"], record["cost_basis"]) == (NOVA, "reported")
    assert record["cost"] == pytest.approx(COST)


async def test_credentials_come_from_the_configuration_around(
    start: Start, amazon: Amazon, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without keys of its own the section takes the environment's, a session's token among them."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_SESSION_TOKEN", TOKEN)
    amazon.token = TOKEN
    running = await signing(start, amazon, aws={"region": REGION})

    assert await asked(running, monkeypatch, converse) == "Hi"


async def test_without_credentials_nothing_is_sent(
    start: Start, amazon: Amazon, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    """The caller is told, and nothing is held or recorded."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    running = await signing(start, amazon, aws={"region": REGION})

    async with call(running, f"/model/{NOVA}/converse") as answer:
        said = await answer.json()

    assert (answer.status, amazon.paths) == (502, [])
    assert "No AWS credentials" in said["message"]
    assert await running.records() == []


async def test_a_bedrock_api_key_of_the_callers_passes(start: Start, amazon: Amazon) -> None:
    """It is the caller's own bill, so it is neither replaced nor signed over."""
    running = await signing(start, amazon)

    async with call(running, f"/model/{NOVA}/converse", Authorization="Bearer made-up") as answer:
        await answer.read()

    assert (answer.status, amazon.bearers) == (200, ["Bearer made-up"])


async def test_what_is_free_is_signed_as_well(start: Start, amazon: Amazon) -> None:
    """Counting tokens costs nothing, and still needs a signature."""
    running = await signing(start, amazon)

    async with call(running, f"/model/{NOVA}/count-tokens") as answer:
        assert await answer.json() == {"inputTokens": 3}


async def test_a_resource_without_a_model_is_priced_by_the_configuration(
    start: Start, amazon: Amazon, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An application's own profile names no model: ``models`` says what it is priced as."""
    running = await signing(start, amazon, models={APPLICATION: NOVA})

    assert await asked(running, monkeypatch, converse, APPLICATION) == "Hi"
    (record,) = await running.records()

    assert (record["model"], record["cost_basis"]) == (APPLICATION, "reported")
    assert record["cost"] == pytest.approx(COST)


async def test_a_resource_without_a_model_has_no_price_of_its_own(
    start: Start, amazon: Amazon, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So a budget that needs one refuses it, and nothing is sent."""
    running = await signing(start, amazon)

    with pytest.raises(botocore.exceptions.ClientError) as refused:
        await asked(running, monkeypatch, converse, APPLICATION)

    assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 402
    assert amazon.paths == []


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/model/arn%3Aaws%3Abedrock%3Aus-east-1%3A1%3Ainference-profile%2F..%2F..%2Fadmin/converse", 400),
        ("/model/arn%3Aaws%3Abedrock%3Aus-east-1%3A1%3Ainference-profile%2fx/converse", 400),
        ("/model/arn%3Aaws%3Abedrock%3Aus-east-1%3A1%3Ainference-profile%252Fx/converse", 400),
        ("/model/arn%3Aaws%3As3%3Aus-east-1%3A1%3Abucket%2Fx/converse", 400),
        ("/model/x%2Fconverse", 400),
        ("/model%2Fx/converse", 400),
        ("/arn%3Aaws%3Abedrock%3Aus-east-1%3A1%3Ainference-profile%2Fx/x/converse", 404),
        ("/model/arn%3Aaws%3Abedrock%3Aus-east-1%3A1%3Ainference-profile%2Fx%2Finvoke", 404),
        ("/guardrail/arn%3Aaws%3Abedrock%3Aus-east-1%3A1%3Aguardrail%2Fx/version/1/apply", 404),
    ],
)
async def test_an_encoded_slash_opens_no_other_path(start: Start, amazon: Amazon, path: str, status: int) -> None:
    """Only a resource name where Bedrock has its model may have one: nothing else reaches Amazon."""
    running = await signing(start, amazon)

    async with call(running, path) as answer:
        await answer.read()

    assert (answer.status, amazon.paths) == (status, [])


def call(running: Running, path: str, **headers: str) -> "aiohttp.client._RequestContextManager":
    url = URL(f"{running.url}/bedrock{path}", encoded=True)
    return running.session.post(url, data=b'{"messages":[]}', headers=headers)
