"""Ctrl-C in a call from R: a value that R raises again, and every handler back where it was."""

from __future__ import annotations

import signal
import threading

import pytest

from isthmus.bridge.answers import answers
from isthmus.bridge.interrupts import own_interrupts


def interrupt_me() -> None:
    signal.raise_signal(signal.SIGINT)


def test_interrupt_is_an_answer():
    assert answers(interrupt_me)()["interrupted"] is True


def test_answer_of_a_finished_call_says_nothing_of_interrupts():
    assert "interrupted" not in answers(lambda: 1)()


def test_whoever_had_the_signal_before_has_it_again():
    seen = []
    before = signal.signal(signal.SIGINT, lambda *_: seen.append("theirs"))
    try:
        with pytest.raises(KeyboardInterrupt, match=r"^$"), own_interrupts():
            signal.raise_signal(signal.SIGINT)
        assert seen == []
        signal.raise_signal(signal.SIGINT)
        assert seen == ["theirs"]
    finally:
        signal.signal(signal.SIGINT, before)


def test_handler_of_the_process_comes_back():
    """R's own handler is a C function that Python does not know: SIG_IGN stands for it."""
    from isthmus.bridge import interrupts

    of_process = interrupts._get_handler(signal.SIGINT)
    interrupts._set_handler(signal.SIGINT, int(signal.SIG_IGN))
    try:
        with own_interrupts():
            assert interrupts._get_handler(signal.SIGINT) != int(signal.SIG_IGN)
        assert interrupts._get_handler(signal.SIGINT) == int(signal.SIG_IGN)
    finally:
        interrupts._set_handler(signal.SIGINT, of_process)


def test_another_thread_leaves_signals_alone():
    """Only the main thread may set handlers."""
    seen = []

    def work() -> None:
        with own_interrupts():
            seen.append(signal.getsignal(signal.SIGINT))

    before = signal.getsignal(signal.SIGINT)
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [before]
