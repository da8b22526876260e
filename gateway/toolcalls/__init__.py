"""Tool calls between the model and the client. Pure.

assembly  the pieces of a stream -> whole calls
"""
