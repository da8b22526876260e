"""The ASGI callable: the data path in front, FastAPI for everything small behind it."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fastapi import FastAPI
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from gateway import errors
from gateway.admission import Admission
from gateway.auth.credentials import authenticate
from gateway.backend_sampling import BackendSampling, SamplingChoice
from gateway.dialects.anthropic_messages import Messages
from gateway.dialects.openai_chat import ChatCompletions
from gateway.dialects.openai_completions import Completions
from gateway.dialects.openai_responses import Responses
from gateway.errors import GatewayError, InternalError, InvalidRequest, MethodNotAllowed, NotFound
from gateway.generation import Generator, Limits
from gateway.images.policy import ImagePolicy
from gateway.images.resolving import Images
from gateway.metrics.metrics import Metrics
from gateway.metrics.state import State
from gateway.observation.history import History
from gateway.observation.identity import identify
from gateway.observation.observers import Observers
from gateway.observation.record import RequestRecord
from gateway.observation.request_log import RequestLog
from gateway.observation.trace_context import as_it_came
from gateway.routes import asgi, page
from gateway.routes.cold_start_header import ColdStart
from gateway.routes.count_tokens import CountTokensRoute
from gateway.routes.embeddings import EmbeddingsRoute
from gateway.routes.generation import Engine, GenerationRoute
from gateway.routes.openapi import document_data_path
from gateway.routes.small import health_router, metrics_router, models_router
from gateway.routes.status import StatusBoard, status_router
from gateway.thinking import ThinkingPolicy
from gateway.thoughts.seal import SecretSeal, ThoughtSeal
from gateway.toolcalls.policy import ToolCallPolicy
from gateway.upstream.catalog import Catalog
from gateway.upstream.scrape import UpstreamMetrics

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable
    from contextlib import AbstractAsyncContextManager

    from prometheus_client import CollectorRegistry
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.types import Message, Receive, Scope, Send

    from gateway.activity import Activity
    from gateway.auth.keys import KeyRing
    from gateway.dialects.base import Dialect
    from gateway.images.fetching import Fetcher
    from gateway.observation.record import Observer
    from gateway.readiness import Readiness
    from gateway.upstream.target import Target

Route = GenerationRoute | EmbeddingsRoute | CountTokensRoute

OPEN_PATHS = page.PATHS | {"/livez", "/readyz", "/health", "/status"}
BROWSER_PATHS = frozenset({"/docs", "/openapi.json"})
BASIC_CHALLENGE = (b"www-authenticate", b'Basic realm="warmgate: any name, and a key as password"')


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayConfig:
    """What the gateway is told once, at its start.

    Attributes:
        keys: Who may call.
        limits: How long a request waits for the server.
        metrics_public: Whether `/metrics` needs no key.
        slots: How many requests may be in flight, until the server itself has said it.
        max_waiting: How many more may wait for a slot.
        max_wait_seconds: And for how long.
        keep_alive_seconds: How long a stream to a client may be silent; 0 for any time.
        max_body_bytes: The largest request body that is read.
        scrape_seconds: Between two looks at llama-server's own metrics; at least 5.
        instance: Tells llama-server from others in those; asked when they are read, as a snapshot is restored in many
            containers.
        thinking: How the model thinks where a request does not say it.
        seal: Seals the thoughts that clients keep; without one, only this process can open them again.
        images: Which images are taken and fetched.
        tool_calls: What is done about tool calls that their own schema rejects.
        log_content: Whether the log may hold what is said.
        most_identical_calls: So often in a row the same calls may be made; 0 for any number of times.
        backend_sampling: When answers are sampled on the server's GPU.
    """

    keys: KeyRing
    limits: Limits
    metrics_public: bool = False
    slots: int = 1
    max_waiting: int = 256
    max_wait_seconds: float = 120.0
    keep_alive_seconds: float = 10.0
    max_body_bytes: int = 32 << 20
    scrape_seconds: float = 15.0
    instance: Callable[[], str] = socket.gethostname
    thinking: ThinkingPolicy = field(default_factory=ThinkingPolicy)
    seal: ThoughtSeal = field(default_factory=SecretSeal.made_up)
    images: ImagePolicy = field(default_factory=ImagePolicy)
    tool_calls: ToolCallPolicy = field(default_factory=ToolCallPolicy)
    log_content: bool = False
    most_identical_calls: int = 0
    backend_sampling: BackendSampling = BackendSampling.OFF


class Gateway:
    """The ASGI application."""

    def __init__(
        self,
        config: GatewayConfig,
        target: Target,
        readiness: Readiness,
        fetcher: Fetcher | None = None,
        observers: Iterable[Observer] = (),
        trace: Callable[[str | None], str | None] = as_it_came,
    ) -> None:
        """Put everything together.

        Args:
            config: What it is told.
            target: The server.
            readiness: And its state.
            fetcher: Fetches images, instead of the one that does it.
            observers: Who are told of each request when it has ended, besides the metrics.
            trace: Takes a client's `traceparent` and returns the one under which its request goes on.
        """
        self._config = config
        self._open_paths = OPEN_PATHS | ({"/metrics"} if config.metrics_public else frozenset())
        admission = Admission(config.slots, config.max_waiting, config.max_wait_seconds)
        catalog = Catalog(target, readiness)
        self._upstream_metrics = UpstreamMetrics(target, readiness, catalog, config.scrape_seconds, config.instance)
        self._metrics = Metrics(State(readiness, admission, catalog, self._upstream_metrics))
        history = History()
        sampling = SamplingChoice(config.backend_sampling)
        self._observers = Observers((self._metrics, history, RequestLog(), sampling, *observers))
        self._trace = trace
        self._generator = Generator(
            target,
            readiness,
            catalog,
            admission,
            config.limits,
            most_identical_calls=config.most_identical_calls,
            sampling=sampling,
        )
        images = Images(config.images, readiness, catalog, fetcher)
        engine = Engine(
            self._generator,
            images,
            self._metrics,
            config.max_body_bytes,
            config.keep_alive_seconds,
            ColdStart(readiness),
            config.tool_calls,
            config.log_content,
        )
        messages = Messages(config.thinking, config.seal)
        counting = CountTokensRoute(messages, engine, target, readiness, config.limits.ready_seconds)
        self._data_path: dict[str, Route] = {
            CountTokensRoute.path: counting,
            EmbeddingsRoute.path: EmbeddingsRoute(engine),
            **{dialect.path: GenerationRoute(dialect, engine) for dialect in _dialects(config)},
        }
        self._api = _api(self._lifespan)
        board = StatusBoard(readiness, admission, catalog, self._generator.activity.throughput, history)
        routers = (
            page.page_router(),
            status_router(board, config.keys),
            health_router(readiness),
            models_router(catalog),
            metrics_router(self._metrics),
        )
        for router in routers:
            self._api.include_router(router)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Dispatch one ASGI scope."""
        if scope["type"] != "http":
            await self._api(scope, receive, send)
            return
        route = self._data_path.get(scope["path"])
        request_id, traceparent = identify(scope["headers"], self._config.keys)
        record = RequestRecord(id=request_id, traceparent=traceparent, passed_on=self._trace(traceparent))
        if route is not None:
            record.dialect, record.route = route.api, route.name
        try:
            record.key = self._admit(scope, route)
        except GatewayError as error:
            record.fail(error)
            await self._turn_away(scope, send, route, record, error)
            return
        if route is None:
            await self._api(scope, receive, _named(send, record))
            return
        try:
            await route(scope, receive, send, record)
        finally:
            self._observers.finished(record)

    def _admit(self, scope: Scope, route: Route | None) -> str:
        """Return the name of the caller's key; empty where none is needed.

        Raises:
            GatewayError: It has none of ours, or the route takes another method.
        """
        path, method = scope["path"], scope["method"]
        key = "" if path in self._open_paths else authenticate(self._config.keys, scope["headers"])
        if route is not None and method != "POST":
            raise MethodNotAllowed(f"{path} takes POST, not {method}.", allow="POST")
        return key

    async def _turn_away(
        self, scope: Scope, send: Send, route: Route | None, record: RequestRecord, error: GatewayError
    ) -> None:
        body = route.error_body(error) if route is not None else None
        challenge = [BASIC_CHALLENGE] if scope["path"] in BROWSER_PATHS else []
        try:
            await asgi.send_error(send, error, body, [*record.headers, *challenge])
        finally:
            self._observers.finished(record)

    @property
    def registry(self) -> CollectorRegistry:
        """Every series that is exported."""
        return self._metrics.registry

    @property
    def activity(self) -> Activity:
        """What is under way upstream, for a watchdog."""
        return self._generator.activity

    async def drain(self, seconds: float) -> None:
        """Let nobody in, give running answers `seconds` to end, then end them with an error."""
        await self._generator.drain(seconds)

    @contextlib.asynccontextmanager
    async def _lifespan(self, _: FastAPI) -> AsyncIterator[None]:
        scraper = asyncio.create_task(self._upstream_metrics.run())
        try:
            yield
        finally:
            scraper.cancel()
            await asyncio.wait({scraper})


