"""llama-server's own metrics, fetched in the background, so that no caller ever waits for them.

Every scrape resets the window of two of llama-server's gauges and takes part in its main loop, so there is one scraper,
it is slow, and it keeps what it saw.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from typing import TYPE_CHECKING

import httpx
from prometheus_client.parser import text_string_to_metric_families

from gateway.errors import GatewayError

if TYPE_CHECKING:
    from collections.abc import Callable

    from prometheus_client import Metric

    from gateway.readiness import Readiness
    from gateway.upstream.catalog import Catalog
    from gateway.upstream.target import Target

logger = logging.getLogger("warmgate.gateway")

ANSWER_SECONDS = 2.0

# n_tokens_max, the largest value seen, is declared as a counter; as such it would be renamed to n_tokens_max_total.
MISDECLARED = re.compile(r"^(# TYPE \S+(?<!_total)) counter$", re.MULTILINE)


class UpstreamMetrics:
    """The families of the last successful scrape, labelled with `model` and `instance`, and its age."""

    def __init__(
        self,
        target: Target,
        readiness: Readiness,
        catalog: Catalog,
        interval_seconds: float,
        instance: Callable[[], str],
    ) -> None:
        self._target = target
        self._readiness = readiness
        self._catalog = catalog
        self._interval_seconds = interval_seconds
        self._instance = instance
        self.families: list[Metric] = []
        self._scraped_at: float | None = None

    @property
    def age_seconds(self) -> float | None:
        """Seconds since the last successful scrape, or None before the first."""
        return None if self._scraped_at is None else time.monotonic() - self._scraped_at

    async def run(self) -> None:
        """Scrape for ever, at the given interval, while the server is ready."""
        while True:
            if (await self._readiness.wait_ready()).ready:
                await self._scrape()
            await asyncio.sleep(self._interval_seconds)

    async def _scrape(self) -> None:
        try:
            async with self._target.control_client(ANSWER_SECONDS) as client:
                response = await client.get("/metrics")
            if response.status_code == httpx.codes.OK:
                model = await self._catalog.current()
                families = list(text_string_to_metric_families(MISDECLARED.sub(r"\1 gauge", response.text)))
                self.families = _labelled(families, {"model": model.id, "instance": self._instance()})
                self._scraped_at = time.monotonic()
        except (httpx.HTTPError, GatewayError, ValueError) as error:
            logger.info("llama-server's metrics could not be read: %s", repr(error))


def _labelled(families: list[Metric], labels: dict[str, str]) -> list[Metric]:
    """Return the families, with more labels on each of their samples."""
    for family in families:
        family.samples = [sample._replace(labels=sample.labels | labels) for sample in family.samples]
    return families
