"""What most people write: FastAPI, httpx and a StreamingResponse. A contender of `overhead.py`, run by uvicorn."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Annotated, Any

import httpx
from fastapi import FastAPI, Header, HTTPException, Request
from fastapi.responses import StreamingResponse

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

client = httpx.AsyncClient(
    base_url=os.environ["UPSTREAM"],
    timeout=60,
    limits=httpx.Limits(max_keepalive_connections=0),  # llama-server closes them unannounced
)


@contextlib.asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    async with client:
        yield


app = FastAPI(lifespan=lifespan)


@app.post("/v1/chat/completions")
async def complete(request: Request, authorization: Annotated[str, Header()]) -> StreamingResponse:
    if authorization != f"Bearer {os.environ['KEY']}":
        raise HTTPException(401)
    body: dict[str, Any] = await request.json()

    async def stream() -> AsyncIterator[bytes]:
        async with client.stream("POST", "/v1/chat/completions", json=body) as answer:
            async for chunk in answer.aiter_raw():
                yield chunk

    return StreamingResponse(stream(), media_type="text/event-stream")


@app.get("/health")
async def health() -> dict[str, str]:
    return {"status": "ok"}
