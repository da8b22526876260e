"""How much memory is free on each GPU, asked of NVIDIA's management library, which needs no CUDA context for it."""

from __future__ import annotations

import ctypes

from snapshot.cuda import GpuError, NoGpu

LIBRARY = "libnvidia-ml.so.1"


class _Memory(ctypes.Structure):
    """`nvmlMemory_t`, in bytes."""

    _fields_ = (("total", ctypes.c_ulonglong), ("free", ctypes.c_ulonglong), ("used", ctypes.c_ulonglong))


class Nvml:
    """The management library."""

    def __init__(self, library: str = LIBRARY) -> None:
        """Load and initialize it.

        Raises:
            NoGpu: It is not here.
            GpuError: It does not work.
        """
        try:
            self._nvml = ctypes.CDLL(library)
        except OSError:
            raise NoGpu(f"There is no NVIDIA driver here: {library} cannot be loaded.") from None
        self._call("nvmlInit_v2")

    def free_bytes(self) -> tuple[int, ...]:
        """Return how much is free on each GPU, in bytes.

        Raises:
            GpuError: It does not say.
        """
        count = ctypes.c_uint()
        self._call("nvmlDeviceGetCount_v2", ctypes.byref(count))
        return tuple(self._free_on(index) for index in range(count.value))

    def _free_on(self, index: int) -> int:
        device, memory = ctypes.c_void_p(), _Memory()
        self._call("nvmlDeviceGetHandleByIndex_v2", ctypes.c_uint(index), ctypes.byref(device))
        self._call("nvmlDeviceGetMemoryInfo", device, ctypes.byref(memory))
        return int(memory.free)

    def _call(self, function: str, *args: object) -> None:
        if code := self._nvml[function](*args):
            raise GpuError(f"{function} of NVIDIA's management library failed with code {code}.")
