"""The ASGI callable: the data path in front, FastAPI for everything small behind it."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fastapi import FastAPI
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from gateway import errors
from gateway.admission import Admission
from gateway.auth.credentials import authenticate
from gateway.dialects.anthropic_messages import Messages
from gateway.dialects.openai_chat import ChatCompletions
from gateway.dialects.openai_completions import Completions
from gateway.dialects.openai_responses import Responses
from gateway.errors import GatewayError, InternalError, InvalidRequest, MethodNotAllowed, NotFound
from gateway.generation import Generator, Limits
from gateway.images.policy import ImagePolicy
from gateway.images.resolving import Images
from gateway.metrics import Metrics
from gateway.routes import asgi
from gateway.routes.cold_start_header import ColdStart
from gateway.routes.count_tokens import CountTokensRoute
from gateway.routes.embeddings import EmbeddingsRoute
from gateway.routes.generation import Engine, GenerationRoute
from gateway.routes.openapi import document_data_path
from gateway.routes.small import health_router, metrics_router, models_router, welcome_router
from gateway.thinking import ThinkingPolicy
from gateway.thoughts.seal import SecretSeal, ThoughtSeal
from gateway.toolcalls.policy import ToolCallPolicy
from gateway.upstream.catalog import Catalog
from gateway.upstream.scrape import UpstreamMetrics

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable
    from contextlib import AbstractAsyncContextManager

    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.types import Receive, Scope, Send

    from gateway.activity import Activity
    from gateway.auth.keys import KeyRing
    from gateway.dialects.base import Dialect
    from gateway.images.fetching import Fetcher
    from gateway.readiness import Readiness
    from gateway.upstream.target import Target

OPEN_PATHS = frozenset({"/", "/livez", "/readyz", "/health"})
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
        thinking: How the model thinks where a request does not say it.
        seal: Seals the thoughts that clients keep; without one, only this process can open them again.
        images: Which images are taken and fetched.
        tool_calls: What is done about tool calls that their own schema rejects.
        most_identical_calls: So often in a row the same calls may be made; 0 for any number of times.
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
    thinking: ThinkingPolicy = field(default_factory=ThinkingPolicy)
    seal: ThoughtSeal = field(default_factory=SecretSeal.made_up)
    images: ImagePolicy = field(default_factory=ImagePolicy)
    tool_calls: ToolCallPolicy = field(default_factory=ToolCallPolicy)
    most_identical_calls: int = 0


class Gateway:
    """The ASGI application."""

    def __init__(
        self, config: GatewayConfig, target: Target, readiness: Readiness, fetcher: Fetcher | None = None
    ) -> None:
        self._config = config
        self._open_paths = OPEN_PATHS | ({"/metrics"} if config.metrics_public else frozenset())
        admission = Admission(config.slots, config.max_waiting, config.max_wait_seconds)
        catalog = Catalog(target, readiness)
        self._upstream_metrics = UpstreamMetrics(target, readiness, config.scrape_seconds)
        self._metrics = Metrics(readiness, admission, self._upstream_metrics)
        self._generator = Generator(
            target,
            readiness,
            catalog,
            admission,
            config.limits,
            most_identical_calls=config.most_identical_calls,
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
        )
        messages = Messages(config.thinking, config.seal)
        counting = CountTokensRoute(messages, engine, target, readiness, config.limits.ready_seconds)
        self._data_path: dict[str, GenerationRoute | EmbeddingsRoute | CountTokensRoute] = {
            CountTokensRoute.path: counting,
            EmbeddingsRoute.path: EmbeddingsRoute(engine),
            **{dialect.path: GenerationRoute(dialect, engine) for dialect in _dialects(config)},
        }
        self._api = _api(self._lifespan)
        routers = (welcome_router(), health_router(readiness), models_router(catalog), metrics_router(self._metrics))
        for router in routers:
            self._api.include_router(router)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Dispatch one ASGI scope."""
        if scope["type"] != "http":
            await self._api(scope, receive, send)
            return
        path = scope["path"]
        route = self._data_path.get(path)
        try:
            key = "" if path in self._open_paths else authenticate(self._config.keys, scope["headers"])
            if route is not None and scope["method"] != "POST":
                raise MethodNotAllowed(f"{path} takes POST, not {scope['method']}.", allow="POST")
        except GatewayError as error:
            self._metrics.requests.labels("gate", error.outcome).inc()
            body = route.error_body(error) if route is not None else None
            await asgi.send_error(send, error, body, [BASIC_CHALLENGE] if path in BROWSER_PATHS else [])
            return
        if route is not None:
            await route(scope, receive, send, key)
        else:
            await self._api(scope, receive, send)

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
