"""What llama-server is asked to be, as data, and the command line that says so."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path  # noqa: TC003 -- overrides are checked against the annotations
from typing import TYPE_CHECKING, Literal

from server_supervisor.build import spell

if TYPE_CHECKING:
    from server_supervisor.build import Build


@dataclass(frozen=True, slots=True)
class UnixEndpoint:
    """A Unix socket to listen on: reachable by this user alone, and no port to race for."""

    path: Path

    @property
    def url(self) -> str:
        """Where clients connect, in the gateway's spelling."""
        return f"unix:{self.path}"

    def argv(self) -> list[str]:
        """Return the flags that bind it. llama-server takes a path ending in `.sock` as a host."""
        return ["--host", str(self.path)]


@dataclass(frozen=True, slots=True)
class TcpEndpoint:
    """A loopback port to listen on."""

    host: str
    port: int

    @property
    def url(self) -> str:
        """Where clients connect, in the gateway's spelling."""
        return f"http://{self.host}:{self.port}"

    def argv(self) -> list[str]:
        """Return the flags that bind it."""
        return ["--host", self.host, "--port", str(self.port)]


Endpoint = UnixEndpoint | TcpEndpoint

ALWAYS = ("--metrics", "--no-ui", "--offline")
"""A serving process never downloads, and the gateway is the only door."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchPlan:
    """What llama-server is asked to be. `None` leaves a value to llama-server's own default.

    Attributes:
        model: The GGUF file.
        alias: The model's name in answers.
        slots: How many requests are decoded side by side.
        ctx_per_slot: Context of each slot, in tokens. llama-server is given the product: with an explicit
            number of slots it divides the whole among them.
        kv_unified: Whether all slots share one cache, of which each may fill `ctx_per_slot`. Where each has its own, a
            batch is computed in as many parts as there are rows of busy slots without a gap.
        cache_idle_slots: Whether each new request first has idle slots copied to the prompt cache in host memory.
        spec_type: How tokens are drafted that the model then checks: `draft-mtp`, `ngram-mod` and others.
        spec_draft_model: The drafter's GGUF file.
        sse_ping_interval: Seconds of silence after which a stream gets a comment line.
    """

    model: Path
    alias: str
    slots: int
    ctx_per_slot: int
    mmproj: Path | None = None
    chat_template_file: Path | None = None
    reasoning_format: str | None = None
    threads: int | None = None
    gpu_layers: int | None = None
    flash_attn: Literal["on", "off", "auto"] | None = None
    cache_type_k: str | None = None
    cache_type_v: str | None = None
    batch_size: int | None = None
    ubatch_size: int | None = None
    load_mode: Literal["auto", "none", "mmap", "mlock", "mmap+mlock", "dio"] | None = None
    fit: Literal["on", "off"] | None = None
    kv_unified: bool | None = None
    cache_ram_mib: int | None = None
    cache_idle_slots: bool | None = None
    ctx_checkpoints: int | None = None
    spec_type: str | None = None
    spec_draft_model: Path | None = None
    spec_draft_n_max: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    sse_ping_interval: int = 10

    def argv(self, endpoint: Endpoint, build: Build | None = None) -> list[str]:
        """Return llama-server's arguments for this plan, listening on `endpoint`.

        Args:
            endpoint: Where it shall listen.
            build: Who is to understand them; None for a current build.

        Raises:
            UnknownFlag: That build cannot be told all of the plan.
        """
        valued = {
            "--model": self.model,
            "--alias": self.alias,
            "--parallel": self.slots,
            "--ctx-size": self.slots * self.ctx_per_slot,
            "--mmproj": self.mmproj,
            "--chat-template-file": self.chat_template_file,
            "--reasoning-format": self.reasoning_format,
            "--threads": self.threads,
            "--n-gpu-layers": self.gpu_layers,
            "--flash-attn": self.flash_attn,
            "--cache-type-k": self.cache_type_k,
            "--cache-type-v": self.cache_type_v,
            "--batch-size": self.batch_size,
            "--ubatch-size": self.ubatch_size,
            "--load-mode": self.load_mode,
            "--fit": self.fit,
            "--kv-unified-per-slot": self.ctx_per_slot if self.kv_unified else None,
            "--cache-ram": self.cache_ram_mib,
            "--ctx-checkpoints": self.ctx_checkpoints,
            "--spec-type": self.spec_type,
            "--spec-draft-model": self.spec_draft_model,
            "--spec-draft-n-max": self.spec_draft_n_max,
            "--temp": self.temperature,
            "--top-p": self.top_p,
            "--sse-ping-interval": self.sse_ping_interval,
        }
        flags = [text for flag, value in valued.items() if value is not None for text in spell(flag, str(value), build)]
        either = {"kv-unified": self.kv_unified, "cache-idle-slots": self.cache_idle_slots}
        chosen = [f"--{name}" if on else f"--no-{name}" for name, on in either.items() if on is not None]
        switches = [text for flag in (*ALWAYS, *chosen) for text in spell(flag, None, build)]
        return [*flags, *endpoint.argv(), *switches]
