"""All images of a request: checked, fetched where that is allowed, and put into it as `data:` URLs."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from gateway.errors import GatewayError
from gateway.images.allowance import Allowance
from gateway.images.data_urls import is_data_url, read_data_url, write_data_url
from gateway.images.fetching import Fetcher
from gateway.images.formats import read_picture
from gateway.images.refusal import Refused
from gateway.images.remote import read_remote

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from gateway.images.policy import ImagePolicy
    from gateway.readiness import Readiness
    from gateway.request import ImageSource
    from gateway.upstream.catalog import Catalog, ModelInfo


class Images:
    """Resolves requests' images under a policy."""

    def __init__(
        self, policy: ImagePolicy, readiness: Readiness, catalog: Catalog, fetcher: Fetcher | None = None
    ) -> None:
        self._policy = policy
        self._readiness = readiness
        self._catalog = catalog
        self._fetcher = fetcher or Fetcher(policy)

    async def resolve(self, sources: Sequence[ImageSource]) -> None:
        """Replace the URL of each image by a `data:` URL of what was found. If one is refused, none is replaced.

        Raises:
            InvalidRequest: One is refused; `param` names its field.
        """
        if not sources:
            return
        await self._check_model(sources)
        if len(sources) > self._policy.max_count:
            what = f"a request may hold {self._policy.max_count} images, and this one holds {len(sources)}."
            raise Refused("too_many_images", what).at(sources[self._policy.max_count].where)
        where: dict[str, str] = {}
        for source in sources:
            where.setdefault(_url(source), source.where)  # what is there twice is fetched once
        for url, field in where.items():
            if not is_data_url(url):
                with _blamed_on(field):
                    read_remote(url, self._policy.urls)  # all of them, before anything is fetched
        found = await self._resolve_all(where)
        for source in sources:
            source.part["image_url"]["url"] = found[_url(source)]

    async def _check_model(self, sources: Sequence[ImageSource]) -> None:
        """Refuse images for a model that takes none, before anything is fetched.

        A server that is starting is not waited for: images are fetched meanwhile, and it is asked again later.
        """
        if self._readiness.report().ready:
            model = None
            with contextlib.suppress(GatewayError):  # the request itself will meet it
                model = await self._catalog.current()
            if model is not None:
                check_vision(model, sources)

    async def _resolve_all(self, where: dict[str, str]) -> dict[str, str]:
        """Return the `data:` URL for each URL. `where` is the field that holds it."""
        allowance = Allowance(self._policy)
        works = {url: asyncio.create_task(self._resolve_one(url, where[url], allowance)) for url in where}
        try:
            async with asyncio.timeout(self._policy.seconds):
                await asyncio.gather(*works.values())
        except TimeoutError:
            late = [field for url, field in where.items() if not works[url].done() or works[url].cancelled()]
            what = f"the image could not be fetched within {self._policy.seconds:g} s."
            raise Refused("failed_to_download_image", what).at(
                late[0] if late else next(iter(where.values()))
            ) from None
        finally:
            for work in works.values():
                work.cancel()
            await asyncio.wait(works.values())
        return {url: work.result() for url, work in works.items()}

    async def _resolve_one(self, url: str, where: str, allowance: Allowance) -> str:
        with _blamed_on(where):
            if is_data_url(url):
                data = await asyncio.to_thread(read_data_url, url, self._policy.max_bytes)
                allowance.take_bytes(len(data))
            else:
                data = await self._fetcher.fetch(url, allowance)
            picture = await asyncio.to_thread(read_picture, data, self._policy.max_pixels)
            allowance.take_pixels(picture.pixels)
            return await asyncio.to_thread(write_data_url, picture.media_type, data)


def check_vision(model: ModelInfo, sources: Sequence[ImageSource]) -> None:
    """Refuse images for a model that takes none.

    Raises:
        InvalidRequest: There are some; `param` names the first.
    """
    if sources and not model.vision:
        raise Refused(
            "images_not_supported", f"{model.id} is served without an image projector; it reads text only."
        ).at(sources[0].where)


def _url(source: ImageSource) -> str:
    url: str = source.part["image_url"]["url"]
    return url


@contextlib.contextmanager
def _blamed_on(where: str) -> Iterator[None]:
    try:
        yield
    except Refused as refused:
        raise refused.at(where) from None
