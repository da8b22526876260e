"""One answer, from what llama-server streams to what a dialect renders.

answer    as many attempts as it takes, and the calls that are asked for again
attempt   one upstream stream: read, counted, cut, its calls put together (pure)
stopping  the request's stop texts (pure)
marks     Gemma 4's control tokens, kept out of the text (pure)
repair    the asking for calls
"""
