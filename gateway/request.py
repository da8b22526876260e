"""What a client asks for, whatever the dialect it asks in."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from gateway.thinking import ON, Thinking
from gateway.toolcalls.policy import REPAIR_CALLS, CallHandling

if TYPE_CHECKING:
    from gateway.toolcalls.toolbox import Toolbox

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class ToolChoice:
    """Whether tools are to be called, and which.

    Attributes:
        mode: `none`, `auto` or `required`.
        names: The only tools that may be called, or None for all.
    """

    mode: Literal["none", "auto", "required"] = "auto"
    names: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class ImageSource:
    """An image in a message, as the client gave it.

    Attributes:
        part: The message's content part, `{"type": "image_url", "image_url": {"url": ...}}`. Its URL is replaced by a
            checked `data:` URL before the request goes upstream.
        where: The request's field that holds it, for errors.
    """

    part: Json
    where: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationRequest:
    """One answer to be generated. `None` leaves a value to the server's default.

    Attributes:
        messages: The conversation as llama-server's chat endpoint takes it, holding only checked fields.
        images: The images in `messages`.
        thinking: Whether the model is to think, and how much.
        max_tokens: Upper bound of thought and answer together, in tokens.
        stop: Texts that end the answer where they would appear in it. The thought may hold them.
        logprobs: How many alternatives to report for each token, 0 for the chosen one alone.
        tools: Function declarations in OpenAI's shape.
        tool_choice: Whether they are to be called.
        toolbox: What the answer's calls are checked against; None where none may be called.
        call_handling: What is done about a call that its own schema rejects.
        response_format: In OpenAI's shape, `json_object` or `json_schema`.
        sampling: Sampler settings under llama-server's names.
        continue_final_message: Whether the last message is the beginning of the answer: its thought is over, and the
            model goes on with the text.
    """

    messages: list[Json]
    images: tuple[ImageSource, ...] = ()
    thinking: Thinking = ON
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()
    logprobs: int | None = None
    tools: list[Json] | None = None
    tool_choice: ToolChoice = ToolChoice()
    toolbox: Toolbox | None = field(default=None, compare=False)
    call_handling: CallHandling = REPAIR_CALLS
    parallel_tool_calls: bool | None = None
    response_format: Json | None = None
    sampling: Json = field(default_factory=dict)
    continue_final_message: bool = False

    def for_choice(self, choice: int) -> GenerationRequest:
        """Return the request for one of several answers. With one seed they would all be the same."""
        if not choice or "seed" not in self.sampling:
            return self
        return replace(self, sampling={**self.sampling, "seed": (self.sampling["seed"] + choice) % 2**32})
