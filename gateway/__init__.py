"""The ASGI application in front of llama-server.

It knows an upstream (a URL or a socket) and a readiness interface, and nothing of processes. A request's way:

    bytes -> auth -> dialects.parse -> GenerationRequest -> admission (a slot) -> upstream SSE -> events
          -> dialects.render -> bytes

    application   the ASGI callable: the data path in front, FastAPI for everything small
    auth          keys and the bearer check
    routes        thin: read, authenticate, hand over, write
    dialects      a client API's wire format <-> one internal request and one event stream (pure)
    request       that request
    events        that stream's events
    generation    one request's way through admission and upstream, with retries while nothing was sent
    activity      what is under way upstream, for a watchdog
    admission     who may be in flight, and who waits
    prompt_size   whether a prompt fits, found out before it waits
    upstream      the client of llama-server
    readiness     what the gateway may know about the server's state
    metrics       every series that we export
    errors        every way a request can fail, and its rendering
"""
