"""
Turn a typed function into an HTTP endpoint.

Its one job: one table row (`Endpoint`) is the route, the validation, the error answers and the OpenAPI entry, so that
none can differ from another.
Rules: a query or body that has an unknown field, a field twice or anything that is not JSON is refused, never
ignored; refusals are `PeniaError`s, which bring their status; what was not foreseen is a 500 that says nothing.

Why not aiohttp-pydantic: 2.6 ignores unknown query fields, and its documentation page loads Swagger UI from a CDN.
"""

import asyncio
import logging
import traceback
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Generic, Self, TypeVar

import orjson
from aiohttp import web
from aiohttp.http_exceptions import BadHttpMessage
from pydantic import BaseModel, ValidationError
from sqlalchemy.exc import TimeoutError as NoConnection

from penia_proxy.api.fields import Nothing, given
from penia_proxy.api.security import HEADERS, admit
from penia_proxy.api.services import Services
from penia_proxy.errors import (
    ArchiveUnavailable,
    CallerError,
    InvalidRequest,
    InvariantError,
    Overloaded,
    PayloadTooLarge,
    PeniaError,
    RequestTimeout,
    SchemaViolation,
)
from penia_proxy.export.courtesy import calls_first
from penia_proxy.watch.refusing import Refused
from penia_proxy.watch.shapes import refused_json
from penia_proxy.wire.body import read_object

BODY_BYTES_MAX = 1_000_000
"""The control plane's bodies are forms, not prompts; a check's text is the largest."""

LARGE_BODY_BYTES_MAX = 32_000_000
"""What an endpoint may ask for instead (`Endpoint.body_bytes_max`). One such body is in memory at a time."""

FIELD_ERRORS_MAX = 50

STREAMS_MAX = 4
"""Files sent at a time: each has a thread, and a connection to the ledger."""
STALL_S = 60.0
"""How long a client may take no byte of a file."""

_log = logging.getLogger(__name__)

