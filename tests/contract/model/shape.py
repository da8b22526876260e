"""The sizes of the contract model."""

from typing import Final

LAYERS: Final = 4
WIDTH: Final = 256
HEADS: Final = 4
KV_HEADS: Final = 2
HEAD: Final = 64
FEED_FORWARD: Final = 640
WINDOW: Final = 1536
ROPE_BASE: Final = 10_000.0
EPSILON: Final = 1e-6
