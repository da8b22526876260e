"""Health, models and metrics: small, not hot, and so on FastAPI."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from gateway.errors import NotFound

if TYPE_CHECKING:
    from gateway.metrics.metrics import Metrics
    from gateway.readiness import Readiness, Report
    from gateway.upstream.catalog import Catalog, ModelInfo


def health_router(readiness: Readiness) -> APIRouter:
    """Return the routes for load balancers, which need no key."""
    router = APIRouter(tags=["health"])

    @router.head("/livez", include_in_schema=False)
    @router.get("/livez")
    async def livez() -> dict[str, str]:
        """Say that this process answers, whatever the model server does."""
        return {"status": "ok"}

    @router.head("/readyz", include_in_schema=False)
    @router.get("/readyz")
    async def readyz() -> JSONResponse:
        """Say whether requests are answered now, or by a parked server soon: 200, or 503 with `Retry-After`."""
        report = readiness.report()
        return _by_readiness(report, {"status": _status(report), "state": report.state})

    @router.head("/health", include_in_schema=False)
    @router.get("/health")
    async def health() -> JSONResponse:
        """Say what state the model server is in, since when, and why it failed last."""
        report = readiness.report()
        body = {"status": _status(report), "state": report.state, **report.detail}
        return _by_readiness(report, body)

    return router


def _status(report: Report) -> str:
    return "ok" if report.ready or report.parked else "unavailable"


def _by_readiness(report: Report, body: dict[str, Any]) -> JSONResponse:
    if report.ready or report.parked:  # who sends requests only to what is ready would never wake it
        return JSONResponse(body)
    return JSONResponse(body, status_code=503, headers={"retry-after": str(report.retry_after)})


def models_router(catalog: Catalog) -> APIRouter:
    """Return OpenAI's model routes."""
    router = APIRouter(prefix="/v1", tags=["models"])

    @router.get("/models")
    async def list_models() -> dict[str, Any]:
        """List the one model that is served."""
        return {"object": "list", "data": [_model_object(await catalog.current())]}

    @router.get("/models/{model_id:path}")
    async def get_model(model_id: str) -> dict[str, Any]:
        """Describe the model, if it is the one that is served."""
        model = await catalog.current()
        if model_id != model.id:
            raise NotFound(f"The model {model_id!r} is not served here.", code="model_not_found", param="model")
        return _model_object(model)

    return router


def _model_object(model: ModelInfo) -> dict[str, Any]:
    return {
        "id": model.id,
        "object": "model",
        "created": model.created,
        "owned_by": "warmgate",
        # not OpenAI's, but what llama-server and vLLM tell too
        "max_model_len": model.ctx_per_slot,
    }


def metrics_router(metrics: Metrics) -> APIRouter:
    """Return the route that Prometheus scrapes."""
    router = APIRouter(tags=["metrics"])

    @router.get("/metrics", response_class=Response)
    def render(request: Request) -> Response:
        """Return every series, in Prometheus' text format or as OpenMetrics."""
        content, content_type = metrics.render(request.headers.get("accept", ""))
        return Response(content, headers={"content-type": content_type})

    return router
