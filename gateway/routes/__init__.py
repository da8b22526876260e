"""Thin: read, authenticate, hand over, write.

asgi               the few steps that every raw ASGI route takes
generation         the data path of every dialect
writers            how an answer gets to the client: as a stream that is never silent for long, or in one piece
cold_start_header  the header that tells what the server's start took
tool_call_header   the header that says how far the tool-call contract goes, and what came of it
count_tokens       Anthropic's count of a prompt
embeddings         OpenAI's embeddings, if the engine has them
small              health, models and metrics, on FastAPI
status             how the server does, as JSON
page               the same for a browser, with a playground
openapi            the data path's part of the documentation page
"""
