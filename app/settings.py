"""Everything that can be set, read once: flags first, then `WARMGATE_*` environment variables, then these defaults."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import AfterValidator, Field, SecretStr, ValidationError
from pydantic_core import PydanticCustomError
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError

from app.failure import CommandFailure
from gateway.backend_sampling import BackendSampling
from gateway.toolcalls.policy import Mode

PREFIX = "WARMGATE_"


def _at_home(path: Path) -> Path:
    """Read a `~` in front, as a shell would: files of variables, as Docker and systemd read them, see no shell."""
    try:
        return path.expanduser()
    except RuntimeError:
        raise PydanticCustomError("no_home", "It begins with a user who has no home here") from None


UserPath: TypeAlias = Annotated[Path, AfterValidator(_at_home)]


class Settings(BaseSettings):
    """One frozen object. A field `x` is set by the environment variable `WARMGATE_X`."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="forbid", env_ignore_empty=True)

    api_keys: SecretStr | None = Field(
        None, description="Who may call: `name:key` pairs or bare keys, separated by commas."
    )
    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(8000, ge=0, le=65535, description="Port to listen on; 0 takes any free one.")
    profile: str | None = Field(
        None, description="What to serve, see `app/profiles.py`; `smollm2-135m`, or `any-gguf` with a model of yours."
    )
    overrides: tuple[str, ...] = Field((), description="Values of the profile to change: `name=value`, as a JSON list.")
    model: UserPath | None = Field(None, description="A GGUF file to serve instead of the profile's own.")
    llama_server: UserPath | None = Field(None, description="The llama-server to run instead of the first one found.")
    cache_dir: UserPath | None = Field(
        None, description="Where engines and models are kept; `~/.cache/warmgate` if not set."
    )
    models_dir: UserPath | None = Field(
        None, description="Where `warmgate models pull --local-dir` has put the profile's files, if not in the cache."
    )
    snapshot: Literal["off", "cpu", "gpu"] = Field(
        "gpu",
        description="On Modal: what the snapshot of a container holds: nothing, the program alone, or the warm server "
        "too. See `docs/snapshots.md`.",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="What is logged; `debug` includes llama-server's own lines."
    )
    log_format: Literal["console", "json"] = Field(
        "console", description="How the log is written: for a person, or one JSON object a line."
    )
    log_content: bool = Field(
        False, description="Whether the log may hold prompts and answers. For debugging: it never does otherwise."
    )
    metrics_public: bool = Field(False, description="Whether `/metrics` needs no key.")
    load_timeout_seconds: float = Field(600, gt=0, description="How long llama-server may take to become ready.")
    wedge_seconds: float = Field(
        120, ge=0, description="A server with work to do that shows no sign of life for so long is killed; 0 for never."
    )
    park_after_seconds: float = Field(
        0,
        ge=0,
        description="After so long without a request the server's GPU memory is given back, until the next one comes; "
        "0 for never. See `docs/snapshots.md`.",
    )
    ready_wait_seconds: float = Field(
        60, ge=0, description="How long a request waits for a server that starts or restarts, before 503."
    )
    max_waiting: int = Field(256, ge=0, description="How many requests may wait for a slot, before 429.")
    max_wait_seconds: float = Field(120, gt=0, description="How long a request waits for a slot, before 429.")
    keep_alive_seconds: float = Field(
        10, ge=0, description="How long a client's stream may be silent, before a keep-alive is sent; 0 for any time."
    )
    silence_seconds: float = Field(
        120, gt=0, description="After so long without a byte from llama-server an answer is given up."
    )
    thinking: bool = Field(True, description="Whether the model thinks where a request does not say it.")
    thinking_budget: int = Field(
        8192,
        ge=-1,
        le=2**31 - 1,
        description="How much it then thinks, in tokens; -1 for no bound. Requests may ask for more.",
    )
    answer_reserve: int = Field(
        1024, ge=0, description="So many tokens of a request's `max_tokens`, at most half, are kept for the answer."
    )
    backend_sampling: BackendSampling = Field(
        BackendSampling.AUTO,
        description="When the GPU picks the tokens, too: `auto` is when that pays, for a model that we have put there; "
        "`on` whenever llama-server can; or `off`. See `docs/performance.md`.",
    )
    tool_calls: Mode = Field(
        Mode.REPAIR,
        description="What is done about a tool call that its own schema rejects: `repair`, `validate` (pass it on and "
        "say so) or `off`, see `docs/tool-calls.md`.",
    )
    tool_calls_by_key: str | None = Field(
        None, description="The same for some keys: `name:mode` pairs, separated by commas; names as in the API keys."
    )
    tool_call_repairs: int = Field(2, ge=0, le=10, description="How often the model is asked again for one call.")
    tool_call_max_tokens: int = Field(4096, ge=1, description="How long such an answer may be, in tokens.")
    tool_call_temperature: float = Field(0.2, ge=0, le=2, description="The temperature with which it is asked again.")
    most_identical_calls: int = Field(
        0,
        ge=0,
        description="So often in a row the model may make the same tool calls, before it has to answer in words; 0 for "
        "any number of times.",
    )
    seal_secret: SecretStr | None = Field(
        None,
        description="Seals the thoughts that clients keep and give back. Several, separated by commas: the first "
        "seals, all open. If not set, it is made from the API keys.",
    )
    image_urls: Literal["none", "https", "http"] = Field(
        "https", description="Which images' URLs are fetched; `http` allows both. `data:` URLs are always taken."
    )
    image_max_count: int = Field(16, ge=0, description="How many images a request may hold.")
    image_max_mib: int = Field(10, ge=1, le=1024, description="The largest image, in MiB.")
    image_total_mib: int = Field(20, ge=1, le=1024, description="The most that a request's images take, in MiB.")
    image_max_megapixels: int = Field(50, ge=1, description="The largest picture; a request may hold twice as much.")
    image_seconds: float = Field(20, gt=0, description="How long a request waits for its images to be fetched.")
    image_fetches: int = Field(16, ge=1, description="How many images are fetched at once, for all requests together.")
    drain_seconds: float = Field(5, ge=0, description="How long running answers may go on after SIGTERM.")
    max_body_mib: int = Field(32, ge=1, le=1024, description="The largest request body that is read, in MiB.")
    scrape_seconds: float = Field(
        15, ge=5, description="Between two looks at llama-server's own metrics; its scrape has side effects."
    )
    traces: bool = Field(False, description="Whether a trace of each request is sent to an OpenTelemetry collector.")
    push_metrics: Literal["off", "otlp", "pushgateway"] = Field(
        "off", description="To what metrics are pushed, besides being scraped; see `docs/observability.md`."
    )
    push_seconds: float = Field(15, ge=1, description="Between two pushes.")
    otlp_endpoint: str | None = Field(
        None,
        pattern="^https?://",
        description="The collector's base URL, for OTLP over HTTP; if not set, OpenTelemetry's own variables say it.",
    )
    pushgateway: SecretStr | None = Field(
        None, description="The Pushgateway's URL; a name and a password in it are sent as basic authentication."
    )


def read_settings(**flags: Any) -> Settings:
    """Read the settings. Flags that are None were not given.

    Raises:
        CommandFailure: A value cannot be used; the message names where it came from.
    """
    given = {name: value for name, value in flags.items() if value is not None}
    try:
        return Settings(**given)
    except SettingsError:  # of the one that is JSON
        raise CommandFailure(f'{PREFIX}OVERRIDES cannot be used: it is no JSON list, such as ["slots=2"].') from None
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        name = str(first["loc"][0])
        source = f"--{name.replace('_', '-')}" if name in given else f"{PREFIX}{name.upper()}"
        raise CommandFailure(f"{source} cannot be used: {first['msg']}.") from None
