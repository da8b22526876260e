"""The parts of a message's content, in the words that llama-server's chat endpoint knows."""

from __future__ import annotations

from typing import Any

from gateway.request import ImageSource


class Content:
    """Collects one message's text and images, in order."""

    def __init__(self) -> None:
        self._parts: list[str | ImageSource] = []

    def add_text(self, text: str) -> None:
        """Add a piece of text."""
        self._parts.append(text)

    def add_image(self, url: str, where: str) -> None:
        """Add an image.

        Args:
            url: An `https:` or `data:` URL, not checked yet.
            where: The request's field that holds it.
        """
        self._parts.append(ImageSource({"type": "image_url", "image_url": {"url": url}}, where))

    @property
    def images(self) -> list[ImageSource]:
        """The images, in order."""
        return [part for part in self._parts if isinstance(part, ImageSource)]

    def build(self) -> str | list[dict[str, Any]]:
        """Return the content: text alone as one string, because chat templates differ in what they make of a list."""
        if not self.images:
            return "".join(part for part in self._parts if isinstance(part, str))
        return [{"type": "text", "text": part} if isinstance(part, str) else part.part for part in self._parts]
