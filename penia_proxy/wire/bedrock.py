"""
Speak Amazon Bedrock: Converse, InvokeModel, their streams, and token counting.

Its one job: what these requests ask for; what they report is in `penia_proxy.wire.bedrock_answers`.
Rules: the model stands in the path, may have a region's prefix, which has a price, and may be a resource name (ARN). A
caller's Bedrock API key passes; a signature (SigV4) covers the host it was made for and cannot, so the gateway makes
another where it is told to. A cap counts only under the name that the model's vendor knows: one that is ignored bounds
nothing. Bedrock goes on generating when the caller leaves. Sources: wire_formats.md §1.4; botocore 1.44.5,
bedrock-runtime.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Literal

from penia_proxy.budget.estimate import HIDDEN_TOOL_TOKENS, Size
from penia_proxy.budget.tokens import image_tokens_max
from penia_proxy.errors import InvalidRequest, PeniaError
from penia_proxy.wire.anthropic import PROVIDED_TOOL_TOKENS, Anthropic
from penia_proxy.wire.bedrock_answers import HEADER, ConverseReader, InvokeReader
from penia_proxy.wire.body import count, model_of, read_object, set_member
from penia_proxy.wire.call import AnswerHead, Call, Meter, RefusalShape, Request, Route
from penia_proxy.wire.content import dicts, text_of
from penia_proxy.wire.eventstream import EventStreamMeter
from penia_proxy.wire.meters import JsonMeter

EVENT_STREAM = "application/vnd.amazon.eventstream"

CHOICES_MAX = 128

_CONVERSE_CAP = (("inferenceConfig", "maxTokens"),)

_CAPS: tuple[tuple[str, tuple[tuple[str, ...], ...]], ...] = (
    ("amazon.nova", (*_CONVERSE_CAP, ("inferenceConfig", "max_new_tokens"))),
    ("amazon.titan-text", (("textGenerationConfig", "maxTokenCount"),)),
    ("meta", (("max_gen_len",),)),
    ("openai", (("max_completion_tokens",), ("max_tokens",))),
    ("qwen", (("max_completion_tokens",), ("max_tokens",))),
    ("mistral", (("max_tokens",),)),
    ("cohere", (("max_tokens",),)),
    ("deepseek", (("max_tokens",),)),
    ("ai21", (("max_tokens",),)),
    ("writer", (("max_tokens",),)),
)
"""
The names of an output cap in InvokeModel's body by the model's vendor
(https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters.html). A vendor that is not here has none.
"""

_CHOICES = ("n", "num_generations", "numResults")
"""How many answers are asked for: OpenAI's and Mistral's name, Cohere's, AI21's."""

_ANY_CAP = ("maxTokens", "max_new_tokens", "max_tokens", "max_completion_tokens", "max_gen_len", "maxTokenCount")

_ERROR_TYPES = {
    400: "ValidationException",
    402: "ServiceQuotaExceededException",
    403: "AccessDeniedException",
    404: "ResourceNotFoundException",
    429: "ThrottlingException",
    502: "ServiceUnavailableException",
    503: "ServiceUnavailableException",
    504: "ModelTimeoutException",
}

_NAMES_ITS_MODEL = re.compile(r"arn:[^:]+:bedrock:[^:]*:[^:]*:(?:inference-profile|foundation-model)/([^/]+)")

_ANTHROPIC = Anthropic()


class Bedrock:
    """The dialect ``bedrock``."""

    name = "bedrock"
    on_disconnect: Literal["cancel", "drain"] = "drain"
    routes: tuple[Route, ...] = (
        Route("POST", "/model/{arn}/converse", "converse"),
        Route("POST", "/model/{arn}/converse-stream", "converse-stream"),
        Route("POST", "/model/{arn}/invoke", "invoke"),
        Route("POST", "/model/{arn}/invoke-with-response-stream", "invoke-stream"),
        Route("POST", "/model/{arn}/count-tokens", None),
    )

    def call(self, request: Request) -> Call:
        if request.headers.get("Authorization", "").startswith("AWS4-") or "X-Amz-Signature" in request.query:
            raise InvalidRequest(
                "The request is signed (SigV4) for another host, and a signature cannot be passed on. Let Penia sign"
                " ('aws' of the provider in config.yaml), or send a Bedrock API key instead (Authorization: Bearer);"
                " boto3 does with AWS_BEARER_TOKEN_BEDROCK, over https."
            )
        model = _model_named(model_of({"model": request.path_values[0] if request.path_values else None}))
        members = read_object(request.body)
        is_converse = request.operation.startswith("converse")
        size = _converse_size(members, model, request.body) if is_converse else _invoke_size(members, model, request)
        return Call(
            operation=request.operation,
            model=model,
            stream=request.operation.endswith("-stream"),
            size=size,
            body=request.body,
            text=lambda: text_of(_readable(members)),
            # No stream of Bedrock's is cut: it goes on, and is billed, when nobody listens. Its cap is lowered instead.
            capped=None if size.no_output else _capping(request.body, members, model, is_converse=is_converse),
        )

    def meter(self, call: Call, head: AnswerHead) -> Meter:
        reader = ConverseReader() if call.operation.startswith("converse") else InvokeReader(head.headers)
        is_stream = head.content_type == EVENT_STREAM or (call.stream and head.content_type != "application/json")
        return EventStreamMeter(reader) if is_stream else JsonMeter(reader)

    def refusal(self, error: PeniaError, penia: Mapping[str, object], request_id: str) -> RefusalShape:
        other = "ValidationException" if error.status < 500 else "InternalServerException"
        kind = _ERROR_TYPES.get(error.status, other)
        # boto3 keeps the sentence and the kind, which is Amazon's; our code stands in the sentence.
        return RefusalShape(
            {"message": f"{error} ({error.code})", "penia": penia},
            {"x-amzn-errortype": kind, "x-amzn-requestid": request_id},
        )


def _capping(body: bytes, members: dict[str, Any], model: str, *, is_converse: bool) -> Callable[[int], bytes] | None:
    """Return how to send the request with another output cap; None where its model's name for one is not known."""
    paths = _CONVERSE_CAP if is_converse else _caps_of(model)
    if not is_converse and _is_of(model, "anthropic"):
        paths = (("max_tokens",),) if "messages" in members else (("max_tokens_to_sample",),)
    if not paths or (is_converse and _also_capped(_object(members, "additionalModelRequestFields"))):
        return None
    said = [path for path in paths if _at(members, path) is not None] or paths[:1]

    def capped(tokens: int) -> bytes:
        set_to: dict[str, Any] = {}
        for name, *inner in said:
            set_to[name] = {**set_to.get(name, _object(members, name)), inner[0]: tokens} if inner else tokens
        given = body
        for name, value in set_to.items():
            given = set_member(given, name, value)
        return given

    return capped


