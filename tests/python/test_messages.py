"""What users see of `tell`, and how a program silences or gathers it."""

import logging
import threading

import pytest

from isthmus import messages
from isthmus.errors import ConvergenceWarning, InputError, MissingDependencyError


@pytest.fixture
def tell_bare(monkeypatch):
    """`tell` in a program that has not set up logging (pytest puts handlers on the root logger for each test's run)."""

    def tell(text: str) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(logging.getLogger(), "handlers", [])
            messages.tell(text)

    return tell


def test_a_message_is_shown_on_stderr_by_default(tell_bare, capsys):
    tell_bare("`size_factors`: none.")
    assert capsys.readouterr() == ("", "`size_factors`: none.\n")


def test_the_usual_logging_calls_silence_it(tell_bare, capsys):
    logger = logging.getLogger("isthmus")
    before = logger.level
    try:
        logger.setLevel(logging.WARNING)
        tell_bare("not shown")
    finally:
        logger.setLevel(before)
    assert capsys.readouterr().err == ""


def test_a_program_with_its_own_handlers_sees_each_message_once(caplog, capsys):
    with caplog.at_level(logging.INFO, logger="isthmus"):
        messages.tell("once")
    assert [record.message for record in caplog.records] == ["once"]
    assert capsys.readouterr().err == ""


def test_collected_gathers_in_order_and_shows_nothing(tell_bare, capsys):
    with messages.collected() as texts:
        tell_bare("first")
        tell_bare("second")
    assert texts == ["first", "second"]
    assert capsys.readouterr().err == ""


def test_collected_blocks_nest():
    with messages.collected() as outer:
        messages.tell("a")
        with messages.collected() as inner:
            messages.tell("b")
        messages.tell("c")
    assert (outer, inner) == (["a", "c"], ["b"])


def test_collected_ends_with_its_block_even_after_an_error(caplog):
    with pytest.raises(ZeroDivisionError, match="division"), messages.collected() as texts:
        _ = 1 / 0
    with caplog.at_level(logging.INFO, logger="isthmus"):
        messages.tell("outside")
    assert texts == []
    assert "outside" in caplog.text


def test_another_thread_does_not_write_into_a_block(caplog):
    with caplog.at_level(logging.INFO, logger="isthmus"), messages.collected() as texts:
        thread = threading.Thread(target=messages.tell, args=("from a thread",))
        thread.start()
        thread.join()
    assert texts == []
    assert "from a thread" in caplog.text


def test_error_classes_are_those_that_callers_catch():
    assert issubclass(InputError, ValueError)
    assert issubclass(MissingDependencyError, ImportError)
    assert issubclass(ConvergenceWarning, UserWarning)
