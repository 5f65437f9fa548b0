"""One thread makes, another uses: order, errors, bounds, and nothing that stays behind."""

from __future__ import annotations

import threading
import time
from collections.abc import Generator
from contextlib import closing

import pytest

from dsp_airflow.engine.ahead import ahead

Made = Generator[bytes, None, None]


def running() -> list[str]:
    return [t.name for t in threading.enumerate() if t.name == "dsp-ahead"]


@pytest.fixture(autouse=True)
def _none_stays() -> Generator[None, None, None]:
    yield
    assert running() == []


class Maker:
    """Makes items of some bytes, and knows how far it came."""

    def __init__(self, count: int, size: int = 1) -> None:
        self.count = count
        self.size = size
        self.made = 0
        self.closed = False
        self.thread = ""

    def items(self) -> Made:
        self.thread = threading.current_thread().name
        try:
            for n in range(self.count):
                self.made += 1
                yield n.to_bytes(max(2, self.size), "big")
        finally:
            self.closed = True


def settled(maker: Maker) -> int:
    """How many it has made once it makes no more."""
    before = -1
    while before != maker.made:
        before = maker.made
        time.sleep(0.1)
    return before


def test_all_items_in_their_order() -> None:
    maker = Maker(1_000)
    found = [int.from_bytes(item, "big") for item in ahead(maker.items(), len, 50)]
    assert found == list(range(1_000))
    assert (maker.closed, maker.thread) == (True, "dsp-ahead")


def test_none() -> None:
    assert list(ahead(Maker(0).items(), len, 50)) == []


def test_it_is_bounded_by_bytes() -> None:
    maker = Maker(100, size=10)
    with closing(ahead(maker.items(), len, 50)) as items:
        next(items)
        # One was taken, five wait, and one more is made already.
        assert settled(maker) == 7
        next(items)
        assert settled(maker) == 8


def test_what_is_larger_than_the_bound_comes_alone() -> None:
    maker = Maker(10, size=1_000)
    with closing(ahead(maker.items(), len, 50)) as items:
        next(items)
        assert settled(maker) == 3
    assert len(list(ahead(Maker(10, size=1_000).items(), len, 50))) == 10


def test_an_error_of_the_maker_comes_out_at_once() -> None:
    class Odd(Exception):
        pass

    odd = Odd("as it is")

    def items() -> Made:
        yield b"first"
        yield b"second"
        raise odd

    with pytest.raises(Odd) as caught:
        list(ahead(items(), len, 50))
    assert caught.value is odd


def test_an_error_of_the_user_ends_the_maker() -> None:
    maker = Maker(1_000)

    def use() -> None:
        with closing(ahead(maker.items(), len, 50)) as items:
            for n, _ in enumerate(items):
                1 // (3 - n)

    with pytest.raises(ZeroDivisionError):
        use()
    assert maker.closed
    assert maker.made < 100


def test_who_leaves_before_the_first_starts_nothing() -> None:
    maker = Maker(10)
    ahead(maker.items(), len, 50).close()
    assert maker.made == 0


def test_a_maker_that_waits_is_woken() -> None:
    woken, calls = threading.Event(), []

    def items() -> Made:
        yield b"first"
        assert woken.wait(30)
        raise OSError("was cancelled")

    def cancel() -> None:
        calls.append(1)
        # The first comes too early to be heard.
        if len(calls) == 2:
            woken.set()

    began = time.monotonic()
    with closing(ahead(items(), len, 50, cancel)) as found:
        assert next(found) == b"first"
    assert len(calls) >= 2
    assert time.monotonic() - began < 10


def test_nobody_is_cancelled_who_has_ended() -> None:
    def cancel() -> None:
        raise AssertionError("there was nothing to cancel")

    for count in (0, 1, 500):
        assert len(list(ahead(Maker(count).items(), len, 50, cancel))) == count