def _also_capped(more: dict[str, Any]) -> bool:
    """Whether a vendor's own fields have a cap as well, which may be the one that counts."""
    return any(name in holder for holder in (more, _object(more, "inferenceConfig")) for name in _ANY_CAP)


def _at(members: dict[str, Any], path: tuple[str, ...]) -> object:
    *holders, name = path
    for step in holders:
        members = _object(members, step)
    return members.get(name)


def _model_named(name: str) -> str:
    """Return the model that a resource name says, where it says one: an application's own profile says none."""
    said = _NAMES_ITS_MODEL.fullmatch(name)
    return said[1] if said else name


def _converse_size(members: dict[str, Any], model: str, body: bytes) -> Size:
    blocks = _blocks(members.get("messages")) + _blocks([{"content": members.get("system")}])
    images = _images(blocks)
    more = _object(members, "additionalModelRequestFields")
    tools = _object(members, "toolConfig")
    return Size(
        text_bytes=len(body) - sum(map(_payload_bytes, images)),
        images=len(images),
        image_tokens_max=image_tokens_max("bedrock", model) if images else 0,
        messages=len(dicts(members.get("messages"))),
        hidden_tokens=(HIDDEN_TOOL_TOKENS if tools or members.get("outputConfig") else 0)
        + PROVIDED_TOOL_TOKENS * len(dicts(more.get("tools"))),
        # A document is read page by page and as pictures; a managed prompt's text is in its own store.
        beyond_body=bool(members.get("promptVariables")) or any(map(_is_beyond, blocks)),
        output_cap=_converse_cap(members, more),
        choices=_choices(more),
        service_tier=_text(_object(members, "serviceTier").get("type")),
        cache_1h=b'"1h"' in body,
        audio=any("audio" in block or "video" in block for block in blocks),
        unbounded_why=_unbounded(
            latency=_object(members, "performanceConfig").get("latency"),
            guardrail=members.get("guardrailConfig"),
            hosted=any(tool.get("systemTool") for tool in dicts(tools.get("tools"))),
        ),
    )


