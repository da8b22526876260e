"""A container of a deployment: Modal's real entry point in a process of its own, frozen and woken as by a worker."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import psutil
from deploying import ROOT, modal_environment
from modal_proto import api_pb2

if TYPE_CHECKING:
    import threading
    from collections.abc import Mapping

    from deploying import Deployed
    from fake_modal import FakeModal

PATIENCE_SECONDS = 60
NOT_HERE = ("WARMGATE_LLAMA_SERVER", "WARMGATE_MODELS_DIR")
"""Of what is in the image, this machine has neither; it has the wheels with a small engine and a small model."""


class Container:
    """One container, from its start.

    Attributes:
        process: The entry point.
    """

    def __init__(self, modal: FakeModal, deployed: Deployed, folder: Path, secret: Mapping[str, str]) -> None:
        self._modal = modal
        self._folder = folder
        self.rotate(secret)
        (folder / "verdict").touch()
        (folder / "arguments").write_bytes(_arguments(deployed).SerializeToString())
        switches = {name: value for name, value in deployed.switches.items() if name not in NOT_HERE}
        self._log = (folder / "log").open("w")
        modal.frozen.clear()
        modal.listening.clear()
        self.process = psutil.Popen(
            [sys.executable, "-P", str(Path(__file__).with_name("in_sandbox.py")), str(folder)],
            env=modal_environment(modal, **switches, **secret)
            | {
                "PYTHONPATH": str(ROOT),
                "MODAL_CONTAINER_ARGUMENTS_PATH": str(folder / "arguments"),
                "MODAL_RESTORE_STATE_PATH": str(folder / "restore-state.json"),
                "MODAL_ENABLE_SNAP_RESTORE": "1",
                "MODAL_TASK_ID": "ta-original",
                "MODAL_IS_REMOTE": "1",
            },
            stdout=self._log,
            stderr=subprocess.STDOUT,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with self._log, contextlib.suppress(psutil.NoSuchProcess):
            self.process.kill()  # its server dies with it
            self.process.wait()

    @property
    def log(self) -> str:
        """All that it has printed."""
        return (self._folder / "log").read_text()

    def rotate(self, secret: Mapping[str, str]) -> None:
        """Change what a container that wakes from now on finds in its environment."""
        (self._folder / "environ").write_text("\0".join(f"{name}={value}" for name, value in secret.items()))

    def freeze(self) -> None:
        """Wait until it asks to be frozen."""
        self._wait_for(self._modal.frozen)

    def listen(self) -> None:
        """Wait until it says that its port is open."""
        self._wait_for(self._modal.listening)

    def _wait_for(self, event: threading.Event) -> None:
        """Wait, unless it has ended. pytest's time limit is what bounds it."""
        while not event.wait(0.05):
            assert self.process.poll() is None, self.log

    def wake(self, verdict: str, task_id: str = "ta-copy") -> None:
        """Let it go on as a copy of itself, or with whatever else came of its snapshot."""
        (self._folder / "verdict").write_text(verdict)
        state = self._folder / "new-state.json"
        state.write_text(json.dumps({"task_id": task_id}))
        state.rename(self._folder / "restore-state.json")

    def engine(self) -> psutil.Process:
        """Return its llama-server."""
        return next(child for child in self.process.children() if "--alias" in child.cmdline())

    def end(self) -> int:
        """Tell it that it is no longer needed, and return its status."""
        self._modal.end_container()
        return self.process.wait(PATIENCE_SECONDS)


def _arguments(deployed: Deployed) -> Any:
    """Return what a worker is told of a container of this deployment."""
    function = api_pb2.Function.FromString(deployed.function.SerializeToString())
    function.is_checkpointing_function = function.checkpointing_enabled
    function._experimental_enable_gpu_snapshot = function.experimental_options["enable_gpu_snapshot"] == "True"
    function_id = f"fu-{function.function_name}"
    objects = [
        api_pb2.Object(object_id=function_id, function_handle_metadata=api_pb2.FunctionHandleMetadata()),
        api_pb2.Object(object_id="cs-1", class_handle_metadata=api_pb2.ClassHandleMetadata()),
        *(api_pb2.Object(object_id=dependency.object_id) for dependency in function.object_dependencies),
    ]
    layout = api_pb2.AppLayout(
        objects=objects,
        function_ids={function.function_name: function_id},
        class_ids={function.function_name.removesuffix(".*"): "cs-1"},
    )
    return api_pb2.ContainerArguments(
        task_id="ta-original",
        function_id=function_id,
        app_id="ap-1",
        function_def=function,
        checkpoint_id="ch-1" if function.checkpointing_enabled else "",
        app_layout=layout,
        environment_name="main",
    )