Q = TypeVar("Q", bound=BaseModel)
B = TypeVar("B", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Call(Generic[Q, B]):
    """One checked request to an endpoint."""

    services: Services
    query: Q
    body: B
    path: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer whose status is not the endpoint's usual one."""

    value: Any
    status: int


@dataclass(frozen=True, slots=True)
class Written:
    """An answer that is text, and no JSON."""

    text: bytes
    media_type: str


@dataclass(frozen=True, slots=True)
class Streamed:
    """An answer that is a file, made while it is sent (`streaming`)."""

    chunks: Generator[bytes, None, None]
    """Blocks, and is closed whatever happens."""
    media_type: str
    file_name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """One row of the route table."""

    method: str
    path: str
    handler: Callable[[Call[Any, Any]], Awaitable[Any]]
    """Returns what orjson can write, a `Reply`, `Written` or `Streamed`. Its docstring describes the endpoint."""
    tag: str
    response: type[BaseModel] | None = None
    """None: it is no JSON."""
    media: tuple[str, ...] = ()
    """The types of an answer that is none."""
    query: type[BaseModel] = Nothing
    body: type[BaseModel] | None = None
    body_bytes_max: int = BODY_BYTES_MAX
    """Beyond the usual, a body is read in a thread, and what it says may be checked by its handler only."""
    status: int = 200
    also: tuple[int, ...] = ()
    """Other statuses that answer the same shape."""
    errors: tuple[type[PeniaError], ...] = ()
    """Beyond those that any endpoint with a query or body can answer."""

    @property
    def summary(self) -> str:
        """The handler's docstring in one line; its name where `python -OO` took that away."""
        text = self.handler.__doc__ or self.handler.__name__.replace("_", " ")
        return text.strip().partition("\n")[0].removesuffix(".")


def serve(endpoint: Endpoint, services: Services, hosts: frozenset[str] | None) -> Callable[[web.Request], Any]:
    """Return the aiohttp handler of an endpoint."""

    async def handle(request: web.Request) -> web.StreamResponse:
        query = _query(endpoint.query, request)
        with _Room(services) as room:
            body = Nothing() if endpoint.body is None else await _body(endpoint.body, request, endpoint, room)
            value = await endpoint.handler(Call(services, query, body, request.match_info))
        if isinstance(value, Streamed):
            if services.streams >= STREAMS_MAX:
                raise Overloaded("As many files are being sent as may be; ask again in a moment.")
            services.streams += 1
            try:
                with calls_first():
                    return await streamed(request, value)
            finally:
                services.streams -= 1
        if isinstance(value, Written):
            return web.Response(body=value.text, headers={**HEADERS, "Content-Type": value.media_type})
        status = endpoint.status
        if isinstance(value, Reply):
            value, status = value.value, value.status
        return json_response(value, status)

    return guarded(handle, hosts)


def guarded(
    handle: Callable[[web.Request], Awaitable[web.StreamResponse]], hosts: frozenset[str] | None
) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    """Return a handler that refuses what `security` refuses and answers every error as JSON."""

    async def guard(request: web.Request) -> web.StreamResponse:
        try:
            admit(request, hosts)
            return await handle(request)
        except PeniaError as error:
            if isinstance(error, InvariantError):
                _report(request, error)
            return error_response(error)
        except NoConnection:
            return error_response(Overloaded("Too many questions are being answered; ask this again in a moment."))
        except Exception as error:  # noqa: BLE001 - the last line: nothing of it may reach the caller
            _report(request, error)
            return error_response(PeniaError("Penia failed at this; its log says where."))

    return guard


async def streamed(request: web.Request, answer: Streamed) -> web.StreamResponse:
    """
    Send a file as fast as the client reads it.

    What fails once it has begun breaks the connection: a file that ends in good order is whole.
    """
    response = web.StreamResponse(
        headers={
            **HEADERS,
            "Content-Type": answer.media_type,
            "Content-Disposition": f'attachment; filename="{answer.file_name}"',
        }
    )
    async with aclosing(in_thread(answer.chunks)) as chunks:
        await response.prepare(request)
        if request.method == "HEAD":
            return response
        try:
            async for chunk in chunks:
                async with asyncio.timeout(STALL_S):
                    await response.write(chunk)
        except Exception as error:  # noqa: BLE001 - whatever it is, no second answer may follow the half of this one
            if isinstance(error, ArchiveUnavailable):
                _log.error("a file that was being sent is broken off: %s", error)
            elif not isinstance(error, TimeoutError | ConnectionError):  # a client that does not read, or that left
                _report(request, error)
            if request.transport is not None:
                request.transport.abort()
    return response


async def in_thread(chunks: Generator[bytes, None, None]) -> AsyncGenerator[bytes, None]:
    """
    Take pieces from a generator in a thread of its own, one at a time and only when asked for.

    A step that runs while its taker is cancelled ends first; the generator is closed behind it.
    """
    thread = ThreadPoolExecutor(1, thread_name_prefix="penia-export")
    loop = asyncio.get_running_loop()
    try:
        while (chunk := await loop.run_in_executor(thread, next, chunks, None)) is not None:
            yield chunk
    finally:
        thread.submit(chunks.close)
        thread.shutdown(wait=False)


def json_response(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    """Return JSON with the control plane's headers."""
    return web.Response(
        body=orjson.dumps(value), status=status, content_type="application/json", headers={**HEADERS, **(headers or {})}
    )


def error_response(error: PeniaError) -> web.Response:
    """Return an error in the REST shape of api.md §1."""
    hidden = isinstance(error, InvariantError)
    detail = refused_json(error.detail) if isinstance(error.detail, Refused) else error.detail
    body = {
        "error": "Penia failed at this; its log says where." if hidden else str(error),
        "code": error.code,
        "detail": None if hidden else detail,
    }
    headers = {}
    if error.retry_after_s is not None:
        headers["Retry-After"] = str(error.retry_after_s)
    if error.status == 405:
        headers["Allow"] = ", ".join(error.detail or ())
    return json_response(body, error.status, headers)


def violation(error: ValidationError, *, what: str) -> SchemaViolation:
    """Return a pydantic error as one entry per field; the values are not quoted back."""
    entries = [
        {
            "field": ".".join(str(part) for part in entry["loc"])[:200] or what,
            "message": entry["msg"].removeprefix("Value error, "),
        }
        for entry in error.errors(include_url=False, include_context=False, include_input=False)[:FIELD_ERRORS_MAX]
    ]
    return SchemaViolation(_sentence(error.error_count()), detail=entries)


def wrong_field(name: str, message: str) -> SchemaViolation:
    """Return the refusal of one field."""
    return SchemaViolation(_sentence(1), detail=[{"field": name, "message": message}])


def _sentence(count: int) -> str:
    return "One field is wrong." if count == 1 else f"{count} fields are wrong."


def _query(model: type[BaseModel], request: web.Request) -> BaseModel:
    twice = sorted({name for name in request.query if len(request.query.getall(name)) > 1})
    if twice:
        raise wrong_field(twice[0][:200], "is given more than once")
    try:
        return model.model_validate(given(request.query))
    except ValidationError as error:
        raise violation(error, what="query") from None


class _Room:
    """Room for one large body, from its first byte beyond the usual to the end of what is made of it."""

    def __init__(self, services: Services) -> None:
        self.services = services
        self._taken = False

    def take(self) -> None:
        """Take it. Twice is once. Raises Overloaded where another has it."""
        if not self._taken:
            if self.services.large_body:
                raise Overloaded("Another large body is being read; send this again in a moment.")
            self._taken = self.services.large_body = True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._taken:
            self.services.large_body = False


async def _body(model: type[BaseModel], request: web.Request, endpoint: Endpoint, room: _Room) -> BaseModel:
    raw = await _read(request, endpoint.body_bytes_max, room)
    if len(raw) <= BODY_BYTES_MAX:
        return _checked(model, raw)
    with calls_first():
        return await asyncio.to_thread(_checked_in_thread, model, raw)


def _checked_in_thread(model: type[BaseModel], raw: bytes) -> BaseModel:
    """Return a large body, without the steps that keep Python's lock from their beginning to their end."""
    value = read_object(raw)
    if _has_nul(value):
        raise InvalidRequest("The body has a NUL character in a string.")
    try:
        return model.model_validate(value, strict=True)
    except ValidationError as error:
        raise violation(error, what="body") from None


def _checked(model: type[BaseModel], raw: bytes) -> BaseModel:
    if not raw.strip() and not any(field.is_required() for field in model.model_fields.values()):
        raw = b"{}"
    if _has_nul(read_object(raw)):
        raise InvalidRequest("The body has a NUL character in a string.")
    try:
        orjson.loads(raw)  # a second opinion: it refuses half surrogates, and numbers that are infinite as a double
        # Strict: "5" is no number. From the bytes, because only in JSON mode an array is good enough for a tuple then.
        return model.model_validate_json(raw, strict=True)
    except orjson.JSONDecodeError:
        raise InvalidRequest("The body has a string or a number that not every JSON parser can read.") from None
    except ValidationError as error:
        raise violation(error, what="body") from None


async def _read(request: web.Request, most: int, room: _Room) -> bytes:
    """Return the body. Raises PayloadTooLarge, RequestTimeout, Overloaded."""
    length = request.content_length or 0
    chunks = bytearray()
    try:
        async with asyncio.timeout(room.services.config.server.body_timeout_s):
            while length <= most and (chunk := await request.content.readany()):
                chunks += chunk
                length = max(length, len(chunks))
                if length > BODY_BYTES_MAX:
                    room.take()
    except TimeoutError:
        raise RequestTimeout("The body did not arrive in time.") from None
    except (BadHttpMessage, ConnectionError):
        raise InvalidRequest("The body did not arrive whole.") from None
    if length > most:
        raise PayloadTooLarge(f"The body is larger than {most} bytes.")
    return bytes(chunks)


def _has_nul(value: Any) -> bool:
    """Whether a string anywhere has a NUL, which PostgreSQL cannot store."""
    if isinstance(value, str):
        return "\0" in value
    if isinstance(value, dict):
        return any(_has_nul(key) or _has_nul(child) for key, child in value.items())
    return isinstance(value, list) and any(_has_nul(child) for child in value)


def _report(request: web.Request, error: Exception) -> None:
    """Log where it failed; neither the error's text nor the request, which may hold what must not be kept."""
    where = "".join(traceback.format_tb(error.__traceback__))
    pattern = request.match_info.route.resource.canonical if request.match_info.route.resource else ""
    _log.error("%s %s failed: %s\n%s", request.method, pattern, type(error).__name__, where)


ALWAYS: tuple[type[CallerError], ...] = (InvalidRequest, SchemaViolation)
"""What any endpoint with a query or a body may answer."""
