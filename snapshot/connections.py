"""Which connections a process has open: a snapshot with one of them cannot be restored, or not taken at all.

Read from /proc, which a container's sandbox shows too. Where there is none (macOS) nothing is found; there are no
snapshots either.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_LISTENS = "0A"  # TCP_LISTEN in Linux's include/net/tcp_states.h
_CONNECTED = "01"  # TCP_ESTABLISHED, which UDP uses as well
_UNIX_CONNECTED = "03"  # SS_CONNECTED in include/uapi/linux/net.h


def open_connections(pid: int) -> frozenset[str]:
    """Return the connections of a process, each with its inode so that it is told from the next one.

    Sockets that listen or are not connected are none. Of a Unix socket's connection, only the side that was connected
    to has a name and is found; so pipes of sockets within a process are not.
    """
    inodes = frozenset(_socket_inodes(pid))
    return frozenset(what for inode, what in _connections(pid) if inode in inodes)


def _socket_inodes(pid: int) -> Iterator[str]:
    with contextlib.suppress(OSError):
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(OSError):  # closed meanwhile
                kind, _, inode = str(descriptor.readlink()).partition(":")
                if kind == "socket":
                    yield inode.strip("[]")


def _connections(pid: int) -> Iterator[tuple[str, str]]:
    for protocol in ("tcp", "tcp6", "udp", "udp6"):
        for line in _lines(pid, protocol):
            _, local, remote, state, *_ = fields = line.split()
            if state == _CONNECTED if protocol.startswith("udp") else state != _LISTENS:
                yield fields[9], f"{protocol} {local} to {remote}, inode {fields[9]}"
    for line in _lines(pid, "unix"):
        _, _, _, _, _, state, inode, *path = line.split()
        if state == _UNIX_CONNECTED and path:
            yield inode, f"unix {path[0]}, inode {inode}"


def _lines(pid: int, protocol: str) -> list[str]:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/net/{protocol}").read_text().splitlines()[1:]
    return []
