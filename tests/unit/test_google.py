"""What Google's requests ask and its answers report."""

import json
from typing import Any

import pytest

from penia_proxy.budget.usage import Usage
from penia_proxy.errors import BudgetExceeded, InvalidRequest, StoreUnavailable, UnmeteredRoute
from penia_proxy.gateway.routes import RouteTable
from penia_proxy.wire.call import AnswerHead, Call, Reading, Request
from penia_proxy.wire.google import Google
from penia_proxy.wire.google_usage import usage_of

DIALECT = Google()
MODEL = "gemini-2.5-flash"
WINDOW = 1_000_000


def call(operation: str = "generateContent", model: str = MODEL, query: str = "", **members: Any) -> Call:
    return DIALECT.call(Request(operation, json.dumps(members).encode(), (model,), query))


def asked(*parts: dict[str, Any], **members: Any) -> Call:
    return call(contents=[{"role": "user", "parts": list(parts)}], **members)


def reading(of: Call, body: bytes, content_type: str = "application/json", step: int = 100_000) -> Reading:
    meter = DIALECT.meter(of, AnswerHead(content_type))
    passed = b"".join(meter.feed(body[at : at + step]) for at in range(0, len(body), step))
    assert passed + meter.end() == body
    return meter.reading()


def whole(answer: dict[str, Any], *, operation: str = "generateContent", model: str = MODEL) -> Reading:
    return reading(call(operation, model), json.dumps(answer).encode())


def usage_in(read: Reading) -> Usage:
    ((_, usage),) = read.parts
    return usage


def chunk(text: str, *, finish: str | None = None, **counts: Any) -> dict[str, Any]:
    candidate = {"content": {"parts": [{"text": text}], "role": "model"}, "index": 0}
    return {
        "candidates": [candidate | ({"finishReason": finish} if finish else {})],
        "usageMetadata": counts,
        "modelVersion": MODEL,
    }


CHUNKS = [
    chunk('Ünï"}]{[', promptTokenCount=9, totalTokenCount=9),
    chunk("\\ two", promptTokenCount=9, candidatesTokenCount=2, thoughtsTokenCount=30),
    chunk("", finish="STOP", promptTokenCount=9, candidatesTokenCount=4, thoughtsTokenCount=30, serviceTier="standard"),
]
EVENTS = b"".join(b"data: " + json.dumps(one, ensure_ascii=False).encode() + b"\r\n\r\n" for one in CHUNKS)
ARRAY = b"[" + b"\r\n,\r\n".join(json.dumps(one, ensure_ascii=False, indent=1).encode() for one in CHUNKS) + b"]\r\n"


def test_thoughts_are_on_top_and_the_cache_is_inside() -> None:
    """Output is candidates and thoughts; the prompt includes cached tokens; tool use is input on top."""
    usage = usage_of(
        {
            "promptTokenCount": 100,
            "cachedContentTokenCount": 40,
            "candidatesTokenCount": 7,
            "thoughtsTokenCount": 20,
            "toolUsePromptTokenCount": 5,
            "totalTokenCount": 132,
            "serviceTier": "FLEX",
        }
    )

    assert usage == Usage(input=65, cache_read=40, output=7, reasoning=20, service_tier="flex")
    assert usage.total == 132


def test_modalities_are_told_apart() -> None:
    """Audio, images and video leave the text's count, on both sides and in the cache."""
    usage = usage_of(
        {
            "promptTokenCount": 1000,
            "promptTokensDetails": [
                {"modality": "TEXT", "tokenCount": 100},
                {"modality": "AUDIO", "tokenCount": 300},
                {"modality": "IMAGE", "tokenCount": 258},
                {"modality": "VIDEO", "tokenCount": 342},
                {"modality": "AUDIO"},
            ],
            "cachedContentTokenCount": 150,
            "cacheTokensDetails": [{"modality": "AUDIO", "tokenCount": 50}, {"modality": "IMAGE", "tokenCount": 100}],
            "candidatesTokenCount": 1130,
            "candidatesTokensDetails": [{"modality": "IMAGE", "tokenCount": 1120}],
        }
    )

    assert usage == Usage(
        input=100,
        cache_read_image=100,
        input_audio=250,
        cache_read_audio=50,
        input_image=158,
        input_video=342,
        output=10,
        output_image=1120,
    )


