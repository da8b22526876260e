"""A request body's JSON -> a typed object, or an error that names the field. Shared by all dialects."""

from __future__ import annotations

import re
from types import MappingProxyType
from typing import TYPE_CHECKING, NoReturn, TypeVar

import msgspec

from gateway.errors import InvalidRequest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

T = TypeVar("T")

_NONE: Mapping[str, str] = MappingProxyType({})


def decode_body(decode: Callable[[bytes], T], body: bytes, unsupported: Mapping[str, str] = _NONE) -> T:
    """Check a body's fields.

    Args:
        decode: The body type's msgspec decoder.
        body: JSON.
        unsupported: Fields that the API has and the type has not, because we cannot honour them: what to say of each.

    Raises:
        InvalidRequest: It is not JSON, or a field has the wrong type or value, or is unknown; `param` names it.
    """
    try:
        return decode(body)
    except msgspec.ValidationError as error:
        _raise_invalid(str(error), unsupported)
    except RecursionError:
        raise too_deep() from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidRequest(f"The request body is not valid JSON: {error}", code="invalid_json") from error


def too_deep() -> InvalidRequest:
    """Return the error for a body that is nested deeper than our stack."""
    return InvalidRequest("The request body is nested too deeply.")


def _raise_invalid(text: str, unsupported: Mapping[str, str]) -> NoReturn:
    """Turn msgspec's ``Expected `str`, got `int` - at `$.messages[0].content` `` into an error that names the field."""
    what, _, where = text.partition(" - at `$")
    path = where.rstrip("`").removeprefix(".")
    if unknown := re.match(r"Object contains unknown field `(.*)`", what, re.DOTALL):
        path = f"{path}.{unknown[1]}" if path else unknown[1]
        raise invalid(path, unsupported.get(path, "Unknown parameter."))
    if missing := re.match(r"Object missing required field `(.*)`", what):
        raise invalid(f"{path}.{missing[1]}" if path else missing[1], "Missing required parameter.")
    if not path:
        raise InvalidRequest(f"{what.removesuffix('.')}.")
    raise invalid(path, f"{what.removesuffix('.')}.")


def invalid(param: str, what: str) -> InvalidRequest:
    """Return the error that says `what` is wrong with a field."""
    return InvalidRequest(f"Invalid {param!r}: {what}", param=param)
