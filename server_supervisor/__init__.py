"""One llama-server as a child process: how it is started and stopped, and when it is restarted.

Mechanism, with no event loop, so that it also works inside a snapshot hook:
    plan        what the server is asked to be, as data, and the command line that says so
    environment the few variables that reach it
    process     spawn, exit, the stop ladder
    child_log   its last lines, kept for the day it fails
    failures    what those lines mean to the person who must act

Policy, on one event loop:
    states      the state machine, drawn
    phases      how long each phase of a start took
    backoff     how long to wait before the next start, and when to give up
    identity    is the server that came up the one that was meant
    parking     a server that nobody uses gives its GPU memory back
    watchdog    is a server that has work to do still moving
    probe       the questions the policy asks a running server
    supervisor  the one task that owns the state
"""
