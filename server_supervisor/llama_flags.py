"""llama-server's command line as data: how each flag's value is read, and what it sets on `xllamacpp.CommonParams`.

Spellings, values and defaults are those of llama.cpp b11549 (common/arg.cpp). A value with a tail, like `4096k`, is
refused where `std::stoi` would cut it off.
"""

from __future__ import annotations

import importlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import Any, Final, TypeAlias

Params: TypeAlias = Any
"""An `xllamacpp.CommonParams`: the wheel has no type stubs."""

Read: TypeAlias = Callable[[str], object]
"""Turns a value's text into what a `Put` takes, or raises ValueError saying what is expected."""

Put: TypeAlias = Callable[[Params, Any], None]
"""Sets a value on the parameters."""


@dataclass(frozen=True, slots=True)
class Flag:
    """One option of llama-server.

    Attributes:
        names: Its spellings; for a switch those that turn it on.
        off: The spellings that turn a switch off.
        metavar: What its value is called in the help; empty for a switch.
        read: How its value is read.
        put: How it is set.
        help: One line.
    """

    names: tuple[str, ...]
    off: tuple[str, ...]
    metavar: str
    read: Read
    put: Put
    help: str


def _value(names: str, metavar: str, read: Read, put: Put, text: str) -> Flag:
    return Flag(tuple(names.split()), (), metavar, read, put, text)


def _switch(names: str, off: str, put: Put, text: str) -> Flag:
    return Flag(tuple(names.split()), tuple(off.split()), "", str, put, text)


# How values are read.


