from __future__ import annotations

import io
import json
import logging
import sys
from typing import TYPE_CHECKING, Any

import pytest

from app import console
from app.child_lines import CUT, WithoutContent
from app.logs import CHILD, JsonLines, Lines, set_up_logging
from app.settings import Settings
from server_supervisor.child_log import ChildLog

if TYPE_CHECKING:
    from collections.abc import Iterator

SECRET = "sk-a-secret"


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    """Give the process's logging back as it was."""
    loggers = [logging.getLogger(name) for name in (None, "warmgate", CHILD)]
    before = [(logger.level, logger.handlers[:], logger.filters[:]) for logger in loggers]
    yield
    for logger, (level, handlers, filters) in zip(loggers, before, strict=True):
        logger.level, logger.handlers, logger.filters = level, handlers, filters
    logging.getLogger("warmgate").setLevel(logging.getLogger("warmgate").level)  # forgets what it has cached
    console.err.quiet = False


def raised(message: str) -> BaseException:
    """Return an exception with a cause, as it was raised."""
    try:
        try:
            raise KeyError(message)
        except KeyError as error:
            raise ValueError(f"cannot read {message}") from error
    except ValueError as error:
        return error


def entry(message: str, *args: object, error: BaseException | None = None, **fields: Any) -> logging.LogRecord:
    info = (type(error), error, error.__traceback__) if error is not None else None
    record = logging.LogRecord("warmgate.gateway", logging.WARNING, __file__, 1, message, args, info)
    record.created = 1_700_000_000.25
    if fields:
        record.fields = fields
    return record


def set_up(monkeypatch: pytest.MonkeyPatch, **settings: Any) -> io.StringIO:
    """Set logging up and return what standard error gets."""
    stderr = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stderr)
    set_up_logging(Settings(**settings))
    return stderr


# -- JSON


def test_an_entry_is_one_json_object_with_its_own_fields() -> None:
    written = JsonLines(content=False).format(entry("%d of\n%s", 3, "ü", key="laptop", seconds={"total": 1.5}))
    assert "\n" not in written
    assert json.loads(written) == {
        "time": "2023-11-14T22:13:20.250+00:00",
        "level": "warning",
        "logger": "warmgate.gateway",
        "message": "3 of\nü",
        "key": "laptop",
        "seconds": {"total": 1.5},
    }


def test_everything_in_the_log_is_json_when_that_is_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    stderr = set_up(monkeypatch, log_format="json")
    with console.progress("loading"):
        logging.getLogger("warmgate").info("started")
    logging.getLogger("uvicorn.error").error("a bug of %s", "somebody's")
    console.announce("http://here", "m", "engine", None)
    console.complain("It failed.")
    entries = [json.loads(line) for line in stderr.getvalue().splitlines()]
    assert [(entry["level"], entry["logger"], entry["message"]) for entry in entries] == [
        ("info", "warmgate", "loading ..."),
        ("info", "warmgate", "started"),
        ("error", "uvicorn.error", "a bug of somebody's"),
        ("info", "warmgate", "ready m at http://here/v1 (engine)"),
        ("error", "warmgate", "It failed."),
    ]


def test_a_made_key_is_shown_to_the_person_and_not_logged(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stderr = set_up(monkeypatch, log_format="json")
    console.announce("http://here", "m", "engine", SECRET)
    assert SECRET in capsys.readouterr().out
    assert SECRET not in stderr.getvalue()


# -- for a person


def test_a_line_says_when_how_bad_who_and_what(monkeypatch: pytest.MonkeyPatch) -> None:
    stderr = set_up(monkeypatch)
    logging.getLogger("warmgate.gateway").info("started")
    assert stderr.getvalue().endswith(" INFO    warmgate.gateway: started\n")


@pytest.mark.parametrize(("level", "shown"), [("debug", "dEWX"), ("info", "E"), ("error", "E")])
def test_the_childs_lines_have_their_own_levels_and_only_its_errors_are_shown_unless_one_debugs(
    monkeypatch: pytest.MonkeyPatch, level: str, shown: str
) -> None:
    stderr = set_up(monkeypatch, log_level=level)
    child = ChildLog()
    child.add("0.01.515.586 D d")
    child.add("0.01.515.586 E E")
    child.add("0.01.515.586 W W")
    child.add("X")
    assert "".join(line[-1] for line in stderr.getvalue().splitlines()) == shown


# -- what may not be in it


@pytest.mark.parametrize("formatter", [JsonLines(content=False), Lines("%(message)s", content=False)])
def test_of_an_exception_its_words_are_left_out(formatter: logging.Formatter) -> None:
    written = formatter.format(entry("a bug", error=raised(SECRET)))
    assert SECRET not in written
    assert "in raised" in written
    assert "KeyError" in written
    assert "ValueError" in written


@pytest.mark.parametrize("formatter", [JsonLines(content=True), Lines("%(message)s", content=True)])
def test_unless_content_may_be_logged(formatter: logging.Formatter) -> None:
    assert f"ValueError: cannot read {SECRET}" in formatter.format(entry("a bug", error=raised(SECRET)))


@pytest.mark.parametrize(
    ("line", "left"),
    [
        ("0.01.515.586 E srv  send_error: task id = 3, error: ", "said"),
        ("0.01.515.586 E slot update_slots: id 0 | got exception: ", "said"),
        ("0.01.515.586 W slot update_slots: id 0 | old: ... ", "said | more"),
        ("0.01.515.586 W slot update_slots: id 0 | new: ... ", "said | more"),
        ("0.01.515.586 E common_sampler_init: error initializing grammar sampler for grammar:", ""),
    ],
)
def test_what_the_child_quotes_is_cut_off_with_the_lines_that_go_on_with_it(
    caplog: pytest.LogCaptureFixture, line: str, left: str
) -> None:
    logger = logging.getLogger(CHILD)
    logger.addFilter(WithoutContent())
    caplog.set_level(logging.DEBUG, CHILD)
    child = ChildLog()
    for written in (line + left, "said, too", "", "0.01.515.587 I srv  next", "goes on"):
        child.add(written)
    assert caplog.messages == [line + CUT, "0.01.515.587 I srv  next", "goes on"]


def test_with_the_debug_switch_nothing_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    stderr = set_up(monkeypatch, log_content=True)
    ChildLog().add("0.01.515.586 E srv  send_error: task id = 3, error: said")
    assert stderr.getvalue().endswith("error: said\n")
