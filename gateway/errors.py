"""Every way a request can fail.

    GatewayError                     status  type                    code
    ├── InvalidRequest                  400  invalid_request_error   (given)
    │   ├── BodyTooLarge                413                          request_too_large
    │   ├── PromptTooLong               400                          context_length_exceeded
    │   ├── NotFound                    404                          (given)
    │   └── MethodNotAllowed            405                          method_not_allowed
    ├── Unauthorized                    401  invalid_request_error   invalid_api_key
    ├── Overloaded                      429  rate_limit_error        overloaded
    ├── NotReady                        503  server_error            not_ready
    │   └── ShuttingDown                503                          shutting_down
    ├── UpstreamFailed                  502  server_error            upstream_error
    │   ├── UpstreamUnreachable         502     nothing of the answer had come: safe to send again
    │   ├── UpstreamDisconnected        502     the answer broke off
    │   ├── MalformedAnswer             502     the model wrote what cannot be read     malformed_answer
    │   ├── ToolCallInvalid             502     its own schema rejects it               tool_call_invalid
    │   └── UpstreamSilent              504                          upstream_timeout
    └── InternalError                   500  server_error            internal_error

Types and codes are OpenAI's where it has them: https://platform.openai.com/docs/guides/error-codes
"""

from __future__ import annotations

from typing import Any, ClassVar


class GatewayError(Exception):
    """A failure that a client is told about.

    Attributes:
        status: The HTTP status, where headers have not been sent yet.
        type: OpenAI's error type.
        code: A stable word for programs.
        param: The request's field that is to blame, as a path such as `messages[0].content`, or None.
        retry_after: Whole seconds after which trying again makes sense, or None.
        outcome: How a request that fails so is counted.
        kind: The same, told apart further where the cause is upstream.
    """

    status: ClassVar[int] = 500
    type: ClassVar[str] = "server_error"
    default_code: ClassVar[str | None] = None
    outcome: ClassVar[str] = "error"
    kind: ClassVar[str] = "error"

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        retry_after: int | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or self.default_code
        self.param = param
        self.retry_after = retry_after


class InvalidRequest(GatewayError):
    """The request itself is to blame."""

    status = 400
    type = "invalid_request_error"
    outcome = kind = "invalid"


class BodyTooLarge(InvalidRequest):
    """The body is larger than we read."""

    status = 413
    default_code = "request_too_large"


class PromptTooLong(InvalidRequest):
    """The prompt does not fit a slot's context.

    Attributes:
        tokens: How long it is.
        context: The slot's context, which must hold at least one token of the answer too.
    """

    default_code = "context_length_exceeded"

    def __init__(self, tokens: int, context: int) -> None:
        super().__init__(
            # clients look for OpenAI's words
            f"This model's maximum context length is {context} tokens. However, your prompt resulted in {tokens} "
            f"tokens; {context - 1} fit.",
            param="messages",
        )
        self.tokens = tokens
        self.context = context


class NotFound(InvalidRequest):
    """No such path or model."""

    status = 404
    default_code = "not_found"


class MethodNotAllowed(InvalidRequest):
    """The path exists, but not with this method.

    Attributes:
        allow: The methods that it has, separated by commas.
    """

    status = 405
    default_code = "method_not_allowed"

    def __init__(self, message: str, *, allow: str) -> None:
        super().__init__(message)
        self.allow = allow


class Unauthorized(GatewayError):
    """No key, or not one of ours.

    Attributes:
        reason: `missing`, `malformed` or `unknown`.
    """

    status = 401
    type = "invalid_request_error"
    default_code = "invalid_api_key"
    outcome = kind = "unauthorized"

    def __init__(self, message: str, *, reason: str = "unknown") -> None:
        super().__init__(message)
        self.reason = reason


class Overloaded(GatewayError):
    """Too many requests wait already."""

    status = 429
    type = "rate_limit_error"
    default_code = "overloaded"
    outcome = kind = "overloaded"


class NotReady(GatewayError):
    """The server is starting, restarting or has failed."""

    status = 503
    default_code = "not_ready"
    outcome = kind = "not_ready"


class ShuttingDown(NotReady):
    """This process is being stopped."""

    kind = "shutting_down"
    default_code = "shutting_down"


class UpstreamFailed(GatewayError):
    """llama-server reported a failure of its own."""

    status = 502
    default_code = "upstream_error"
    outcome = "upstream_error"
    kind = "failed"


class UpstreamUnreachable(UpstreamFailed):
    """No connection, or it was closed before anything of the answer came: the request can be sent again.

    Attributes:
        was_sent: Whether the request had reached the server.
    """

    kind = "unreachable"

    def __init__(self, message: str, *, was_sent: bool) -> None:
        super().__init__(message)
        self.was_sent = was_sent


class UpstreamDisconnected(UpstreamFailed):
    """The connection broke off within the answer."""

    kind = "disconnected"


class MalformedAnswer(UpstreamFailed):
    """The model wrote something that llama-server cannot tell into thought, text and calls."""

    kind = "malformed"
    default_code = "malformed_answer"


class ToolCallInvalid(UpstreamFailed):
    """The model called a tool in a way that its own schema rejects, and did not do better when asked again."""

    default_code = "tool_call_invalid"
    outcome = kind = "tool_call_invalid"


class UpstreamSilent(UpstreamFailed):
    """Nothing came for too long, not even a keep-alive."""

    kind = "silent"
    status = 504
    default_code = "upstream_timeout"


class InternalError(GatewayError):
    """A bug of ours; the log has the details."""

    default_code = "internal_error"


def openai_body(error: GatewayError) -> dict[str, dict[str, str | None]]:
    """Render an error in OpenAI's shape."""
    return {
        "error": {
            "message": error.message,
            "type": error.type,
            "param": error.param,
            "code": error.code,
        }
    }


ANTHROPIC_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    405: "invalid_request_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
}
"""By status; all others are `api_error`: https://platform.claude.com/docs/en/api/errors"""


def anthropic_body(error: GatewayError) -> dict[str, Any]:
    """Render an error in Anthropic's shape. `param` is ours: it names the field, if one is to blame."""
    described = {"type": ANTHROPIC_TYPES.get(error.status, "api_error"), "message": _in_anthropics_words(error)}
    if error.param is not None:
        described["param"] = error.param
    return {"type": "error", "error": described}


def _in_anthropics_words(error: GatewayError) -> str:
    """Return the message. Claude Code looks for these words, and then makes the conversation shorter."""
    if isinstance(error, PromptTooLong):
        return f"prompt is too long: {error.tokens} tokens > {error.context - 1} maximum"
    if error.code == PromptTooLong.default_code:
        return f"prompt is too long: {error.message}"
    return error.message


def headers(error: GatewayError) -> list[tuple[bytes, bytes]]:
    """Return the response headers that belong to an error, besides its content type."""
    found = []
    if error.retry_after is not None:
        found.append((b"retry-after", str(error.retry_after).encode()))
    if isinstance(error, Unauthorized):
        found.append((b"www-authenticate", b"Bearer"))
    if isinstance(error, MethodNotAllowed):
        found.append((b"allow", error.allow.encode()))
    return found
