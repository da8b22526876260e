"""What the real `modal deploy` asks Modal's control plane for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from deploying import ROOT, deploy
from fake_modal import fake_modal
from google.protobuf.json_format import MessageToDict

from app.deployment import Deployment, read_deployment
from app.engine_build import LLAMA_CPP_TAG, Recipe, cmake_flags
from app.failure import CommandFailure

if TYPE_CHECKING:
    from collections.abc import Iterator

    from deploying import Deployed
    from fake_modal import FakeModal

SYNC = (
    "RUN /.uv/uv sync --project=/.uv --no-install-workspace --compile-bytecode "
    "--no-default-groups --extra otel --frozen"
)
PROGRAM_LAYERS = [
    ["FROM base", "ENTRYPOINT []"],
    [
        "FROM base",
        "COPY --from=ghcr.io/astral-sh/uv:0.13.9 /uv /.uv/uv",
        "COPY /.pyproject.toml /.uv/pyproject.toml",
        "COPY /.uv.lock /.uv/uv.lock",
        SYNC,
        "ENV PATH=/.uv/.venv/bin:$PATH",
    ],
]


@pytest.fixture(scope="module")
def modal() -> Iterator[FakeModal]:
    with fake_modal() as modal:
        yield modal


@pytest.fixture(scope="module")
def deployed(modal: FakeModal) -> Deployed:
    """Return what a deployment without any switch is."""
    return deploy(modal)


def settled(function: Any) -> dict[str, Any]:
    """Return the fields of a function that are neither ids nor the client's own business."""
    fields = MessageToDict(function, preserving_proto_field_name=True)
    left_out = ("mount_ids", "object_dependencies", "class_parameter_info", "implementation_name", "definition_type")
    return {name: value for name, value in fields.items() if name not in left_out and not name.startswith("_")}


def commands(deployed: Deployed) -> list[list[str]]:
    return [list(image.dockerfile_commands) for image in deployed.images]


def test_the_class_is_one_l40s_with_a_snapshot_of_its_memory(deployed: Deployed) -> None:
    assert settled(deployed.function) == {
        "module_name": "modal_app",
        "app_name": "warmgate",
        "function_name": "Warmgate.*",
        "function_type": "FUNCTION_TYPE_FUNCTION",
        "is_class": True,
        "image_id": "im-5",
        "resources": {"memory_mb": 40960, "milli_cpu": 4000, "gpu_config": {"gpu_type": "L40S", "count": 1}},
        "secret_ids": ["st-warmgate-keys"],
        "volume_mounts": [
            {
                "volume_id": "vo-model-cache",
                "mount_path": "/models",
                "allow_background_commits": True,
                "read_only": True,
            }
        ],
        "checkpointing_enabled": True,
        "experimental_options": {"enable_gpu_snapshot": "True"},
        "autoscaler_settings": {
            "min_containers": 0,
            "max_containers": 3,
            "buffer_containers": 0,
            "scaledown_window": 120,
        },
        "concurrency_limit": 3,
        "task_idle_timeout_secs": 120,
        "startup_timeout_secs": 900,
        "timeout_secs": 3600,
        "max_concurrent_inputs": 32,
        "target_concurrent_inputs": 4,
        "method_definitions_set": True,
        "method_definitions": {
            "web": {
                "function_name": "Warmgate.web",
                "function_type": "FUNCTION_TYPE_FUNCTION",
                "webhook_config": {
                    "type": "WEBHOOK_TYPE_ASGI_APP",
                    "requested_suffix": "warmgate",
                    "async_mode": "WEBHOOK_ASYNC_MODE_AUTO",
                },
                "supported_input_formats": ["DATA_FORMAT_ASGI"],
                "supported_output_formats": ["DATA_FORMAT_ASGI", "DATA_FORMAT_GENERATOR_DONE"],
            }
        },
    }


def test_the_secret_has_to_hold_keys(deployed: Deployed) -> None:
    (secret,) = deployed.secrets
    assert (secret.deployment_name, list(secret.required_keys)) == ("warmgate-keys", ["WARMGATE_API_KEYS"])


