"""Thin: read, authenticate, hand over, write.

asgi        the few steps that every raw ASGI route takes
generation  the data path of every dialect
small       health, models and metrics, on FastAPI
openapi     the data path's part of the documentation page
"""
