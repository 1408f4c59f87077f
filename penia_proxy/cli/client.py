"""
Ask a running gateway.

Its one job: the REST API (api.md §2) for commands: one request, one answer, errors as sentences.
Rules: never through a proxy of the environment, never after a redirect: the answer is our gateway's own. Answers are
bounded. It must not know what they mean.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from http.client import HTTPException, HTTPResponse
from types import MappingProxyType
from typing import Annotated, Any, NoReturn
from urllib.error import HTTPError
from urllib.parse import urlencode, urlsplit
from urllib.request import HTTPRedirectHandler, ProxyHandler, Request, build_opener

import typer

TIMEOUT_S = 10.0
ANSWER_BYTES_MAX = 16 * 1024 * 1024
"""A full page of 100 records is about 100 kB."""
PIECE_BYTES = 64 * 1024
"""Of a file, at a time."""
PAGES_MAX = 1000
"""Of 100 items each; a list that is longer is not for a terminal."""

Url = Annotated[
    str,
    typer.Option("--url", envvar="PENIA_URL", help="The running gateway.", metavar="URL"),
]
Query = Mapping[str, str | int | None]
"""None leaves a field out."""

DEFAULT_URL = "http://127.0.0.1:8113"


class GatewayError(Exception):
    """The gateway did not do it; ``str(error)`` is for people."""


class _NoRedirects(HTTPRedirectHandler):
    def redirect_request(self, *_arguments: object) -> None:
        return None


class GatewayClient:
    """The REST API of one gateway."""

    def __init__(self, url: str) -> None:
        if urlsplit(url).scheme not in {"http", "https"} or not urlsplit(url).hostname:
            raise typer.BadParameter(f"{url!r} is no http address", param_hint="--url")
        self.url = url.rstrip("/")
        self._opener = build_opener(ProxyHandler({}), _NoRedirects())

    def get(self, path: str, *, accept: frozenset[int] = frozenset(), query: Query = MappingProxyType({})) -> Any:
        """Return what the path answers. ``accept``: error statuses whose body is an answer, too."""
        asked = {name: value for name, value in query.items() if value is not None}
        return self._ask("GET", path + ("?" + urlencode(asked) if asked else ""), None, accept)

    def post(self, path: str, body: Mapping[str, Any]) -> Any:
        """Return what the path answers to a JSON body."""
        return self._ask("POST", path, body)

    def put(self, path: str, body: Mapping[str, Any]) -> Any:
        """Return what the path answers to a JSON body."""
        return self._ask("PUT", path, body)

    def delete(self, path: str) -> Any:
        """Return what the path answers."""
        return self._ask("DELETE", path, None)

    def download(self, path: str, query: Query, to: Callable[[bytes], object]) -> None:
        """Hand on a file, piece by piece. Raises GatewayError where it breaks off: what was handed on is not whole."""
        asked = {name: value for name, value in query.items() if value is not None}
        request = Request(self.url + path + "?" + urlencode(asked))  # noqa: S310 - as below
        with self._answer(request) as answer:
            while piece := self._piece(answer):
                to(piece)

    def _piece(self, answer: HTTPResponse) -> bytes:
        try:
            return answer.read1(PIECE_BYTES)
        except (OSError, HTTPException):
            raise GatewayError(f"{self.url} broke off; its log says why. What came is not whole.") from None

    def items(self, path: str, query: Query = MappingProxyType({})) -> Iterator[dict[str, Any]]:
        """Yield every item of a list, page by page."""
        seen = 0
        for page in range(1, PAGES_MAX + 1):
            answer = self.get(path, query={**query, "page": page, "limit": 100})
            yield from answer["items"]
            seen += len(answer["items"])
            if not answer["items"] or seen >= answer["total"]:
                return

    def _ask(self, method: str, path: str, body: Mapping[str, Any] | None, accept: frozenset[int] = frozenset()) -> Any:
        request = Request(  # noqa: S310 - the scheme was checked when this client was made
            self.url + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Accept": "application/json", "Content-Type": "application/json"},
        )
        with self._answer(request, accept) as answer:
            return self._json(answer.read(ANSWER_BYTES_MAX))

    def _answer(self, request: Request, accept: frozenset[int] = frozenset()) -> Any:
        """Return the open answer. Raises GatewayError where there is none, or a refusal that is not accepted."""
        try:
            return self._opener.open(request, timeout=TIMEOUT_S)
        except HTTPError as error:
            if error.code in accept:
                return error
            with error:
                content = error.read(ANSWER_BYTES_MAX)
            self._refused(error.code, self._json(content))
        except (OSError, HTTPException) as error:
            reason = getattr(error, "reason", None) or error
            reason = getattr(reason, "strerror", None) or reason
            raise GatewayError(
                f"no gateway answers at {self.url} ({reason}).\nIs it running? Start it: penia serve  (or: penia demo)"
            ) from None

    def _json(self, content: bytes) -> Any:
        try:
            return json.loads(content)
        except ValueError:
            raise GatewayError(f"{self.url} answers, but not as Penia does: is this its address?") from None

    def _refused(self, status: int, body: Any) -> NoReturn:
        if not isinstance(body, dict) or not isinstance(body.get("error"), str):
            raise GatewayError(f"{self.url} answers {status}, but not as Penia does: is this its address?")
        raise GatewayError("\n".join([body["error"], *_fields(body.get("detail"))]))


def _fields(detail: Any) -> list[str]:
    """Return one line per wrong field of a 422."""
    if not isinstance(detail, list):
        return []
    return [
        f"  {entry.get('field')}: {entry.get('message')}"
        for entry in detail
        if isinstance(entry, dict) and entry.get("field")
    ]
