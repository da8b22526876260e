"""How the server does, as one JSON object: the state for everybody, the figures for who has a key."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec
from fastapi import APIRouter, Request, Response

from gateway.auth.credentials import KEY_HEADERS, authenticate
from gateway.observation.throughput import INTERVAL_SECONDS

if TYPE_CHECKING:
    from gateway.admission import Admission
    from gateway.auth.keys import KeyRing
    from gateway.observation.history import History
    from gateway.observation.throughput import Throughput
    from gateway.readiness import Readiness, Report
    from gateway.upstream.catalog import Catalog


class StatusBoard:
    """What can be told without asking the server anything: looking at it wakes nobody."""

    def __init__(
        self, readiness: Readiness, admission: Admission, catalog: Catalog, throughput: Throughput, history: History
    ) -> None:
        self._readiness = readiness
        self._admission = admission
        self._catalog = catalog
        self._throughput = throughput
        self._history = history

    def state(self) -> dict[str, Any]:
        """Return what anybody may know."""
        return _state(self._readiness.report())

    def figures(self) -> dict[str, Any]:
        """Return all of it, as JSON values."""
        report = self._readiness.report()
        model = self._catalog.known
        history = self._history
        return {
            **report.detail,
            **_state(report),
            "model": model.id if model is not None else None,
            "slots": {
                "total": self._admission.slots,
                "busy": self._admission.in_flight,
                "waiting": self._admission.waiting,
                "most_waiting": self._admission.max_waiting,
            },
            "tokens_per_interval": {"seconds": INTERVAL_SECONDS, "values": self._throughput.values()},
            "tool_calls": {"outcomes": history.tool_calls, "asked_again": history.asked_again},
            "requests": {"outcomes": history.outcomes, "last": list(history.last)},
        }


def _state(report: Report) -> dict[str, Any]:
    since = report.detail.get("since")
    return {"state": report.state, "ready": report.ready, "since": since, "now": datetime.now(UTC)}


def status_router(board: StatusBoard, keys: KeyRing) -> APIRouter:
    """Return the route that the page at `/` reads."""
    router = APIRouter(tags=["health"])

    @router.get("/status", response_class=Response)
    async def status(request: Request) -> Response:
        """Say what state the model server is in; with a key, also how it has been doing lately.

        Raises:
            Unauthorized: There is a key, and it is not one of ours.
        """
        headers = request.headers.raw
        if any(name in KEY_HEADERS for name, _ in headers):
            authenticate(keys, headers)
            body = board.figures()
        else:
            body = board.state()
        encoded = msgspec.json.encode(body)
        return Response(encoded, media_type="application/json", headers={"cache-control": "no-store"})

    return router
