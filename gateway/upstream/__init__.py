"""The client of llama-server: one streamed chat completion per connection, decoded into events.

target      where it listens
connection  one HTTP exchange over a connection of its own
sse         bytes -> event payloads
wire        llama-server's JSON <-> our requests, events and errors
chat        the three together
catalog     what the server says it is: model, slots, context
scrape      its own metrics, fetched in the background
"""
