"""The collector of reference cycles, kept from stopping answers.

At hundreds of streams its passes over all that is alive take 3 to 30 ms each, while every piece waits. Hardly anything
of ours is cyclic: what ends is freed at once, by its reference count.
"""

from __future__ import annotations

import gc
from typing import Final

MOST_NEW: Final = 50_000
"""So many more containers than before may be alive until it looks at them; Python's own number is 700."""


def spare_answers() -> None:
    """Leave out all that is alive now, which stays, and look at the rest seldom. To be called when all is imported."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(MOST_NEW)
