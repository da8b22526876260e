"""The formats that are checked, as patterns: what they match is valid, though not all that is valid matches."""

from __future__ import annotations

NATIVE = frozenset({"date", "date-time", "time", "uuid"})
"""llama.cpp knows these by name; its dates may be a 31st of February."""

# Two hyphens in a row may mean another alphabet. A label has 63 characters at most, a host 253, what is before an @ 64.
_LABEL = "[a-z0-9]{1,16}(-[a-z0-9]{1,8}){0,3}"
_STEP = "[A-Za-z0-9._~=+-]{0,64}"
_HOST = "(//[A-Za-z0-9.-]{1,64}(:[0-9]{1,4})?)?"
_DATE = "([0-9]{1,4}Y([0-9]{1,2}M([0-9]{1,2}D)?)?|[0-9]{1,2}M([0-9]{1,2}D)?|[0-9]{1,3}D)"
_TIME = "T([0-9]{1,3}H([0-9]{1,2}M([0-9]{1,2}S)?)?|[0-9]{1,3}M([0-9]{1,2}S)?|[0-9]{1,3}S)"
_BYTE = "(25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"

PATTERNS = {
    "duration": f"^P({_DATE}({_TIME})?|{_TIME}|[0-9]{{1,3}}W)$",
    "email": rf"^[A-Za-z0-9_]{{1,24}}([.+-][A-Za-z0-9_]{{1,12}}){{0,3}}@({_LABEL}\.){{1,3}}[a-z]{{2,10}}$",
    "hostname": rf"^{_LABEL}(\.{_LABEL}){{0,4}}$",
    "ipv4": rf"^({_BYTE}\.){{3}}{_BYTE}$",
    "ipv6": "^([0-9a-f]{1,4}:){7}[0-9a-f]{1,4}$",
    "uri": rf"^[a-z][a-z0-9]{{1,9}}:{_HOST}(/{_STEP}){{0,16}}(\?{_STEP}(&{_STEP}){{0,9}})?(#{_STEP})?$",
}
"""To be translated as a client's patterns are."""
