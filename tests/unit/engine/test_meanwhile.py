"""A digest that is read beside other work: once, in another thread, and never left behind."""

from __future__ import annotations

import threading

import pytest

from dsp_airflow.engine.meanwhile import Meanwhile
from dsp_airflow.engine.model import Digest

FOUND = Digest(3, 7, "md5")


class Reader:
    """Gives the digest when it is let."""

    def __init__(self, error: Exception | None = None) -> None:
        self.threads: list[threading.Thread] = []
        self.let = threading.Event()
        self.error = error

    def __call__(self) -> Digest:
        self.threads.append(threading.current_thread())
        assert self.let.wait(10)
        if self.error:
            raise self.error
        return FOUND


def test_it_is_read_once_beside_other_work() -> None:
    read = Reader()
    with Meanwhile(read) as standing:
        standing.begin()
        standing.begin()
        read.let.set()
        standing.wait()
        assert standing.result() == standing.result() == FOUND
    (thread,) = read.threads
    assert thread is not threading.current_thread()
    assert not thread.is_alive()


def test_who_did_not_begin_reads_it_when_it_is_wanted() -> None:
    read = Reader()
    read.let.set()
    with Meanwhile(read) as standing:
        standing.wait()
        assert read.threads == []
        assert standing.result() == FOUND
    assert read.threads == [threading.current_thread()]


def test_what_reading_raised_comes_out_with_the_result() -> None:
    read = Reader(ZeroDivisionError("of the target"))
    with Meanwhile(read) as standing:
        standing.begin()
        read.let.set()
        standing.wait()
        with pytest.raises(ZeroDivisionError, match="of the target"):
            standing.result()


def test_leaving_waits_for_the_thread() -> None:
    read = Reader()
    threading.Timer(0.2, read.let.set).start()
    with Meanwhile(read) as standing:
        standing.begin()
    (thread,) = read.threads
    assert not thread.is_alive()
