"""What is allowed, and how much."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

UrlSchemes = Literal["none", "https", "http"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ImagePolicy:
    """What may be in one request, and what is done for it.

    Attributes:
        urls: Which URLs are fetched: `none`, `https`, or `http` too. `data:` URLs are always taken.
        max_count: Images in a request.
        max_bytes: Of one image; llama-server's own limit is 10 MiB.
        max_total_bytes: Of all images of a request. In JSON they take a third more.
        max_pixels: Of one image. llama-server holds three bytes for each.
        max_total_pixels: Of all images of a request.
        seconds: For fetching all images of a request.
        fetches: How many images are fetched at once, for all requests together.
    """

    urls: UrlSchemes = "https"
    max_count: int = 16
    max_bytes: int = 10 << 20
    max_total_bytes: int = 20 << 20
    max_pixels: int = 50_000_000
    max_total_pixels: int = 100_000_000
    seconds: float = 20.0
    fetches: int = 16
