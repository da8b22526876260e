from __future__ import annotations

from server_supervisor.environment import FIXED, child_environment


def test_only_what_the_engine_needs_is_passed_on_and_home_is_nowhere() -> None:
    parent = {
        "PATH": "/usr/bin",
        "LANG": "en_GB.UTF-8",
        "LC_ALL": "C",
        "TMPDIR": "/scratch",
        "TZ": "UTC",
        "LD_LIBRARY_PATH": "/usr/local/cuda/lib64",
        "CUDA_VISIBLE_DEVICES": "1",
        "NVIDIA_VISIBLE_DEVICES": "all",
        "OMP_NUM_THREADS": "8",
        "LLAMA_ARG_CTX_SIZE": "1",
        "LLAMA_API_KEY": "secret",
        "WARMGATE_API_KEYS": "secret",
        "HF_TOKEN": "secret",
        "AIP_MODE": "PREDICTION",
        "HOME": "/root",
        "XDG_CONFIG_HOME": "/root/.config",
        "PYTHONPATH": "/elsewhere",
        "LD_PRELOAD": "/elsewhere.so",
        "GGML_NO_BACKTRACE": "0",
        "path": "/elsewhere",
    }
    assert child_environment(parent) == {
        "PATH": "/usr/bin",
        "LANG": "en_GB.UTF-8",
        "LC_ALL": "C",
        "TMPDIR": "/scratch",
        "TZ": "UTC",
        "LD_LIBRARY_PATH": "/usr/local/cuda/lib64",
        "CUDA_VISIBLE_DEVICES": "1",
        "NVIDIA_VISIBLE_DEVICES": "all",
        "OMP_NUM_THREADS": "8",
        "HOME": "/nonexistent",
        "XDG_CONFIG_HOME": "/nonexistent",
        "GGML_NO_BACKTRACE": "1",
    }


def test_nothing_is_invented_for_what_the_parent_does_not_have() -> None:
    assert child_environment({}) == FIXED
