"""A client API's wire format <-> one internal request and one event stream. Pure: no HTTP, no clock, no randomness.

A dialect is a module's worth of `Dialect`; a new one is one file and one line in the application's table.
"""