def test_enumerations_may_be_numbers() -> None:
    """Vertex with enum-encoding=int says 4 for AUDIO, 1 for ON_DEMAND and a number for the finish reason."""
    read = whole(
        {
            "candidates": [{"content": {"parts": [{"text": "hi"}]}, "finishReason": 1}],
            "usageMetadata": {
                "promptTokenCount": 11,
                "promptTokensDetails": [{"modality": 1, "tokenCount": 4}, {"modality": 4, "tokenCount": 7}],
                "candidatesTokenCount": 2,
                "trafficType": 1,
            },
        }
    )

    assert usage_in(read) == Usage(input=4, input_audio=7, output=2, service_tier="standard")


@pytest.mark.parametrize(
    ("report", "usage"),
    [
        ({"promptTokenCount": 8}, Usage(input=8)),
        ({"promptTokenCount": 8.0, "candidatesTokenCount": 0}, Usage(input=8)),
        ({"trafficType": "ON_DEMAND"}, None),
        ({"promptTokenCount": -8}, None),
        ({"promptTokenCount": "8"}, None),
        ({"promptTokenCount": 8, "thoughtsTokenCount": 1e30}, None),
        ({"promptTokenCount": 8, "cachedContentTokenCount": 50}, Usage(cache_read=8)),
        (
            {
                "promptTokenCount": 8,
                "cachedContentTokenCount": 6,
                "promptTokensDetails": [{"modality": "AUDIO", "tokenCount": 5}, {"modality": "IMAGE", "tokenCount": 2}],
            },
            Usage(cache_read=1, cache_read_image=2, cache_read_audio=3, input_audio=2),
        ),
        ({}, None),
        (None, None),
        ([], None),
    ],
)
def test_reports_are_believed_as_far_as_they_can_be(report: Any, usage: Usage | None) -> None:
    """Zero fields are left out; contradictions are clamped; what is no count is none."""
    assert usage_of(report) == usage


@pytest.mark.parametrize(("body", "content_type"), [(EVENTS, "text/event-stream"), (ARRAY, "application/json")])
def test_a_stream_reads_the_same_however_it_is_cut(body: bytes, content_type: str) -> None:
    """Events with CRLF, and the array that is streamed without alt=sse; the last usage counts."""
    of = call("streamGenerateContent")
    expected = reading(of, body, content_type)

    assert usage_in(expected) == Usage(input=9, output=4, reasoning=30, service_tier="standard")
    assert (expected.complete, expected.finished, expected.model) == (True, True, MODEL)
    assert expected.passed_text == 'Ünï"}]{[\\ two'
    for at in range(len(body)):
        meter = DIALECT.meter(of, AnswerHead(content_type))
        meter.feed(body[:at])
        meter.feed(body[at:])
        meter.end()
        assert meter.reading() == expected, at
    assert reading(of, body, "", step=1) == expected


@pytest.mark.parametrize(("body", "content_type"), [(EVENTS, "text/event-stream"), (ARRAY, "application/json")])
def test_a_cut_stream_is_never_complete(body: bytes, content_type: str) -> None:
    """Before its finish reason the counts are known so far, and not final."""
    of = call("streamGenerateContent")
    for at in range(body.rindex(b"finishReason")):
        read = reading(of, body[:at], content_type) if at else None

        assert read is None or (not read.complete and not read.finished)


def test_usage_of_a_cut_stream_is_what_passed() -> None:
    """The input is known from the first chunk on."""
    read = reading(call("streamGenerateContent"), EVENTS[: EVENTS.index(b"\r\n\r\n") + 4], "text/event-stream")

    assert usage_in(read) == Usage(input=9)
    assert read.passed_bytes == len('Ünï"}]{['.encode())


def test_several_candidates_end_each() -> None:
    """A stream has ended when every candidate that began has."""
    first = json.dumps(
        {"candidates": [{"finishReason": "STOP"}, {"index": 1}], "usageMetadata": {"promptTokenCount": 1}}
    )
    second = json.dumps({"candidates": [{"index": 1, "finishReason": "MAX_TOKENS"}]})
    of = call("streamGenerateContent", generationConfig={"candidateCount": 2})

    assert not reading(of, f"[{first}".encode()).complete
    assert reading(of, f"[{first},{second}]".encode()).complete


def test_a_blocked_prompt_costs_its_input() -> None:
    """There is no candidate, and that is the end."""
    blocked = {"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": {"promptTokenCount": 12}}
    read = reading(call("streamGenerateContent"), json.dumps([blocked]).encode())

    assert (usage_in(read), read.complete) == (Usage(input=12), True)