def test_the_engine_is_compiled_in_one_stage_of_the_image_and_copied_to_another(deployed: Deployed) -> None:
    engine, python, *program, switches = commands(deployed)
    assert engine == (ROOT / "docker" / "llama-server.Dockerfile").read_text().split("\n")
    assert python[:2] == ["FROM base", "COPY /python/. /usr/local"]
    assert program == PROGRAM_LAYERS
    assert switches == ["FROM base", *(f"ENV {name}={value}" for name, value in deployed.switches.items())]


def test_it_is_compiled_for_the_gpu_and_for_any_cpu_at_the_pinned_tag(deployed: Deployed) -> None:
    arguments = dict(deployed.images[0].build_args)
    flags = [*cmake_flags(["89"], native=False), f"-DLLAMA_BUILD_NUMBER={LLAMA_CPP_TAG[1:]}"]
    assert {"-DGGML_NATIVE=OFF", "-DCMAKE_CUDA_ARCHITECTURES=89", "-DGGML_CUDA=ON"} <= set(flags)
    assert arguments == {
        "SOURCE_URL": f"https://github.com/ggml-org/llama.cpp/archive/refs/tags/{LLAMA_CPP_TAG}.tar.gz",
        "CONFIGURE": " ".join(["cmake -S /source -B /build", *flags]),
        "COMPILE": "cmake --build /build --target llama-server --parallel 16",
    }


def test_each_container_reads_the_switches_that_it_was_deployed_with(deployed: Deployed) -> None:
    own = {"WARMGATE_LLAMA_SERVER", "WARMGATE_MODELS_DIR", "WARMGATE_READY_WAIT_SECONDS"}
    assert deployed.switches.keys() - own == Deployment().environment().keys()
    assert deployed.switches["WARMGATE_LLAMA_SERVER"] == "/opt/llama/llama-server"


def test_all_of_the_program_comes_along_and_nothing_that_is_made_of_it(deployed: Deployed) -> None:
    assert {"/root/modal_app.py", "/root/app/container.py", "/root/gateway/page/index.html"} <= deployed.files
    assert not [name for name in deployed.files if "__pycache__" in name]


def test_the_other_door_and_the_engine_in_a_volume(modal: FakeModal) -> None:
    deployed = deploy(
        modal, WARMGATE_DOOR="server", WARMGATE_ENGINE="volume", WARMGATE_SNAPSHOT="off", WARMGATE_BUFFER_CONTAINERS="1"
    )
    function = settled(deployed.function)
    assert function["http_config"] == {
        "port": 8000,
        "proxy_regions": ["us-east"],
        "startup_timeout": 900,
        "exit_grace_period": 60,
        "unauthenticated": True,
    }
    assert function["is_server"]
    assert "checkpointing_enabled" not in function
    assert function["autoscaler_settings"] == {
        "min_containers": 0,
        "max_containers": 3,
        "buffer_containers": 1,
        "scaledown_window": 120,
        "target_concurrency_float": 4.0,
    }
    assert [(mount["volume_id"], mount["read_only"]) for mount in function["volume_mounts"]] == [
        ("vo-model-cache", True),
        ("vo-llama-server-binary", True),
    ]
    name = Recipe(cuda_archs=("89",)).name
    assert deployed.switches["WARMGATE_LLAMA_SERVER"] == f"/binaries/engines/{name}/llama-server"
    base, libraries, *program, _ = commands(deployed)
    assert base[0] == "FROM nvidia/cuda:12.8.1-base-ubuntu24.04"
    assert libraries == ["FROM base", "RUN apt-get update", "RUN apt-get install -y libcublas-12-8 libgomp1"]
    assert program == PROGRAM_LAYERS


def test_a_switch_that_cannot_be_used_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WARMGATE_DOOR", "window")
    with pytest.raises(CommandFailure, match="WARMGATE_DOOR cannot be used"):
        read_deployment()