def _named(send: Send, record: RequestRecord) -> Send:
    """Return what sends an answer of the small routes, with the request's id among its headers."""

    async def send_named(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message.get("headers", ()), *record.headers]
        await send(message)

    return send_named


def _dialects(config: GatewayConfig) -> Iterable[Dialect]:
    return (
        ChatCompletions(config.thinking),
        Completions(),
        Messages(config.thinking, config.seal),
        Responses(config.thinking, config.seal),
    )


def _api(lifespan: Callable[[FastAPI], AbstractAsyncContextManager[None]]) -> FastAPI:
    api = FastAPI(
        title="warmgate",
        summary="An OpenAI-compatible endpoint in front of llama-server.",
        lifespan=lifespan,
        redoc_url=None,
    )
    document_data_path(api)

    @api.exception_handler(GatewayError)
    async def gateway_error(_: Request, error: GatewayError) -> Response:
        return _response(error)

    @api.exception_handler(HTTPException)
    async def http_error(request: Request, error: HTTPException) -> Response:
        if error.status_code == MethodNotAllowed.status:
            allow = (error.headers or {}).get("Allow", "")
            return _response(MethodNotAllowed(f"{request.url.path} does not take {request.method}.", allow=allow))
        if error.status_code == NotFound.status:
            return _response(NotFound(f"There is nothing at {request.url.path}."))
        return _response(InvalidRequest(str(error.detail)))

    @api.exception_handler(Exception)
    async def bug(_: Request, __: Exception) -> Response:
        return _response(InternalError("Something went wrong in the gateway; its log says what."))

    return api


def _response(error: GatewayError) -> Response:
    headers = {name.decode(): value.decode() for name, value in errors.headers(error)}
    return JSONResponse(errors.openai_body(error), status_code=error.status, headers=headers)
