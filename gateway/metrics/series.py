"""Every series that is counted as things happen. Names, help, labels and buckets of those are here and nowhere else.

Names and units follow Prometheus' conventions, and what is measured follows OpenTelemetry's for generative AI: its
`gen_ai.server.time_to_first_token`, `gen_ai.server.time_per_output_token` and `gen_ai.server.request.duration`, with
its buckets and some more at the ends.

Every label's values are from a small set: a key's and a model's names are ours, not what a client sent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from prometheus_client import Counter, Histogram

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

# seconds
REQUEST_BUCKETS: Final = (
    *(0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92),
    *(163.84, 327.68, 655.36),  # long thoughts
)
FIRST_TOKEN_BUCKETS: Final = (
    *(0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0),
    *(20.0, 30.0, 60.0, 120.0),  # cold starts
)
INTER_TOKEN_BUCKETS: Final = (
    *(0.001, 0.0025, 0.005, 0.0075),  # small models, and pieces that came together
    *(0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5),
)
ATTEMPT_BUCKETS: Final = (1, 2, 3, 4, 5, 8, 16, 32, 64)

UPSTREAM_ERRORS: Final = ("failed", "unreachable", "disconnected", "malformed", "silent")
"""Those kinds of `gateway.errors.UpstreamFailed` that a request meets upstream."""

AUTH_FAILURES: Final = ("missing", "malformed", "unknown")

BY_REQUEST: Final = ("route", "model")


class Series:
    """One registry's. Those whose labels are known from the beginning begin at 0, so that the first one shows."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.requests = Counter(
            "warmgate_requests",
            "Requests by how they ended: ok, invalid, unauthorized, overloaded, not_ready, upstream_error, "
            "tool_call_invalid, cancelled (the client left) or error. What a key is needed for and was turned away "
            "elsewhere than on the data path has the route gate.",
            ("dialect", "route", "key", "model", "outcome"),
            registry=registry,
        )
        self.auth_failures = Counter(
            "warmgate_auth_failures",
            "Requests without a key that is ours: none (missing), a header that cannot be read (malformed), or "
            "another key (unknown).",
            ("reason",),
            registry=registry,
        )
        self._add_times(registry)
        self._add_tokens(registry)
        self._add_tool_calls(registry)
        self.upstream_errors = Counter(
            "warmgate_upstream_errors",
            "What went wrong with llama-server, also where trying again helped: it reported a failure (failed), took "
            "no request (unreachable), broke off (disconnected), sent an answer that cannot be read (malformed), or "
            "nothing for too long (silent).",
            ("kind",),
            registry=registry,
        )
        for kind in UPSTREAM_ERRORS:
            self.upstream_errors.labels(kind)
        for reason in AUTH_FAILURES:
            self.auth_failures.labels(reason)

    def _add_times(self, registry: CollectorRegistry) -> None:
        def histogram(name: str, documentation: str, buckets: tuple[float, ...] = FIRST_TOKEN_BUCKETS) -> Histogram:
            return Histogram(name, documentation, BY_REQUEST, buckets=buckets, registry=registry)

        self.inter_token = histogram(
            "warmgate_inter_token_latency_seconds",
            "Between two pieces of one answer, counted while they come. Pieces that came together share their time, "
            "and are counted once.",
            INTER_TOKEN_BUCKETS,
        )
        self.seconds = {  # as in `gateway.observation.summary.seconds_by_part`
            "queue": histogram("warmgate_queue_time_seconds", "From asking for a slot to getting one."),
            "server": histogram(
                "warmgate_server_wait_seconds",
                "From getting a slot to a server that is ready: what a request waited for a start, a restart or a "
                "restore.",
            ),
            "prefill": histogram(
                "warmgate_prefill_seconds", "From asking the model for the answer to the first that it wrote."
            ),
            "first_token": histogram(
                "warmgate_time_to_first_token_seconds",
                "From the request's arrival to the first piece of thought, text or tool call.",
            ),
            "total": histogram(
                "warmgate_request_duration_seconds",
                "From the request's arrival to the answer's end, however it ended.",
                REQUEST_BUCKETS,
            ),
        }

    def _add_tokens(self, registry: CollectorRegistry) -> None:
        self.tokens = Counter(
            "warmgate_tokens",
            "Tokens by kind: prompt (all of the prompt), cached (that part of it that was not computed again), and of "
            "what was written thought, answer (marks and calls too) and repair (calls that were asked for again).",
            ("key", "model", "kind"),
            registry=registry,
        )
        self.thinking = Counter(
            "warmgate_thinking_requests",
            "Answered requests by whether the model was to think: on or off.",
            ("model", "thinking"),
            registry=registry,
        )
        self.budget_hits = Counter(
            "warmgate_thinking_budget_hits",
            "Requests whose thought was ended by its budget.",
            ("model",),
            registry=registry,
        )
        self.backend_sampling = Counter(
            "warmgate_backend_sampling_requests",
            "Answered requests that llama-server was asked to sample on the GPU.",
            ("model",),
            registry=registry,
        )

    def _add_tool_calls(self, registry: CollectorRegistry) -> None:
        self.tool_calls = Counter(
            "warmgate_tool_calls",
            "Tool calls by what became of them: valid, normalized (put right without loss), repaired (the model was "
            "asked again), invalid (passed on because only a report was wanted) or refused.",
            ("route", "model", "outcome"),
            registry=registry,
        )
        self.tool_call_rules = Counter(
            "warmgate_tool_call_normalizations",
            "What was put right in tool calls.",
            ("rule",),
            registry=registry,
        )
        self.tool_call_repairs = Counter(
            "warmgate_tool_call_repairs",
            "How often the model was asked again for a tool call.",
            BY_REQUEST,
            registry=registry,
        )
        self.tool_call_attempts = Histogram(
            "warmgate_tool_call_attempts",
            "How often the model was asked for one answer that has tool calls: once, and again for each repair.",
            BY_REQUEST,
            buckets=ATTEMPT_BUCKETS,
            registry=registry,
        )
