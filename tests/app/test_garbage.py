from __future__ import annotations

import gc
import weakref
from typing import TYPE_CHECKING

import pytest

from app.garbage import MOST_NEW, spare_answers

if TYPE_CHECKING:
    from collections.abc import Iterator


class Node:
    def __init__(self) -> None:
        self.other: Node | None = None


@pytest.fixture(autouse=True)
def own_collector() -> Iterator[None]:
    thresholds = gc.get_threshold()
    yield
    gc.unfreeze()
    gc.set_threshold(*thresholds)


def test_what_is_alive_is_left_out_from_then_on() -> None:
    kept = Node()
    spare_answers()
    assert gc.get_freeze_count() > 0
    assert not any(one is kept for one in gc.get_objects())


def test_cycles_made_later_are_found_without_being_asked_for() -> None:
    spare_answers()
    node = Node()
    node.other = node
    gone = weakref.ref(node)
    del node
    fill: list[list[object]] = []
    while gone() is not None and len(fill) <= 2 * MOST_NEW:
        fill.append([])
    assert gone() is None
