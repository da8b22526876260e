"""One line of the log for each request: a sentence for people, fields for programs.

Neither holds a key, a prompt or an answer; error messages may quote those, so errors are told by kind, code and field.
Where content may be logged, the fields have what was said.
"""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING, Any, Final

from gateway.observation.summary import seconds_by_part, tokens_by_kind

if TYPE_CHECKING:
    from gateway.observation.record import RequestRecord

logger = logging.getLogger("warmgate.requests")

SERVER_ERROR: Final = 500
_FIELD_NAME: Final = re.compile(r"[\w.\[\]-]{1,100}")
"""A path such as `messages[0].content`. A client may write anything in a field's place."""


class RequestLog:
    """Writes it."""

    def finished(self, record: RequestRecord) -> None:
        """Write a request's line; as a warning where we or the model server are to blame."""
        level = logging.WARNING if record.status >= SERVER_ERROR else logging.INFO
        if logger.isEnabledFor(level):
            seconds, tokens = seconds_by_part(record), tokens_by_kind(record)
            fields = _fields(record, seconds, tokens)
            logger.log(level, "%s", _sentence(record, seconds, tokens), extra={"fields": fields})


def _sentence(record: RequestRecord, seconds: dict[str, float], tokens: dict[str, int]) -> str:
    words = [f"{record.id} {record.key or '-'} {record.route or '-'}: {record.outcome} {record.status}"]
    if record.error is not None and record.error.code:
        words.append(record.error.code)
    words.append(", ".join(f"{name} {spent:.3f} s" for name, spent in seconds.items()))
    if record.begun is not None:
        words.append("tokens " + ", ".join(f"{kind} {count}" for kind, count in tokens.items() if count))
    if record.calls.asked_again:
        words.append(f"repairs {record.calls.asked_again}")
    return "; ".join(words)


def _fields(record: RequestRecord, seconds: dict[str, float], tokens: dict[str, int]) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "request_id": record.id,
        "key": record.key,
        "dialect": record.dialect,
        "route": record.route,
        "model": record.model,
        "outcome": record.outcome,
        "status": record.status,
        "seconds": {name: round(spent, 4) for name, spent in seconds.items()},
    }
    if record.passed_on is not None:
        fields["trace_id"] = record.passed_on.split("-")[1]
    if record.error is not None:
        fields["error"] = _error(record)
    if record.failures:
        fields["upstream_errors"] = record.failures
    if record.thinking is not None:
        fields |= _generation(record, tokens)
    if record.content is not None:
        fields["content"] = record.content.fields()
    return fields


def _error(record: RequestRecord) -> dict[str, Any]:
    error = record.error
    assert error is not None  # noqa: S101 -- the caller has looked
    told: dict[str, Any] = {"kind": error.kind, "code": error.code}
    if error.param is not None and _FIELD_NAME.fullmatch(error.param):
        told["param"] = error.param
    if record.content is not None:
        told["message"] = error.message
    return told


def _generation(record: RequestRecord, tokens: dict[str, int]) -> dict[str, Any]:
    thinking = record.thinking is not None and record.thinking.enabled
    return {
        "stream": record.stream,
        "choices": record.choices,
        "images": record.images,
        "tools": record.tools,
        "thinking": "on" if thinking else "off",
        "budget_hit": record.budget_hit,
        "backend_sampling": record.backend_sampling,
        "tokens": tokens,
        "pieces": record.pieces,
        "attempts": len(record.attempts),
        "repairs": record.calls.asked_again,
        "tool_calls": {outcome.value: count for outcome, count in record.calls.outcomes.items() if count},
    }