def _int_between(low: int, high: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            raise ValueError("expected an integer") from None
        if not low <= value <= high:
            raise ValueError(f"expected an integer from {low} to {high}")
        return value

    return read


_INT32_MAX = 2**31 - 1
_int = _int_between(-_INT32_MAX - 1, _INT32_MAX)


def _int_but_zero(low: int) -> Read:
    def read(text: str) -> int:
        if (value := _int_between(low, _INT32_MAX)(text)) == 0:
            raise ValueError("expected anything but 0")
        return value

    return read


def _float(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError("expected a number") from None


def _temperature(text: str) -> float:
    return max(_float(text), 0.0)


def _seed(text: str) -> int:
    """Read a seed; -1 is the largest uint32, which llama.cpp takes for "random"."""
    return _int_between(-1, 2**32 - 1)(text) % 2**32


def _threads(text: str) -> int:
    """Read a number of threads; zero and less stand for every CPU this process may run on."""
    if (count := _int(text)) > 0:
        return count
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _gpu_layers(text: str) -> int:
    return {"auto": -1, "all": -2}.get(text) or _int(text)


def _one_of(values: Mapping[str, object]) -> Read:
    def read(text: str) -> object:
        if text not in values:
            raise ValueError(f"expected one of {', '.join(values)}")
        return values[text]

    return read


def _on_off_auto(on: object, off: object, auto: object) -> Read:
    return _one_of(dict.fromkeys(_ON, on) | dict.fromkeys(_OFF, off) | {"auto": auto, "-1": auto})


_ON = ("on", "enabled", "true", "1")
_OFF = ("off", "disabled", "false", "0")
_on_off = _one_of(dict.fromkeys(_ON, True) | dict.fromkeys(_OFF, False))


def _names(text: str) -> list[str]:
    return [name for part in text.split(",") if (name := part.strip())]


def _hosts(text: str) -> list[str]:
    if hosts := _names(text):
        return hosts
    raise ValueError("expected at least one address")


def _speculation(text: str) -> list[str]:
    """Read names of ways to speculate, to members of the enumeration."""
    if (names := _names(text)) and not set(names) - set(_SPECULATION):
        return [_SPECULATION[name] for name in names]
    raise ValueError(f"expected some of {', '.join(_SPECULATION)}")


def _text_file(text: str) -> str:
    try:
        return Path(text).read_bytes().decode()
    except OSError as error:
        raise ValueError(f"failed to open file: {error.strerror}") from error


def _key_file(text: str) -> list[str]:
    return [line for line in _text_file(text).split("\n") if line and not line.startswith("#")]


def _json_object(text: str) -> dict[str, str]:
    """Read a JSON object; llama.cpp keeps each of its values as JSON text."""
    if not isinstance(value := json.loads(text), dict):
        raise ValueError("expected a JSON object")  # noqa: TRY004 -- the user's text is wrong, not a type of ours
    return {key: json.dumps(item, ensure_ascii=False, separators=(",", ":")) for key, item in value.items()}


# How values are set.


def _assign(params: Params, path: str, value: object) -> None:
    owner, _, name = path.rpartition(".")
    setattr(attrgetter(owner)(params) if owner else params, name, value)


def _to(*paths: str) -> Put:
    def put(params: Params, value: object) -> None:
        for path in paths:
            _assign(params, path, value)

    return put


def _not_to(path: str) -> Put:
    return lambda params, value: _assign(params, path, not value)


def _member_to(path: str) -> Put:
    """Set an enumeration by its member's name. The present value knows its own type, so nothing is imported."""
    return lambda params, name: _assign(params, path, type(attrgetter(path)(params))[name])


def _add_to(path: str) -> Put:
    """Add to a list of strings, which the wheel hands out as a copy."""
    return lambda params, names: _assign(params, path, [*attrgetter(path)(params), *names])


def _speculative_types(params: Params, names: Sequence[str]) -> None:
    """Add to the list, as llama-server does; `none` in it means nothing beside others."""
    kinds = importlib.import_module("xllamacpp").common_speculative_type
    params.speculative.types = [*params.speculative.types, *(kinds[name] for name in names)]


def _sampling(name: str) -> Put:
    """Set a sampling default and mark it as the user's, or `general.sampling.*` in the model file would win."""

    def put(params: Params, value: object) -> None:
        setattr(params.sampling, name, value)
        marks = importlib.import_module("xllamacpp").common_params_sampling_config
        params.sampling.user_sampling_config |= marks[f"COMMON_PARAMS_SAMPLING_CONFIG_{name.upper()}"]

    return put


def _ctx_size(params: Params, value: int) -> None:
    params.n_ctx = value
    if value == 0:  # asked for all that the model has: --fit must not take any of it. This is UINT32_MAX as int32.
        params.fit_params_min_ctx = -1


def _template_kwargs(params: Params, value: Mapping[str, str]) -> None:
    params.default_template_kwargs = params.default_template_kwargs | dict(value)


def _reasoning(params: Params, value: int) -> None:
    params.enable_reasoning = value
    if value >= 0:
        _template_kwargs(params, {"enable_thinking": json.dumps(value > 0)})


def _reasoning_preserve(params: Params, value: bool) -> None:
    params.preserve_reasoning_specified = True
    _template_kwargs(params, {"preserve_reasoning": json.dumps(value)})


def _cors_origins(params: Params, value: str) -> None:
    params.cors_origins = value
    params.cors_origins_explicit = True


def _verbose(params: Params, _: object) -> None:
    params.verbosity = _INT32_MAX


def _ask(_params: Params, _: object) -> None:
    """Set nothing: the caller looks whether the flag was given."""


# The table.

_LOAD_MODES = {
    "auto": "LLAMA_LOAD_MODE_AUTO",
    "none": "LLAMA_LOAD_MODE_NONE",
    "mmap": "LLAMA_LOAD_MODE_MMAP",
    "mlock": "LLAMA_LOAD_MODE_MLOCK",
    "mmap+mlock": "LLAMA_LOAD_MODE_MMAP_MLOCK",
    "dio": "LLAMA_LOAD_MODE_DIRECT_IO",
}
_KV_TYPES = {
    name: f"GGML_TYPE_{name.upper()}"
    for name in ("f32", "f16", "bf16", "q8_0", "q4_0", "q4_1", "iq4_nl", "q5_0", "q5_1")
}
_REASONING_FORMATS = {
    "none": "COMMON_REASONING_FORMAT_NONE",
    "auto": "COMMON_REASONING_FORMAT_AUTO",
    "deepseek": "COMMON_REASONING_FORMAT_DEEPSEEK",
    "deepseek-legacy": "COMMON_REASONING_FORMAT_DEEPSEEK_LEGACY",
}
_SPECULATION = {
    name: f"COMMON_SPECULATIVE_TYPE_{name.upper().replace('-', '_')}"
    for name in (
        *("none", "draft-simple", "draft-eagle3", "draft-mtp", "draft-dflash", "draft-dspark"),
        *("ngram-simple", "ngram-map-k", "ngram-map-k4v", "ngram-mod", "ngram-cache"),
    )
}
_flash_attn = _on_off_auto(
    "LLAMA_FLASH_ATTN_TYPE_ENABLED", "LLAMA_FLASH_ATTN_TYPE_DISABLED", "LLAMA_FLASH_ATTN_TYPE_AUTO"
)
_load_mode, _kv_type, _reasoning_format = _one_of(_LOAD_MODES), _one_of(_KV_TYPES), _one_of(_REASONING_FORMATS)

HELP: Final = _switch("-h --help --usage", "", _ask, "print usage and exit")
VERSION: Final = _switch("--version", "", _ask, "show version and build info")

# fmt: off
FLAGS: Final = (
    HELP,
    VERSION,
    # The model. -ngl is a maximum: without a GPU it has no effect, as in llama-server. --fit can only lower the
    # context here: the wheel cannot be given the list in which llama-server moves single tensors to the CPU.
    _value("-m --model", "FNAME", str, _to("model.path"), "model path to load"),
    _value("-a --alias", "STRING", _names, _add_to("model_alias"), "names of the model, comma-separated"),
    _value("-mm --mmproj", "FILE", str, _to("mmproj.path"), "path to a multimodal projector file"),
    _switch("--mmproj-auto", "--no-mmproj --no-mmproj-auto", _not_to("no_mmproj"), "use the projector (on)"),
    _value("-lm --load-mode", "MODE", _load_mode, _member_to("load_mode"), ", ".join(_LOAD_MODES)),
    _value("-ngl --gpu-layers --n-gpu-layers", "N", _gpu_layers, _to("n_gpu_layers"), "a number, auto or all"),
    _value("-fit --fit", "[on|off]", _on_off, _to("fit_params"), "adjust what is unset to the memory (on)"),
    _switch("--warmup", "--no-warmup", _to("warmup"), "warm up with an empty run (on)"),
    _switch("--offline", "", _to("offline"), "prevent network access"),
    # Slots, context and caches.
    _value("-c --ctx-size", "N", _int, _ctx_size, "context of all slots together (0 = loaded from model)"),
    _value("-np --parallel", "N", _int_but_zero(-_INT32_MAX), _to("n_parallel"), "slots (-1 = 4, unified KV)"),
    _switch("-kvu --kv-unified", "-no-kvu --no-kv-unified", _to("kv_unified"), "one KV buffer for all slots"),
    _value("--kv-unified-per-slot", "N", _int, _to("kv_unified_per_slot"), "context limit of a slot"),
    _value("-b --batch-size", "N", _int, _to("n_batch"), "logical maximum batch size (2048)"),
    _value("-ub --ubatch-size", "N", _int, _to("n_ubatch"), "physical maximum batch size (512)"),
    _value("-fa --flash-attn", "[on|off|auto]", _flash_attn, _member_to("flash_attn_type"), "(auto)"),
    _value("-ctk --cache-type-k", "TYPE", _kv_type, _member_to("cache_type_k"), ", ".join(_KV_TYPES)),
    _value("-ctv --cache-type-v", "TYPE", _kv_type, _member_to("cache_type_v"), ", ".join(_KV_TYPES)),
    _switch("--swa-full", "", _to("swa_full"), "use full-size SWA cache"),
    _switch("--context-shift", "--no-context-shift", _to("ctx_shift"), "context shift (off)"),
    _switch("--cache-prompt", "--no-cache-prompt", _to("cache_prompt"), "prompt caching (on)"),
    _value("--cache-reuse", "N", _int, _to("n_cache_reuse"), "min chunk to reuse from the cache (0)"),
    _value("-cram --cache-ram", "N", _int, _to("cache_ram_mib"), "prompt cache, MiB (8192, -1 = no limit)"),
    _switch("--cache-idle-slots", "--no-cache-idle-slots", _to("cache_idle_slots"), "copy idle slots there (on)"),
    _value("-ctxcp --ctx-checkpoints --swa-checkpoints", "N", _int, _to("n_ctx_checkpoints"), "per slot (32)"),
    _value("-cms --checkpoint-min-step", "N", _int_between(0, _INT32_MAX), _to("checkpoint_min_step"), "(8192)"),
    _value("-sps --slot-prompt-similarity", "SIMILARITY", _float, _to("slot_prompt_similarity"), "(0.10)"),
    # Speculation: drafts, from a model beside this one or from the text itself, that the model then checks.
    _value("--spec-type", "TYPES", _speculation, _speculative_types, "draft-mtp, ngram-mod, ..., comma-separated"),
    _value("-md --spec-draft-model --model-draft", "FNAME", str, _to("speculative.draft.mparams.path"), "drafter"),
    _value("--spec-draft-n-max", "N", _int_between(0, _INT32_MAX), _to("speculative.draft.n_max"), "tokens (3)"),
    _value("--spec-synth-len", "L", _float, _to("speculative.synth_len"), "accept so many, for benchmarks only"),
    # Threads.
    _value("-t --threads", "N", _threads, _to("cpuparams.n_threads"), "CPU threads (-1 = all cores)"),
    _value("-tb --threads-batch", "N", _threads, _to("cpuparams_batch.n_threads"), "for prompts (--threads)"),
    _value("--threads-http", "N", _int, _to("n_threads_http"), "for HTTP requests (-1 = auto)"),
    # Chat. With --no-jinja llama-server also refuses a template that it does not recognise; the wheel lacks that
    # check and answers chats with an error. With jinja, a bad template ends the load in both.
    _switch("--jinja", "--no-jinja", _to("use_jinja"), "use the jinja template engine (on)"),
    _value("--chat-template", "JINJA_TEMPLATE", str, _to("chat_template"), "a template, or a built-in's name"),
    _value("--chat-template-file", "JINJA_TEMPLATE_FILE", _text_file, _to("chat_template"), "the same in a file"),
    _value("--chat-template-kwargs", "STRING", _json_object, _template_kwargs, "a JSON object"),
    _value("-rea --reasoning", "[on|off|auto]", _on_off_auto(1, 0, -1), _reasoning, "think (auto)"),
    _value("--reasoning-format", "FORMAT", _reasoning_format, _member_to("reasoning_format"), "(deepseek)"),
    _value("--reasoning-budget", "N", _int_between(-1, _INT32_MAX), _to("sampling.reasoning_budget_tokens"), "(-1)"),
    _value("--reasoning-budget-message", "MESSAGE", str, _to("sampling.reasoning_budget_message"), "at its end"),
    _switch("--reasoning-preserve", "--no-reasoning-preserve", _reasoning_preserve, "in the whole history (on)"),
    # What a request gets that does not say otherwise.
    _value("-s --seed", "SEED", _seed, _to("sampling.seed"), "RNG seed (-1 = random)"),
    _value("--temp --temperature", "N", _temperature, _sampling("temp"), "temperature (0.80)"),
    _value("--top-k", "N", _int, _sampling("top_k"), "top-k sampling (40, 0 = disabled)"),
    _value("--top-p", "N", _float, _sampling("top_p"), "top-p sampling (0.95, 1.0 = disabled)"),
    _value("--min-p", "N", _float, _sampling("min_p"), "min-p sampling (0.05, 0.0 = disabled)"),
    _value("-n --predict --n-predict", "N", _int, _to("n_predict"), "number of tokens (-1 = no limit)"),
    _switch("-bs --backend-sampling", "", _to("sampling.backend_sampling"), "backend sampling (experimental)"),
    # HTTP.
    _value("--host", "HOST", _hosts, _to("hostnames"), "addresses, or a UNIX socket's path ending in .sock"),
    _value("--port", "PORT", _int_between(0, 2**16 - 1), _to("port"), "port to listen (9931, 0 = any)"),
    _value("--api-key-file", "FNAME", _key_file, _add_to("api_keys"), "file with API keys, one per line"),
    _value("--cors-origins", "ORIGINS", str, _cors_origins, "allowed origins, comma-separated (*)"),
    _value("-to --timeout", "N", _int, _to("timeout_read", "timeout_write"), "read/write timeout, seconds (3600)"),
    _value("--sse-ping-interval", "N", _int, _to("sse_ping_interval"), "seconds (30, -1 = disabled)"),
    _value("--sleep-idle-seconds", "SECONDS", _int_but_zero(-1), _to("sleep_idle_seconds"), "(-1 = disabled)"),
    _switch("--metrics", "", _to("endpoint_metrics"), "enable the Prometheus endpoint"),
    _switch("--props", "", _to("endpoint_props"), "enable changing properties by POST /props"),
    _switch("--slots", "--no-slots", _to("endpoint_slots"), "expose the slots endpoint (on)"),
    _switch("--ui --webui", "--no-ui --no-webui", _to("ui"), "enable the Web UI (on)"),
    # The log.
    _value("-lv --verbosity --log-verbosity", "N", _int, _to("verbosity"), "1 error ... 3 info (default) ... 5"),
    _switch("-v --verbose --log-verbose", "", _verbose, "log all messages"),
)
# fmt: on

_LOGGER = "--log-jsonl --no-log-jsonl --log-file --log-disable --log-colors --log-prefix --no-log-prefix"
_SOURCES = "-hf -hfr --hf-repo -hff --hf-file -mu --model-url -mmu --mmproj-url --models-dir --models-preset"

REFUSED: Final[Mapping[str, str]] = {
    **dict.fromkeys(_LOGGER.split(), "xllamacpp gives no access to llama.cpp's logger"),
    **dict.fromkeys(_SOURCES.split(), "xllamacpp serves one local file: use --model"),
    "--override-kv": "xllamacpp gives no access to it",
    "--api-key": "every user of this machine could read it: use --api-key-file",
}
"""Flags of llama-server that are refused for a reason worth telling; all others are simply unknown here."""