@pytest.mark.parametrize(
    "body",
    [b'{"error": {"code": 500}}', b'[{"error": {"code": 500}}]', b'data: {"error": {}, "error": {"code": 1}}\r\n\r\n'],
)
def test_an_error_in_a_stream_is_seen(body: bytes) -> None:
    """As an event, in the array, and as a document of its own."""
    assert reading(call("streamGenerateContent"), body).failed


@pytest.mark.parametrize(
    ("model", "searches"),
    [("gemini-2.5-flash", 1), ("models/gemini-2.0-flash", 1), ("gemini-3-pro", 3), ("gemini-4", 3)],
)
def test_grounding_is_billed_per_prompt_or_per_query(model: str, searches: int) -> None:
    """Up to 2.5 a grounded prompt is one search; from 3 on each different query is, on the web or for images."""
    grounding = {"webSearchQueries": ["a", "b", "a", ""], "imageSearchQueries": ["a"]}
    answer = {
        "candidates": [{"groundingMetadata": grounding}, {"index": 1, "groundingMetadata": {}}],
        "usageMetadata": {"promptTokenCount": 1},
    }

    assert usage_in(whole(answer, model=model)).units == {"web_searches": searches}


@pytest.mark.parametrize(
    ("model", "kinds", "queries", "units"),
    [
        ("gemini-3-flash", ["maps"], ["a", "b"], {"map_searches": 2}),
        ("gemini-3-flash", ["maps", "maps"], [], {"map_searches": 1}),
        ("gemini-3-flash", ["maps", "web"], ["a", "b"], {"web_searches": 2, "map_searches": 1}),
        ("gemini-2.5-flash", ["maps"], ["a", "b"], {"map_searches": 1}),
        ("gemini-3-flash", ["retrievedContext"], [], {}),
    ],
)
def test_grounding_with_maps_has_its_own_fee(
    model: str, kinds: list[str], queries: list[str], units: dict[str, int]
) -> None:
    """Queries belong to the map where nothing was found on the web; a grounded prompt is one at least."""
    grounding = {"groundingChunks": [{kind: {}} for kind in kinds], "webSearchQueries": queries}
    answer = {"candidates": [{"groundingMetadata": grounding}], "usageMetadata": {"promptTokenCount": 1}}

    assert usage_in(whole(answer, model=model)).units == units


@pytest.mark.parametrize(
    ("values", "region"),
    [(("p", "europe-west1", "gemini-3.6-flash"), "europe-west1"), (("gemini-3.6-flash",), None)],
)
def test_vertex_says_where_a_call_is_processed(values: tuple[str, ...], region: str | None) -> None:
    """Its path has the location; the Gemini API's has none."""
    asked = DIALECT.call(Request("generateContent", b"{}", values))

    assert (asked.model, asked.region) == ("gemini-3.6-flash", region)


def test_calls_of_functions_count_as_output_that_passed() -> None:
    """Their names, arguments and code; what an image weighs does not."""
    parts = [
        {"functionCall": {"name": "f", "args": {"city": "Oslo"}}, "thoughtSignature": "x" * 100},
        {"executableCode": {"code": "1+1"}},
        {"inlineData": {"data": "x" * 1000}},
    ]
    read = whole({"candidates": [{"content": {"parts": parts}}]})

    assert all(word in read.passed_text for word in ("f", "city", "Oslo", "1+1"))
    assert read.passed_bytes < 60


def test_caps_and_counts_bound_the_output() -> None:
    """The cap covers thinking; candidateCount multiplies; either spelling is read."""
    camel = call(generationConfig={"maxOutputTokens": 50, "candidateCount": 3}, serviceTier="PRIORITY").size
    snake = call(generation_config={"max_output_tokens": 50, "candidate_count": 3}, service_tier="priority").size

    assert (camel.output_bound(WINDOW), camel.service_tier) == (150, "priority")
    assert (snake.output_bound(WINDOW), snake.service_tier) == (150, "priority")


