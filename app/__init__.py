"""The edge: settings, profiles, the search for engine and model, the wiring, the command line.

cli            the commands
settings       everything that can be set, read once
profiles       what to serve, as data
engine         where llama-server comes from
model_store    where models come from
gguf           what a model file says of itself
keys           which keys open the gateway, and the one made for a first try
launch         the three above put together: what the supervisor is to start
readiness      the supervisor's state, as the gateway wants to know it
serve          supervisor and gateway in one process
http_server    uvicorn, with the order of shutting down in our hands
console        what a person sees
failure        how a command ends when it cannot do its work
"""
