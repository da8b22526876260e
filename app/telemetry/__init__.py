"""What is sent out instead of being asked for: traces, and metrics that are pushed.

Everything heavy is imported when `Telemetry` is made, but nothing is open before its `start`: that may come after a
snapshot was restored. What is sent is sent from threads of its own, so a slow collector delays nobody.

    telemetry     what is switched on; start and stop
    identity      who we are in what is sent
    push_loop     pushes on a thread, at once, ever again and at the end
    pushgateway   to Prometheus' Pushgateway
    otlp          where OpenTelemetry's exporters send to, and for whom
    otlp_metrics  the registry in OpenTelemetry's words
    otlp_traces   OpenTelemetry's SDK behind the gateway's tracing
"""
