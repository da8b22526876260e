"""Tool calls between the model and the client. Pure.

assembly         the pieces of a stream -> whole tool calls
schemas          a tool's JSON Schema -> a validator, compiled once (schema_limits: how large it may be)
history          what clients break in a conversation's calls and results, mended
loops            the same calls again and again, bounded
toolbox          a request's tools and the choice among them; checks a call
normalise        what can be put right in a call without a guess
text_hold        text on its way, and the calls written out at its end (written_calls, gemma_syntax, marks)
guard            what of an answer may be passed on and what must wait (policy: how far that goes)
asking           the requests with which the model is asked again, under a grammar
grammar_schema   a tool's schema -> the one for that grammar (schema_spread, grammar_pattern, _formats, _text)
"""