@pytest.mark.parametrize(
    "members",
    [
        {"generationConfig": {"maxOutputTokens": 1, "max_output_tokens": 9000}},
        {"generationConfig": {}, "generation_config": {"maxOutputTokens": 9000}},
        {"generationConfig": {"maxOutputTokens": -1}},
        {"generationConfig": {"maxOutputTokens": "9000"}},
        {"generationConfig": {"candidateCount": 0}},
        {"generationConfig": []},
        {"contents": "hi"},
        {"serviceTier": 1},
    ],
)
def test_what_could_be_read_two_ways_is_refused(members: dict[str, Any]) -> None:
    """Both spellings at once, and what is not of its type."""
    with pytest.raises(InvalidRequest):
        call(**members)


def test_images_are_bounded_by_their_kind_not_their_bytes() -> None:
    """An image's payload is no text; one in a function's result is found as well."""
    image = {"inline_data": {"mime_type": "image/png", "data": "A" * 5000}}
    nested = {
        "functionResponse": {"name": "f", "parts": [{"inlineData": {"mimeType": "image/jpeg", "data": "A" * 5000}}]}
    }
    size = asked({"text": "hi"}, image, nested).size

    assert (size.images, size.image_tokens_max, size.beyond_body) == (2, 2300, False)
    assert size.text_bytes < 400


@pytest.mark.parametrize(
    "part",
    [
        {"inlineData": {"mimeType": "audio/mpeg", "data": "AA"}},
        {"inlineData": {"mimeType": "video/mp4", "data": "AA"}},
        {"inlineData": {"mimeType": "application/pdf", "data": "AA"}},
        {"inlineData": {"data": "AA"}},
        {"fileData": {"fileUri": "gs://x/y.jpg", "mimeType": "image/jpeg"}},
        {"file_data": {"file_uri": "https://example.com/video"}},
    ],
)
def test_other_media_are_bounded_by_the_window_only(part: dict[str, Any]) -> None:
    """Their length is in the file, and an hour of silence is few bytes."""
    size = asked(part).size

    assert (size.input_bound(WINDOW), size.audio) == (WINDOW, True)


def test_text_that_looks_like_media_is_text() -> None:
    """Only a part's own payload is taken out: what a function returned counts by its bytes."""
    data = {"inlineData": {"mimeType": "image/png", "data": "x" * 5000}}
    size = asked({"functionResponse": {"name": "f", "response": data}}).size

    assert size.images == 0
    assert size.text_bytes > 5000


def test_stored_content_is_bounded_by_the_window_only() -> None:
    """What is cached is not in the body."""
    assert call(cachedContent="cachedContents/x").size.beyond_body
    assert call(cached_content="cachedContents/x").size.beyond_body


@pytest.mark.parametrize(
    ("tools", "bounded"),
    [
        ([{"functionDeclarations": []}], True),
        ([{"function_declarations": []}, {"computerUse": {}}], True),
        ([{"googleSearch": {}}], False),
        ([{"google_search": {}}], False),
        ([{"functionDeclarations": [], "codeExecution": {}}], False),
        ([{"urlContext": {}}], False),
        ([{"somethingNew": {}}], False),
    ],
)
def test_tools_that_run_at_google_are_unbounded(tools: list[dict[str, Any]], *, bounded: bool) -> None:
    """The caller's own are not; unknown ones are."""
    assert (call(tools=tools).size.unbounded_why == "") is bounded


def test_images_out_are_not_bounded_by_the_cap() -> None:
    """Neither asked for nor made by a model for it; audio out is priced as audio."""
    capped = {"maxOutputTokens": 10}

    assert call(generationConfig={**capped, "responseModalities": ["TEXT", "IMAGE"]}).size.output_cap is None
    assert call(model="gemini-3-pro-image-preview", generationConfig=capped).size.output_cap is None
    assert call(generationConfig={**capped, "responseModalities": ["AUDIO"]}).size.audio
    assert call(generationConfig={**capped, "responseModalities": [2]}).size.output_cap is None


def test_text_to_count_has_no_payloads() -> None:
    """Instructions, contents, tools and schemas, without what is base64."""
    image = {"inlineData": {"mimeType": "image/png", "data": "PAYLOAD"}}
    of = asked({"text": "hello"}, image, system_instruction={"parts": [{"text": "brief"}]})

    assert "hello" in of.text()
    assert "brief" in of.text()
    assert "PAYLOAD" not in of.text()


