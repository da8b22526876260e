"""The address that is listened on, and the one that is shown."""

from __future__ import annotations

import socket

import pytest

from app.http_server import base_url, bind


@pytest.mark.parametrize(("host", "shown"), [("0.0.0.0", "127.0.0.1"), ("127.0.0.1", "127.0.0.1"), ("::", "[::1]")])
def test_the_url_that_is_shown_is_one_that_this_machine_reaches(host: str, shown: str) -> None:
    if ":" in host and not socket.has_dualstack_ipv6():
        pytest.skip("no IPv6 here")
    with bind(host, 0) as listener:
        port = listener.getsockname()[1]
        assert base_url(listener) == f"http://{shown}:{port}"
        socket.create_connection((shown.strip("[]"), port), timeout=5).close()
