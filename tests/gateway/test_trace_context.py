from __future__ import annotations

import pytest

from gateway.observation.trace_context import TraceContext

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
HEADER = f"00-{TRACE}-{SPAN}-01"


def test_a_header_is_read_and_written() -> None:
    context = TraceContext.parse(HEADER)
    assert context == TraceContext(int(TRACE, 16), int(SPAN, 16), 1)
    assert str(context) == HEADER


def test_a_later_version_may_say_more() -> None:
    assert TraceContext.parse(f"01-{TRACE}-{SPAN}-03-and-more") == TraceContext(int(TRACE, 16), int(SPAN, 16), 3)


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "nonsense",
        HEADER.upper(),
        f"{HEADER}-more",
        f" {HEADER}",
        f"{HEADER}\n",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE}-{SPAN}",
        f"00-{TRACE[1:]}-{SPAN}-01",
    ],
)
def test_what_is_no_trace_context_is_none(header: str | None) -> None:
    assert TraceContext.parse(header) is None


def test_a_child_is_another_span_of_the_same_trace_and_as_much_wanted() -> None:
    parent = TraceContext(int(TRACE, 16), int(SPAN, 16), 0)
    child = parent.child()
    assert (child.trace_id, child.flags) == (parent.trace_id, 0)
    assert child.span_id not in (0, parent.span_id)


def test_made_ones_differ() -> None:
    assert len({TraceContext.made().trace_id for _ in range(100)}) == 100
