"""Why an image is not taken. The codes are OpenAI's where it has them."""

from __future__ import annotations

from typing import Literal

from gateway.errors import InvalidRequest

Code = Literal[
    "invalid_image_url",
    "invalid_base64_image",
    "failed_to_download_image",
    "image_too_large",
    "image_parse_error",
    "unsupported_image_media_type",
    "too_many_images",
    "images_not_supported",
]


class Refused(Exception):
    """An image is not taken.

    Attributes:
        code: A stable word for programs.
        what: The rest of the sentence that names the field.
    """

    def __init__(self, code: Code, what: str) -> None:
        super().__init__(what)
        self.code: Code = code
        self.what = what

    def at(self, where: str) -> InvalidRequest:
        """Return the error for a client. `where` is the request's field."""
        return InvalidRequest(f"Invalid {where!r}: {self.what}", code=self.code, param=where)


def too_large(limit: int) -> Refused:
    """Return the refusal of an image with more than `limit` bytes."""
    return Refused("image_too_large", f"the image is larger than {limit} bytes.")


def damaged() -> Refused:
    """Return the refusal of an image that cannot be read."""
    return Refused("image_parse_error", "the image is damaged or cut off.")
