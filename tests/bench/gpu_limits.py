"""How fast this machine moves bytes: from disk, from the page cache, over PCIe. What a start is measured against."""

from __future__ import annotations

import ctypes
import os
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

GIB = 1 << 30
BLOCK_BYTES = 16 << 20
COPIES = 4


def drop_from_page_cache(path: Path) -> None:
    """Make the next read of a file come from the disk. Nobody may have it mapped."""
    with path.open("rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def read_rate(path: Path) -> float:
    """Read a whole file, one block after the other, and return GiB/s."""
    block = bytearray(BLOCK_BYTES)
    began = time.perf_counter()
    size = 0
    with path.open("rb", buffering=0) as file:
        while count := file.readinto(block):
            size += count
    return size / GIB / (time.perf_counter() - began)


def pcie_rates() -> dict[str, float]:
    """Copy 1 GiB of pinned and of pageable host memory to the first GPU and back, and return GiB/s each way."""
    cuda = ctypes.CDLL("libcuda.so.1")

    def call(name: str, *args: object) -> None:
        if code := cuda[name](*args):
            raise RuntimeError(f"{name} failed with {code}")

    device, context = ctypes.c_int(), ctypes.c_void_p()
    on_gpu, pinned = ctypes.c_uint64(), ctypes.c_void_p()
    size = ctypes.c_size_t(GIB)
    call("cuInit", 0)
    call("cuDeviceGet", ctypes.byref(device), 0)
    call("cuDevicePrimaryCtxRetain", ctypes.byref(context), device)
    call("cuCtxSetCurrent", context)
    call("cuMemAlloc_v2", ctypes.byref(on_gpu), size)
    call("cuMemHostAlloc", ctypes.byref(pinned), size, 0)
    pageable = ctypes.create_string_buffer(GIB)
    rates = {}
    for kind, host in (("pinned", pinned), ("pageable", ctypes.cast(pageable, ctypes.c_void_p))):
        for way, name, args in (
            ("in", "cuMemcpyHtoD_v2", (on_gpu, host, size)),
            ("out", "cuMemcpyDtoH_v2", (host, on_gpu, size)),
        ):
            call(name, *args)  # the first touches every page
            began = time.perf_counter()
            for _ in range(COPIES):
                call(name, *args)
            rates[f"{kind}_{way}"] = COPIES / (time.perf_counter() - began)
    call("cuMemFreeHost", pinned)
    call("cuMemFree_v2", on_gpu)
    call("cuDevicePrimaryCtxRelease_v2", device)
    return rates