def _converse_cap(members: dict[str, Any], more: dict[str, Any]) -> int | None:
    """Return the cap; one that a vendor's own fields state as well may be the one that counts, if it is larger."""
    cap = count(_object(members, "inferenceConfig"), "maxTokens")
    if cap is None:
        return None
    also = [count(holder, name) for holder in (more, _object(more, "inferenceConfig")) for name in _ANY_CAP]
    return max(cap, *(one or 0 for one in also))


def _invoke_size(members: dict[str, Any], model: str, request: Request) -> Size:
    body, headers = request.body, request.headers
    is_anthropic = _is_of(model, "anthropic")
    # OpenAI's models take the tier in the body as well; what Anthropic's mean by that member costs nothing.
    tier = headers.get(f"{HEADER}service-tier") or (None if is_anthropic else members.get("service_tier"))
    why = _unbounded(
        latency=headers.get(f"{HEADER}performanceconfig-latency"),
        guardrail=headers.get(f"{HEADER}guardrailidentifier"),
        hosted="rerank" in model,
    )
    if is_anthropic and "messages" in members and "model" not in members:
        size = _ANTHROPIC.call(Request("messages", set_member(body, "model", model))).size
        return replace(size, service_tier=_text(tier), unbounded_why=size.unbounded_why or why)
    blocks = _blocks(members.get("messages"))
    images = _images(blocks)
    embeds = "embed" in model or "rerank" in model
    return Size(
        text_bytes=len(body) - sum(map(_payload_bytes, images)),
        images=len(images),
        image_tokens_max=image_tokens_max("bedrock", model) if images else 0,
        messages=len(dicts(members.get("messages"))) or 1,
        hidden_tokens=HIDDEN_TOOL_TOKENS if members.get("toolConfig") or members.get("tools") else 0,
        beyond_body=any(map(_is_beyond, blocks)),
        output_cap=None if embeds else _invoke_cap(members, model),
        choices=_choices(members),
        no_output=embeds,
        service_tier=_text(tier),
        audio=any("audio" in block or "video" in block for block in blocks),
        unbounded_why=why,
    )


def _invoke_cap(members: dict[str, Any], model: str) -> int | None:
    caps = []
    for *holders, name in _caps_of(model):
        holder = members
        for step in holders:
            holder = _object(holder, step)
        caps.append(count(holder, name))
    return max((cap for cap in caps if cap is not None), default=None)


def _caps_of(model: str) -> tuple[tuple[str, ...], ...]:
    return next((paths for vendor, paths in _CAPS if _is_of(model, vendor)), ())


def _choices(members: dict[str, Any]) -> int:
    return max(count(members, name, most=CHOICES_MAX) or 1 for name in _CHOICES)


def _unbounded(*, latency: object, guardrail: object, hosted: bool) -> str:
    """Say what of a request costs beyond its tokens at the prices known, if anything does."""
    if hosted:
        return "it uses a feature that is billed by the use"
    if guardrail:
        return "its guardrail is billed by the text it reads, which is not metered"
    if latency not in (None, "standard"):
        return "the price of optimised latency is not known"
    return ""


def _is_of(model: str, vendor: str) -> bool:
    """Whether a model's id begins with the vendor, after a region's prefix or none."""
    return model.startswith(vendor) or model.partition(".")[2].startswith(vendor)


def _blocks(messages: object) -> list[dict[str, Any]]:
    """Return all content blocks, those inside tool results and guards included."""
    found = [block for message in dicts(messages) for block in dicts(message.get("content"))]
    inner = [block.get(name) for block in found for name in ("toolResult", "guardContent")]
    nested = [holder for holder in inner if isinstance(holder, dict)]
    return found + nested + (_blocks(nested) if nested else [])


def _images(blocks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [block["image"] for block in blocks if isinstance(block.get("image"), dict)]


def _payload_bytes(image: dict[str, Any]) -> int:
    data = _object(image, "source").get("bytes")
    return len(data) if isinstance(data, str) else 0


def _is_beyond(block: dict[str, Any]) -> bool:
    """Whether the block is more input than its bytes: a film, a sound, a picture by URL, a document but plain text."""
    document = block.get("document")
    if isinstance(document, dict):
        return not {"text", "content"} & _object(document, "source").keys()
    return any(name in block for name in ("video", "audio", "image_url", "input_audio"))


def _readable(value: object) -> object:
    """Return a request without the payloads of its images and documents, which are no text to count."""
    if isinstance(value, dict):
        return {name: _readable(member) for name, member in value.items() if name != "bytes"}
    return [_readable(item) for item in value] if isinstance(value, list) else value


def _object(members: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return a member that is an object, an empty one for anything else: the provider judges its own requests."""
    value = members.get(name)
    return value if isinstance(value, dict) else {}


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None
