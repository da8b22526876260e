"""The edge: settings, profiles, the search for engine and model, the wiring, the command line.

What a person calls:
    cli, commands/  the commands, and how each of them ends
    console         what a person sees
    failure         how a command ends when it cannot do its work

What is to be served:
    settings        everything that can be set, read once
    profiles        models and how they are run, as data
    overrides       values of a profile that a user changes
    keys            which keys open the gateway, and the one made for a first try
    launch          engine, model and profile put together: what the supervisor is to start

The engine:
    engine          where llama-server comes from
    engine_probe    what an engine says of itself
    engine_build    one compiled from source
    engine_source   and where that source comes from

The model:
    gguf            what a model file says of itself
    model_store     where models are kept, and whether they are the right ones
    hub             how they come from the Hugging Face hub
    model_shape     the part of a header that memory depends on
    drafter         the model that drafts for it, if there is one
    planned_files   all that a plan loads
    memory_plan     what a plan takes of it
    cards           and which cards have that much

Running it:
    serve           supervisor and gateway in one process
    gateway_alone   the gateway before somebody else's server
    gateway_config  from settings to what the gateway is told
    readiness       the supervisor's state, as the gateway wants to know it
    http_server     uvicorn, with the order of shutting down in our hands
    telemetry/      what is sent out: traces, and metrics that are pushed
    event_loop      the loop that all of it runs on
    garbage         the collector of reference cycles, kept from stopping answers
    doctor          everything that must be right before a start

Running it on Modal:
    container         what modal_app.py's hooks call
    supervised        gateway and supervisor as one ASGI application
    deployment        what is decided at deploy time
    deploy            the steps of a deployment
    deployment_tools  what is done once: the model, the engine
    smoke_test        a look at whether it works
"""
