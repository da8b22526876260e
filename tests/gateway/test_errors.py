from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gateway import errors

if TYPE_CHECKING:
    from gateway.errors import GatewayError

INVALID, SERVER = "invalid_request_error", "server_error"


@pytest.mark.parametrize(
    ("error", "status", "kind", "code", "outcome"),
    [
        (errors.InvalidRequest("m"), 400, INVALID, None, "invalid"),
        (errors.BodyTooLarge("m"), 413, INVALID, "request_too_large", "invalid"),
        (errors.NotFound("m"), 404, INVALID, "not_found", "invalid"),
        (errors.MethodNotAllowed("m", allow="GET"), 405, INVALID, "method_not_allowed", "invalid"),
        (errors.Unauthorized("m"), 401, INVALID, "invalid_api_key", "unauthorized"),
        (errors.Overloaded("m"), 429, "rate_limit_error", "overloaded", "overloaded"),
        (errors.NotReady("m"), 503, SERVER, "not_ready", "not_ready"),
        (errors.ShuttingDown("m"), 503, SERVER, "shutting_down", "not_ready"),
        (errors.UpstreamFailed("m"), 502, SERVER, "upstream_error", "upstream_error"),
        (errors.UpstreamUnreachable("m", was_sent=True), 502, SERVER, "upstream_error", "upstream_error"),
        (errors.UpstreamDisconnected("m"), 502, SERVER, "upstream_error", "upstream_error"),
        (errors.UpstreamSilent("m"), 504, SERVER, "upstream_timeout", "upstream_error"),
        (errors.InternalError("m"), 500, SERVER, "internal_error", "error"),
    ],
)
def test_every_failure_has_its_status_type_code_and_outcome(
    error: GatewayError, status: int, kind: str, code: str | None, outcome: str
) -> None:
    assert (error.status, error.outcome) == (status, outcome)
    assert errors.openai_body(error) == {"error": {"message": "m", "type": kind, "param": None, "code": code}}
    assert str(error) == "m"


def test_an_error_may_name_its_own_code_and_field() -> None:
    error = errors.NotFound("m", code="model_not_found", param="model")
    assert errors.openai_body(error) == {
        "error": {"message": "m", "type": INVALID, "param": "model", "code": "model_not_found"}
    }


def test_headers_say_when_to_come_back_how_to_authenticate_and_which_methods_there_are() -> None:
    assert errors.headers(errors.NotReady("m", retry_after=7)) == [(b"retry-after", b"7")]
    assert errors.headers(errors.NotReady("m", retry_after=0)) == [(b"retry-after", b"0")]
    assert errors.headers(errors.Unauthorized("m")) == [(b"www-authenticate", b"Bearer")]
    assert errors.headers(errors.MethodNotAllowed("m", allow="GET, HEAD")) == [(b"allow", b"GET, HEAD")]
    assert errors.headers(errors.InvalidRequest("m")) == []
