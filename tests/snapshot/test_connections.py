"""Which connections of a process are found in /proc."""

from __future__ import annotations

import os
import socket
import sys
import tempfile
from pathlib import Path

import pytest

from snapshot.connections import open_connections

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")


def opened_since(before: frozenset[str]) -> list[str]:
    """Return what is open now and was not, without inodes."""
    return sorted(what.partition(",")[0] for what in open_connections(os.getpid()) - before)


@pytest.mark.parametrize(("family", "address"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")])
def test_a_tcp_connection_is_found_and_a_socket_that_listens_is_not(family: int, address: str) -> None:
    before = open_connections(os.getpid())
    with socket.create_server((address, 0), family=family) as listener:
        assert opened_since(before) == []
        with socket.create_connection(listener.getsockname()[:2]), listener.accept()[0]:
            assert len(opened_since(before)) == 2
        assert opened_since(before) == []


def test_of_a_connection_over_a_unix_socket_the_server_is_found() -> None:
    before = open_connections(os.getpid())
    with tempfile.TemporaryDirectory(prefix="wg-") as folder, socket.socket(socket.AF_UNIX) as listener:
        path = Path(folder) / "a.sock"
        listener.bind(str(path))
        listener.listen()
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
            with listener.accept()[0]:
                assert opened_since(before) == [f"unix {path}"]
        assert opened_since(before) == []


def test_a_pair_of_sockets_within_the_process_is_none() -> None:
    before = open_connections(os.getpid())
    one, other = socket.socketpair()
    with one, other:
        assert opened_since(before) == []


def test_a_process_that_is_gone_has_none() -> None:
    assert open_connections(2**22 + 1) == frozenset()