@pytest.mark.parametrize("operation", ["embedContent", "batchEmbedContents"])
def test_embeddings_report_or_are_estimated(operation: str) -> None:
    """New models count, with details in the singular; older ones leave the usage out."""
    content = {"parts": [{"text": "hi"}]}
    members = {"content": content} if operation == "embedContent" else {"requests": [{"content": content}]}
    of = call(operation, "gemini-embedding-2", **members)
    report = {"promptTokenCount": 300, "promptTokenDetails": [{"modality": "IMAGE", "tokenCount": 258}]}

    assert of.size.no_output
    assert "hi" in of.text()
    assert usage_in(reading(of, json.dumps({"usageMetadata": report}).encode())) == Usage(input=42, input_image=258)
    assert reading(of, b'{"embeddings": []}').parts == ()
    assert reading(of, b"not JSON").parts == ()


def test_video_is_priced_apart() -> None:
    """Its bytes bound nothing: each input can fill the model's window with it."""
    video = {"parts": [{"inlineData": {"mimeType": "video/mp4", "data": "AA"}}]}
    of = call("batchEmbedContents", "gemini-embedding-2", requests=[{"content": video}, {"content": video}])
    report = {"promptTokenCount": 9, "promptTokensDetails": [{"modality": "VIDEO", "tokenCount": 8}]}

    assert (of.size.audio, of.size.input_bound(8_192)) == (True, 16_384)
    assert usage_in(reading(of, json.dumps({"usageMetadata": report}).encode())) == Usage(input=1, input_video=8)


def test_predict_sums_its_predictions() -> None:
    """Each has its own count; where one lacks it, the answer is estimated."""
    counted = {"embeddings": {"statistics": {"token_count": 4, "truncated": False}}}

    assert usage_in(
        whole({"predictions": [counted, counted]}, operation="predict", model="text-embedding-005")
    ) == Usage(input=8)
    assert whole({"predictions": [counted, {}]}, operation="predict", model="text-embedding-005").parts == ()


def test_predict_of_anything_else_is_refused() -> None:
    """Images and video are billed by the piece, which no answer says."""
    with pytest.raises(UnmeteredRoute):
        call("predict", "imagen-4.0-generate-001", instances=[{"prompt": "x"}])


def test_claude_on_vertex_is_read_as_claude() -> None:
    """The model is in the path, and the body leaves as it came."""
    body = b'{"anthropic_version": "vertex-2023-10-16", "max_tokens": 9, "messages": [],"stream":true}'
    values = ("p", "us-east5", "claude-sonnet-4-5@20250929")
    of = DIALECT.call(Request("rawPredict", body, values))
    answer = {"model": "claude-sonnet-4-5-20250929", "usage": {"input_tokens": 3, "output_tokens": 2}}

    assert (of.model, of.stream, of.body, of.size.output_cap) == (values[-1], True, body, 9)
    assert usage_in(reading(of, json.dumps(answer).encode())) == Usage(input=3, output=2)
    assert DIALECT.call(Request("streamRawPredict", b'{"messages":[]}', values)).stream
    with pytest.raises(InvalidRequest):
        DIALECT.call(Request("rawPredict", b'{"model":"claude-haiku-4-5","messages":[]}', values))


def compatible(**members: Any) -> Call:
    body = {"model": "gemini-2.5-pro", "messages": [], **members}
    return DIALECT.call(Request("chat", json.dumps(body).encode()))


@pytest.mark.parametrize(
    ("counts", "usage"),
    [((35, 12, 109), Usage(input=35, output=12, reasoning=62)), ((1, 2, 3), Usage(input=1, output=2))],
)
def test_the_compatible_chat_hides_its_thinking_in_the_total(counts: tuple[int, ...], usage: Usage) -> None:
    """Output is the total less the prompt, whole and streamed."""
    names = ("prompt_tokens", "completion_tokens", "total_tokens")
    answer = json.dumps({"choices": [], "usage": dict(zip(names, counts, strict=True))}).encode()

    assert usage_in(reading(compatible(), answer)) == usage
    meter = DIALECT.meter(compatible(stream=True), AnswerHead("text/event-stream"))
    assert meter.feed(b"data: " + answer + b"\n\n") == b""
    assert usage_in(meter.reading()) == usage


def test_the_compatible_chat_can_name_stored_content() -> None:
    """What is cached is not in the body."""
    assert compatible(extra_body={"google": {"cached_content": "cachedContents/x"}}).size.beyond_body
    assert not compatible(extra_body={"google": {"thinking_config": {}}}).size.beyond_body


