"""`https:` URLs, read strictly: what other programs read in more than one way is refused here."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import TYPE_CHECKING
from urllib.parse import quote, urljoin, urlsplit

from gateway.images.addresses import is_public
from gateway.images.refusal import Refused

if TYPE_CHECKING:
    from gateway.images.addresses import Address
    from gateway.images.policy import UrlSchemes

MAX_CHARACTERS = 8192
PORTS = {"https": 443, "http": 80}

_AUTHORITY = re.compile(r"(?:\[(?P<ipv6>[0-9A-Fa-f:.]+)\]|(?P<name>[0-9A-Za-z_.-]+))(?::(?P<port>[0-9]{1,5}))?")

# at least two labels, the last of which is no number in any notation
_NAME = re.compile(r"(?=.{4,253}$)(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9])?\.)+[a-z](?:[a-z0-9-]{0,61}[a-z0-9])")
_NOT_PRINTABLE = re.compile(r"[\x00-\x20\x7f-\xa0\\\u2028\u2029]")
_PRINTABLE = "".join(map(chr, range(0x21, 0x7F)))

# names that mean something on a private network only, whatever they resolve to
LOCAL_NAMES = (
    ".localhost",
    ".local",
    ".localdomain",
    ".internal",
    ".intranet",
    ".private",
    ".corp",
    ".home",
    ".lan",
    ".arpa",
)


@dataclass(frozen=True, slots=True)
class RemoteUrl:
    """Something to fetch.

    Attributes:
        text: As it was written.
        scheme: `https` or `http`.
        host: A name in lower case, or an address.
        target: Path and query.
    """

    text: str
    scheme: str
    host: str | Address
    target: str

    @property
    def port(self) -> int:
        """The scheme's own; there is no other."""
        return PORTS[self.scheme]

    @property
    def host_header(self) -> str:
        """The value of the `Host` header."""
        return f"[{self.host}]" if isinstance(self.host, IPv6Address) else str(self.host)

    def joined(self, location: str) -> str:
        """Return the URL that a redirect leads to."""
        try:
            return urljoin(self.text, location)
        except ValueError:
            raise _invalid("it redirects to something that is not a URL.") from None


def read_remote(text: str, schemes: UrlSchemes) -> RemoteUrl:
    """Read a URL.

    Raises:
        Refused: It is not one that may be fetched.
    """
    if len(text) > MAX_CHARACTERS:
        raise _invalid(f"it is longer than {MAX_CHARACTERS} characters and not a data: URL.")
    if _NOT_PRINTABLE.search(text):
        raise _invalid("it holds spaces, control characters or backslashes.")
    try:
        parts = urlsplit(text)
    except ValueError:
        raise _invalid("it is not a URL.") from None
    _check_scheme(parts.scheme, schemes)
    if "@" in parts.netloc:
        raise _invalid("it holds a user name or a password.")
    where = _AUTHORITY.fullmatch(parts.netloc)
    if where is None:
        raise _invalid("its host must be written in plain letters and digits; other scripts in their xn-- form.")
    if where["port"] and int(where["port"]) != PORTS[parts.scheme]:
        raise _invalid(f"only port {PORTS[parts.scheme]} is connected to.")
    path = parts.path or "/"
    target = f"{path}?{parts.query}" if parts.query else path
    return RemoteUrl(text, parts.scheme, _host(where), quote(target, safe=_PRINTABLE))


def _check_scheme(scheme: str, schemes: UrlSchemes) -> None:
    if schemes == "none":
        raise _invalid("no URLs are fetched here; send the image itself, as a data: URL.")
    allowed = ("https", "http") if schemes == "http" else ("https",)
    if scheme not in allowed:
        given = f"not {scheme}:" if scheme else "not base64 without data:image/...;base64, before it"
        raise _invalid(f"expected a URL that begins with {'://, '.join(allowed)}:// or data:image/, {given}.")


def _host(where: re.Match[str]) -> str | Address:
    host = (where["name"] or "").lower()
    if where["ipv6"] or host.rpartition(".")[2][:1].isdigit():
        return _address(where["ipv6"] or host)
    if f".{host}".endswith(LOCAL_NAMES):
        raise not_public()
    if not _NAME.fullmatch(host):
        raise _invalid("its host is not the full name of a public host.")
    return host


def _address(text: str) -> Address:
    try:
        address = IPv6Address(text) if ":" in text else IPv4Address(text)
    except ValueError:
        raise _invalid("its host is not an address in the usual notation.") from None
    if not is_public(address):
        raise not_public()
    return address


def not_public() -> Refused:
    """Return the refusal of a host. It does not tell private hosts from those that do not exist."""
    return _invalid("its host is not a public one that can be found.")


def _invalid(what: str) -> Refused:
    return Refused("invalid_image_url", what)
