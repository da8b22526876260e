"""Metrics pushed to Prometheus' Pushgateway."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from prometheus_client import push_to_gateway
from prometheus_client.exposition import basic_auth_handler, default_handler

from app.telemetry.identity import SERVICE

if TYPE_CHECKING:
    from collections.abc import Callable

    from prometheus_client.registry import Collector

ANSWER_SECONDS = 5.0


def pusher(url: str, registry: Collector, container: str) -> Callable[[], None]:
    """Return a function that replaces what the Pushgateway at `url` knows of `container`.

    Args:
        url: Its address; a name and a password in it are sent as basic authentication.
        registry: What is pushed.
        container: The label `instance`.
    """
    parts = urlsplit(url)
    address = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
    handler = default_handler
    if parts.username is not None:
        name, password = unquote(parts.username), unquote(parts.password or "")
        handler = functools.partial(basic_auth_handler, username=name, password=password)
    return functools.partial(
        push_to_gateway,
        address,
        job=SERVICE,
        registry=registry,
        grouping_key={"instance": container},
        timeout=ANSWER_SECONDS,
        handler=handler,
    )
