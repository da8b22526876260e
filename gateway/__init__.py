"""The ASGI application in front of llama-server.

It knows an upstream (a URL or a socket) and a readiness interface, and nothing of processes. A request's way:

    bytes -> auth -> dialects.parse -> GenerationRequest -> images -> admission (a slot) -> upstream SSE -> events
          -> answer (attempts, tool calls) -> dialects.render -> bytes

    application  the ASGI callable: the data path in front, FastAPI for everything small
    auth         keys, and the check of the one that a request carries
    routes       thin: read, authenticate, hand over, write
    dialects     a client API's wire format <-> one internal request and one event stream (pure)
    request      that request
    events       that stream's events
    thinking     every client's way of asking for thought -> one plan (pure)
    thoughts     those that are given back, sealed or remembered
    images       which images are taken, and how they are fetched
    prompt_size  whether a prompt fits, found out before it waits
    admission    who may be in flight, and who waits
    generation   one request's way through admission and upstream
    backend_sampling  which answers are sampled on the GPU (pure)
    barring      calls and thoughts that may not be, kept from being written (pure)
    answers      one answer, put together from as many attempts as it takes
    toolcalls    calls held against their schemas, put right, written out, asked for again (pure)
    activity     what is under way upstream, for a watchdog
    upstream     the client of llama-server
    readiness    what the gateway may know about the server's state
    observation  what is known of each request, and who is told of it
    metrics      every series that we export
    page         what a browser is shown at `/`
    errors       every way a request can fail, and its rendering
"""
