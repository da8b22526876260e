"""warmgate on Modal: one GPU class that costs nothing while nobody asks, and is warm again within seconds.

    modal run modal_app.py::download_model    # once: the model, into a Volume
    modal deploy modal_app.py                 # the rest; the first time it compiles llama-server
    modal run modal_app.py                    # is it up, and how long do a cold and a warm answer take

There is no logic here. What a container does is in app/container.py, what can be chosen at deploy time in
app/deployment.py, and what a snapshot needs in snapshot/. Modal's side of it: https://modal.com/docs/guide/memory-snapshots
"""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import modal

from app.container import Container
from app.deployment import MINUTES, read_deployment
from app.deployment_tools import bring_model, compile_engine, show_smoke_test
from app.engine import ENGINES, EXECUTABLE
from app.engine_build import LLAMA_CPP_TAG, SOURCE_URL, Recipe, compile_command, configure_command

HERE = Path(__file__).parent
MODELS = "/models"
BINARIES = "/binaries"
COMPILERS = 16  # at a time; Modal's builders have that many cores and more
UV_VERSION = "0.13.9"  # the Makefile's

# What is decided now is baked into the image, so that every container decides the same.
deployment = read_deployment()
snapshots = deployment.snapshot != "off"

# The engine is compiled for the GPU's architecture, and for any CPU: builders and workers differ, and a snapshot must
# wake on each. A new tag is a new image, and a new image makes new snapshots; so the binary is baked into it. In a
# Volume it would survive images, but Modal does not look into Volumes to see whether a snapshot is still true.
recipe = Recipe(LLAMA_CPP_TAG, cuda_archs=("89",), native=False)  # 89 is Ada: L40S and L4
if deployment.engine == "image":
    engine = "/opt/llama/llama-server"
    slim = modal.Image.from_dockerfile(
        HERE / "docker" / "llama-server.Dockerfile",
        build_args={
            "SOURCE_URL": SOURCE_URL.format(tag=recipe.tag),
            "CONFIGURE": shlex.join(configure_command(recipe, Path("/source"), Path("/build"))),
            "COMPILE": shlex.join(compile_command(Path("/build"), COMPILERS)),
        },
        add_python="3.12",
    )
else:
    engine = f"{BINARIES}/{ENGINES}/{recipe.name}/{EXECUTABLE}"
    slim = modal.Image.from_registry("nvidia/cuda:12.8.1-base-ubuntu24.04", add_python="3.12").apt_install(
        "libcublas-12-8", "libgomp1"
    )
toolchain = modal.Image.from_registry("nvidia/cuda:12.8.1-devel-ubuntu24.04", add_python="3.12").apt_install(
    "cmake", "g++", "ninja-build"
)


def with_program(image: modal.Image) -> modal.Image:
    """Add our dependencies, as locked, the switches, and last the source, which changes most often."""
    settings = {
        "WARMGATE_LLAMA_SERVER": engine,
        "WARMGATE_MODELS_DIR": MODELS,
        "WARMGATE_READY_WAIT_SECONDS": "140",  # for a restart from the weights; Modal itself waits 150 s for headers
    }
    return (
        image.entrypoint([])
        .uv_sync(str(HERE), extra_options="--no-default-groups --extra otel", uv_version=UV_VERSION)
        .env(settings | deployment.environment())
        .add_local_python_source("app", "gateway", "server_supervisor", "snapshot", ignore=["**/__pycache__"])
    )


# Files have paths that name their revision: what a snapshot was made with is never overwritten, or it could not wake.
models = modal.Volume.from_name("model-cache", create_if_missing=True)
binaries = modal.Volume.from_name("llama-server-binary", create_if_missing=True)
mounted = {MODELS: models.with_mount_options(read_only=True)}
if deployment.engine == "volume":
    mounted[BINARIES] = binaries.with_mount_options(read_only=True)

# Keys are read after each restore, so that a key that was changed here is changed in every container that wakes.
keys = modal.Secret.from_name("warmgate-keys", required_keys=["WARMGATE_API_KEYS"])

app = modal.App("warmgate")
container: dict[str, Any] = {
    "image": with_program(slim),
    "gpu": deployment.gpu,
    "cpu": 4.0,
    "memory": deployment.memory_mib,
    "volumes": mounted,
    "secrets": [keys],
    "enable_memory_snapshot": snapshots,
    "experimental_options": {"enable_gpu_snapshot": True} if deployment.snapshot == "gpu" else {},
    "min_containers": deployment.min_containers,
    "max_containers": deployment.max_containers,
    "buffer_containers": deployment.buffer_containers,
    "scaledown_window": deployment.scaledown_seconds,
    "startup_timeout": 15 * MINUTES,  # a cold load from a slow disk, with a snapshot taken after it
}


class Hooks:
    """What Modal calls in every container, whichever door requests come through."""

    container: Container

    @modal.enter(snap=snapshots)
    def prepare(self) -> None:
        """Before the snapshot: import everything, and if it may hold the GPU's memory, warm the server up."""
        import aiohttp  # noqa: F401, PLC0415 -- Modal's own door would import it in each container

        self.container = Container()
        self.container.prepare()

    @modal.enter()
    def resume(self) -> None:
        """After it, in every container: fresh keys, clients and ids, and a server that answers."""
        self.container.resume()

    @modal.exit()
    async def close(self) -> None:
        """End the server."""
        await self.container.close()


if deployment.door == "function":

    @app.cls(**container, timeout=60 * MINUTES)  # the longest answer
    @modal.concurrent(max_inputs=deployment.max_inputs, target_inputs=deployment.target_inputs)
    class Warmgate(Hooks):
        """Requests are queued by Modal while there is no container, and by us when all slots are taken."""

        @modal.asgi_app(label="warmgate")
        def web(self) -> object:
            """Return what answers."""
            return self.container.application()

else:

    @app.server(
        **container,
        port=deployment.port,
        target_concurrency=deployment.target_inputs,
        max_concurrency=deployment.max_inputs,
        exit_grace_period=1 * MINUTES,
        unauthenticated=True,  # by Modal; our own keys are asked for
    )
    class Warmgate(Hooks):  # type: ignore[no-redef]
        """Requests come straight from Modal's proxy: less delay, but 503 while there is no container."""

        @modal.enter()
        async def listen(self) -> None:
            """Open the port, as the last step."""
            await self.container.listen(deployment.port)


# What is run by hand is an app of its own, so that a deployment is the one class above.
tools = modal.App("warmgate-tools")


@tools.function(image=with_program(modal.Image.debian_slim("3.12")), volumes={MODELS: models}, timeout=120 * MINUTES)
def download_model(profile: str = deployment.profile) -> None:
    """Bring a profile's files into the Volume, at their pinned revisions, checked. Goes on where it broke off."""
    bring_model(profile, Path(MODELS))
    models.commit()


if deployment.engine == "volume":

    @tools.function(image=with_program(toolchain), volumes={BINARIES: binaries}, cpu=COMPILERS, timeout=60 * MINUTES)
    def build_llama_server() -> None:
        """Compile llama-server into its Volume."""
        compile_engine(recipe, Path(BINARIES), COMPILERS)
        binaries.commit()


@tools.local_entrypoint()
def smoke_test(key: str = "") -> None:
    """Ask the deployed app twice, and print its URL and how long the first and the next answer took."""
    if deployment.door == "server":
        url = modal.Server.from_name("warmgate", "Warmgate").get_url()
    else:
        url = modal.Cls.from_name("warmgate", "Warmgate")().web.get_web_url()
    show_smoke_test(str(url), key)