@pytest.mark.parametrize("query", ["fields=candidates", "$fields=candidates", "alt=proto", "%24alt=proto", "alt=media"])
def test_a_query_that_hides_the_usage_is_refused(query: str) -> None:
    """A mask of fields, and answers that are not JSON."""
    with pytest.raises(InvalidRequest):
        call(query=query)


@pytest.mark.parametrize("query", ["", "alt=sse", "key=AIza", "%24alt=json%3Benum-encoding%3Dint", "alt=json"])
def test_other_queries_pass(query: str) -> None:
    """The SDKs' own, and a key, which is not looked at."""
    assert call(query=query).model == MODEL


VERTEX = "/v1beta1/projects/p/locations/global/publishers"


@pytest.mark.parametrize(
    ("method", "path", "operation", "model"),
    [
        ("POST", f"/v1beta/models/{MODEL}:generateContent", "generateContent", MODEL),
        ("POST", f"/v1/models/{MODEL}:streamGenerateContent", "streamGenerateContent", MODEL),
        ("POST", "/v1alpha/models/gemini-embedding-2:batchEmbedContents", "batchEmbedContents", "gemini-embedding-2"),
        ("POST", f"{VERTEX}/google/models/{MODEL}:generateContent", "generateContent", MODEL),
        ("POST", f"/v1/publishers/google/models/{MODEL}:streamGenerateContent", "streamGenerateContent", MODEL),
        ("POST", f"{VERTEX}/google/models/text-embedding-005:predict", "predict", "text-embedding-005"),
        (
            "POST",
            f"{VERTEX}/anthropic/models/claude-opus-5%40default:rawPredict",
            "rawPredict",
            "claude-opus-5@default",
        ),
        ("POST", f"{VERTEX}/anthropic/models/count-tokens:rawPredict", None, "global"),
        ("POST", f"/v1beta/models/{MODEL}:countTokens", None, MODEL),
        ("GET", f"/v1beta/models/{MODEL}", None, MODEL),
        ("GET", "/v1beta/cachedContents/x", None, "x"),
        ("DELETE", "/v1beta1/projects/p/locations/l/cachedContents/x", None, "x"),
        ("POST", "/v1beta/interactions", "interactions", None),
        ("POST", "/v1beta1/projects/p/locations/l/interactions", "interactions", "l"),
        ("POST", "/v1beta/decisions", "decisions", None),
        ("POST", "/upload/v1beta/files", None, None),
        ("POST", "/v1beta/openai/chat/completions", "chat", None),
    ],
)
def test_routes_name_the_operation_and_the_model(method: str, path: str, operation: str | None, model: str) -> None:
    """Each path is one operation, and the model is its last value."""
    route, values = RouteTable(DIALECT.routes).match(method, path)

    assert route.operation == operation
    assert (values[-1] if values else None) == model


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1beta/cachedContents"),
        ("POST", f"/v1beta/models/{MODEL}:asyncBatchEmbedContent"),
        ("POST", "/v1beta/models/veo-3:predictLongRunning"),
        ("POST", "/v1beta/models/imagen-4:predict"),
        ("POST", f"{VERTEX}/mistralai/models/x:rawPredict"),
        ("POST", f"{VERTEX}/google/models/x:rawPredict"),
        ("GET", "/v1beta/interactions/x"),
        ("PATCH", "/v1beta/cachedContents/x"),
        ("POST", "/v1beta/fileSearchStores/x:importFile"),
        ("POST", "/upload/v1beta/fileSearchStores/x:uploadToFileSearchStore"),
        ("POST", "/v1beta/batches/x"),
    ],
)
def test_what_cannot_be_metered_has_no_route(method: str, path: str) -> None:
    """Storage, batches, video, images by the piece, and publishers whose answers are not read."""
    with pytest.raises(UnmeteredRoute):
        RouteTable(DIALECT.routes).match(method, path)


def test_refusals_have_googles_shape() -> None:
    """With the canonical code beside the number, and what Penia says inside."""
    refused = DIALECT.refusal(BudgetExceeded("Over."), {"budget": "b"}, "r_1")

    assert refused.body == {
        "error": {"code": 402, "message": "Over.", "status": "RESOURCE_EXHAUSTED", "penia": {"budget": "b"}}
    }
    body: Any = DIALECT.refusal(StoreUnavailable("x"), {}, "r_1").body
    assert body["error"]["status"] == "UNAVAILABLE"
