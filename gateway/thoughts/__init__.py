"""Thoughts that are given back: Gemma 4 wants the thought that led to a tool call back with that call.

seal    what a client keeps of a thought, and can neither read nor forge
memory  the same for clients that keep nothing, by the call's id
"""
