"""What is left of what one request's images may take together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.images.refusal import Refused

if TYPE_CHECKING:
    from gateway.images.policy import ImagePolicy


class Allowance:
    """One request's. It counts down while its images come in, so that no more is held than may be sent on."""

    def __init__(self, policy: ImagePolicy) -> None:
        self._policy = policy
        self._bytes = policy.max_total_bytes
        self._pixels = policy.max_total_pixels

    def take_bytes(self, count: int) -> None:
        """Take so many bytes.

        Raises:
            Refused: There are not so many left.
        """
        self._bytes -= count
        if self._bytes < 0:
            most = self._policy.max_total_bytes
            raise Refused("image_too_large", f"the images of this request are larger than {most} bytes together.")

    def take_pixels(self, count: int) -> None:
        """Take so many pixels.

        Raises:
            Refused: There are not so many left.
        """
        self._pixels -= count
        if self._pixels < 0:
            most = self._policy.max_total_pixels
            raise Refused("image_too_large", f"the images of this request have more than {most} pixels together.")
