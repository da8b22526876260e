"""The page for a person in a browser: files, and the headers that keep them to themselves."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING, Final

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

if TYPE_CHECKING:
    from collections.abc import Iterator

INDEX: Final = "index.html"
TYPES: Final = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}

HEADERS: Final = {
    # scripts, styles and requests are this address's own, and text cannot become markup by mistake
    "content-security-policy": (
        "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
    ),
    "cross-origin-opener-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "cache-control": "no-cache",  # kept, but asked about each time: another version has the same names
}

WELCOME: Final = {
    "name": "warmgate",
    "description": "A private LLM endpoint that speaks OpenAI's API. Bring your key.",
    "base_url": "/v1",
    "docs": "/docs",
    "health": "/health",
    "status": "/status",
}


@dataclass(frozen=True, slots=True)
class PageFile:
    """One file of the page.

    Attributes:
        content: All of it.
        media_type: Its content type.
        etag: Changes with its content.
    """

    content: bytes
    media_type: str
    etag: str

    def response(self, request: Request) -> Response:
        """Return it, or say that the browser has it already."""
        headers = {**HEADERS, "etag": self.etag}
        if self.etag in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        return Response(self.content, media_type=self.media_type, headers=headers)


def _files() -> Iterator[tuple[str, PageFile]]:
    for entry in resources.files("gateway.page").iterdir():
        media_type = TYPES.get(entry.name[entry.name.rfind(".") :])
        if media_type is not None:
            content = entry.read_bytes()
            yield entry.name, PageFile(content, media_type, f'"{hashlib.sha256(content).hexdigest()[:32]}"')


FILES: Final = dict(_files())
PATHS: Final = frozenset({"/"} | {f"/page/{name}" for name in FILES if name != INDEX})
"""They need no key: nothing is in them that is not in the source."""


def page_router() -> APIRouter:
    """Return the root, where people and some clients knock first, and what the page there is made of."""
    router = APIRouter(include_in_schema=False)

    @router.head("/")
    @router.get("/")
    async def root(request: Request) -> Response:
        """Say what this is: a page for a browser, JSON for a program."""
        if "text/html" in request.headers.get("accept", ""):
            response = FILES[INDEX].response(request)
        else:
            response = JSONResponse(WELCOME)
        response.headers["vary"] = "accept"
        return response

    for name in FILES.keys() - {INDEX}:
        router.add_api_route(f"/page/{name}", FILES[name].response, methods=["GET", "HEAD"])
    return router
