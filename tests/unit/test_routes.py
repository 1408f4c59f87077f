"""A path is matched exactly as it was sent."""

from typing import Any

import pytest

from penia_proxy.errors import InvalidRequest, UnmeteredRoute
from penia_proxy.gateway.routes import RouteTable, Target, target_of
from penia_proxy.wire.call import Route

ARN = "arn%3Aaws%3Abedrock%3Aus-east-1%3A123456789012%3Ainference-profile%2Fus.amazon.nova-lite-v1%3A0"


@pytest.mark.parametrize(
    "raw",
    [
        "/openai/v1/../v1/models",
        "/openai/v1/chat/completions/../files",
        "/openai/v1/./models",
        "/openai/v1/..",
        "/openai/v1/%2e%2e/models",
        "/openai/v1/%2E./models",
        "/openai/v1%2fmodels",
        "/openai/v1%2Fmodels",
        "/bedrock/model/x%2Fconverse",
        f"/bedrock/model/{ARN}%2F..%2Fadmin/converse",
        f"/bedrock/model/{ARN}%2F/converse",
        f"/bedrock/model/{ARN.replace('%2F', '%2f')}/converse",
        f"/bedrock/model/{ARN.replace('bedrock', 's3')}/converse",
        f"/bedrock/model/{ARN.replace('%3A', ':', 1)}/converse",
        f"/bedrock/model/x{ARN}/converse",
        f"/bedrock/model/{ARN}x%2Fy%2Fz/converse",
        "/openai/v1%5cmodels",
        "/openai/v1\\models",
        "/openai//v1/models",
        "//evil.example/v1/models",
        "/openai/v1/models#x",
        "/openai/v1/mod%00els",
        "/openai/v1/%252e%252e/models",
        "/openai/v1/models\x7f",
        "/openai/v1/möbel",
        "http://evil.example/v1/models",
        "*",
        "",
        "/@/openai/v1/models",
        "/@a%0db/openai/v1/models",
        f"/@{'x' * 129}/openai/v1/models",
    ],
)
def test_ambiguous_targets_are_refused(raw: str) -> None:
    """Dot segments, encoded separators, other forms than a path: refused, never normalised."""
    with pytest.raises(InvalidRequest):
        target_of(raw)


def test_a_target_is_taken_apart() -> None:
    """Component, provider, path and query, the path raw."""
    assert target_of("/@team%20a/openai/v1/models/ft:gpt%3Ax?a=/../b") == Target(
        "team a", "openai", "/v1/models/ft:gpt%3Ax", "a=/../b"
    )
    assert target_of("/openai") == Target(None, "openai", "", "")


def _opens(_request: object) -> Any:
    raise AssertionError


SOCKETS = RouteTable([Route("GET", "/v1/realtime", "realtime", opens=_opens)], ["GET /v1/files"])
TABLE = RouteTable([Route("POST", "/v1/chat", "chat"), Route("GET", "/v1/models/{}", None)], ["GET /v1/files"])


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/chat/"),
        ("GET", "/v1/chat"),
        ("POST", "/v1/chats"),
        ("POST", "/V1/chat"),
        ("GET", "/v1/models/"),
        ("GET", "/v1/models/a/b"),
        ("DELETE", "/v1/models/a"),
        ("POST", "/v1/files"),
        ("POST", ""),
    ],
)
def test_only_what_is_listed_passes(method: str, path: str) -> None:
    """Another method, a slash more, another case: not a route."""
    with pytest.raises(UnmeteredRoute):
        TABLE.match(method, path)


def test_listed_routes_pass() -> None:
    """Exact ones, patterns, and those the operator calls free."""
    assert TABLE.match("POST", "/v1/chat")[0].operation == "chat"
    assert TABLE.match("GET", "/v1/models/ft%3Ax") == (Route("GET", "/v1/models/{}", None), ("ft:x",))
    assert TABLE.match("GET", "/v1/files")[0].operation is None


def test_a_resource_name_is_one_segment_where_a_route_says_so() -> None:
    """As it was sent, with its slashes encoded; nowhere else is an encoded slash a part of a segment."""
    table = RouteTable([Route("POST", "/model/{arn}/converse", "converse"), Route("GET", "/v1/models/{}", None)])
    path = target_of(f"/bedrock/model/{ARN}/converse").path
    name = "arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.amazon.nova-lite-v1:0"

    assert path == f"/model/{ARN}/converse"
    assert table.match("POST", path)[1] == (name,)
    assert table.match("POST", "/model/us.amazon.nova-lite-v1%3A0/converse")[1] == ("us.amazon.nova-lite-v1:0",)
    with pytest.raises(UnmeteredRoute):
        table.match("GET", target_of(f"/openai/v1/models/{ARN}").path)


def test_a_websocket_is_met_by_an_upgrade_and_nothing_else() -> None:
    """And what is none is not opened, however it is listed."""
    assert SOCKETS.match_socket("GET", "/v1/realtime") == ("realtime", _opens)
    for method, path in (("POST", "/v1/realtime"), ("GET", "/v1/realtime/"), ("GET", "/v1/files")):
        with pytest.raises(UnmeteredRoute):
            SOCKETS.match_socket(method, path)
    with pytest.raises(UnmeteredRoute, match="WebSocket"):
        SOCKETS.match("GET", "/v1/realtime")
