"""The NVIDIA driver's functions that move a process's GPU state to host memory and back.

They are called through ctypes: they take a process id and a pointer that may be null, and are the same in every driver
since 570, whose API is 12.8. Reference: https://docs.nvidia.com/cuda/cuda-driver-api/group__CUDA__CHECKPOINT.html
"""

from __future__ import annotations

import ctypes
import enum

LIBRARY = "libcuda.so.1"
FIRST_DRIVER = 570
FIRST_API = 12080
LOCK_SECONDS = 10
"""A lock waits until the work that the process has given to the GPU is done: milliseconds, even with 16 streams."""

OUT_OF_MEMORY = 2
NOT_INITIALIZED = 3
NO_DEVICE = 100
OPERATING_SYSTEM = 304
NOT_PERMITTED = 800


class GpuError(Exception):
    """Something about the GPU that a person must know. The message is a sentence.

    GpuError
    ├── NoGpu              there is no NVIDIA GPU here, or no driver for it
    ├── DriverTooOld       it cannot take checkpoints
    ├── NothingOnGpu       no process of the tree has anything on a GPU
    └── DriverRefused      a call failed
        ├── NotPermitted   the process belongs to somebody else
        └── OutOfMemory    of the GPU, or of the host
    """


class NoGpu(GpuError):
    """There is no NVIDIA GPU here, or no driver for it."""


class DriverTooOld(GpuError):
    """The driver cannot take checkpoints."""


class NothingOnGpu(GpuError):
    """No process of the tree has anything on a GPU."""


class DriverRefused(GpuError):
    """A call failed.

    Attributes:
        call: The function's name.
        code: Its `CUresult`.
    """

    def __init__(self, call: str, code: int, name: str) -> None:
        super().__init__(self.sentence.format(call=call, code=code, name=name))
        self.call = call
        self.code = code

    sentence = "The NVIDIA driver refused {call}: {name} ({code})."


class NotPermitted(DriverRefused):
    """The process belongs to somebody else."""

    sentence = "The NVIDIA driver does not let this user touch that process ({call}): run both as the same user."


class OutOfMemory(DriverRefused):
    """There is too little memory, on the GPU or on the host."""

    sentence = "There was not enough memory for {call}: free some, or lower slots or ctx_per_slot."


_NOT_ON_GPU = frozenset({NOT_INITIALIZED, OPERATING_SYSTEM})
"""What driver 580 says of a process that has not used CUDA, and of one that is not there."""

_ERRORS = {OUT_OF_MEMORY: OutOfMemory, NOT_PERMITTED: NotPermitted}


class ProcessState(enum.IntEnum):
    """`CUprocessState`: where a process is in a checkpoint."""

    RUNNING = 0
    LOCKED = 1
    CHECKPOINTED = 2
    FAILED = 3


class _LockArgs(ctypes.Structure):
    """`CUcheckpointLockArgs`."""

    _fields_ = (
        ("timeout_ms", ctypes.c_uint),
        ("reserved0", ctypes.c_uint),
        ("reserved1", ctypes.c_uint64 * 7),
    )


class Driver:
    """The driver of this machine's GPUs. Its methods block, but let other threads run."""

    def __init__(self, library: str = LIBRARY) -> None:
        """Load and initialize it, which takes 0.1-0.3 s and no GPU memory.

        Raises:
            NoGpu: There is none.
            DriverTooOld: It is older than 570.
        """
        try:
            self._cuda = ctypes.CDLL(library)
        except OSError:
            raise NoGpu(f"There is no NVIDIA driver here: {library} cannot be loaded.") from None
        version = ctypes.c_int()
        self._call("cuDriverGetVersion", ctypes.byref(version))
        if version.value < FIRST_API:
            api = f"{version.value // 1000}.{version.value % 1000 // 10}"
            raise DriverTooOld(
                f"The NVIDIA driver (CUDA {api}) cannot take checkpoints: update it to {FIRST_DRIVER} or newer."
            )
        try:
            # A restore wants it, where nothing else keeps the driver loaded.
            self._call("cuInit", ctypes.c_uint(0))
        except DriverRefused as error:
            if error.code == NO_DEVICE:
                raise NoGpu("The NVIDIA driver finds no GPU here.") from None
            raise

    def state(self, pid: int) -> ProcessState | None:
        """Return where a process is, or None if it has nothing on a GPU.

        Raises:
            DriverRefused: The driver does not say.
        """
        state = ctypes.c_int()
        try:
            self._call("cuCheckpointProcessGetState", ctypes.c_int(pid), ctypes.byref(state))
        except DriverRefused as error:
            if error.code in _NOT_ON_GPU:
                return None
            raise
        return ProcessState(state.value)

    def lock(self, pid: int) -> None:
        """Let the process's GPU work end, and have its further calls of CUDA wait.

        Raises:
            DriverRefused: It stays as it was.
        """
        args = _LockArgs(timeout_ms=LOCK_SECONDS * 1000)
        self._call("cuCheckpointProcessLock", ctypes.c_int(pid), ctypes.byref(args))

    def checkpoint(self, pid: int) -> None:
        """Move a locked process's GPU memory to its host memory, and let go of the GPU.

        Raises:
            DriverRefused: `state` says what it is in.
        """
        self._call("cuCheckpointProcessCheckpoint", ctypes.c_int(pid), None)

    def restore(self, pid: int) -> None:
        """Move it back. The process stays locked.

        Raises:
            DriverRefused: The process cannot be used any more, whatever its state.
        """
        self._call("cuCheckpointProcessRestore", ctypes.c_int(pid), None)

    def unlock(self, pid: int) -> None:
        """Let a locked process go on.

        Raises:
            DriverRefused: It stays locked.
        """
        self._call("cuCheckpointProcessUnlock", ctypes.c_int(pid), None)

    def _call(self, function: str, *args: object) -> None:
        try:
            code: int = self._cuda[function](*args)
        except AttributeError:
            raise DriverTooOld(f"The NVIDIA driver has no {function}: update it to {FIRST_DRIVER} or newer.") from None
        if code:
            raise _ERRORS.get(code, DriverRefused)(function, code, self._name_of(code))

    def _name_of(self, code: int) -> str:
        name = ctypes.c_char_p()
        self._cuda.cuGetErrorName(ctypes.c_int(code), ctypes.byref(name))
        return name.value.decode() if name.value else "unknown error"
