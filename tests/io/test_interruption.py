import os
import signal
import threading
from collections.abc import Iterator

import pytest

from bcq_exp.io.interruption import SIGNALS, Interrupted, not_of_the_keyboard, watching


@pytest.fixture(autouse=True)
def _handlers() -> Iterator[None]:
    before = {signum: signal.getsignal(signum) for signum in SIGNALS}
    yield
    for signum, handler in before.items():
        assert signal.getsignal(signum) is handler
        signal.signal(signum, handler)


def send(signum: int) -> None:
    os.kill(os.getpid(), signum)


@pytest.mark.parametrize("signum", SIGNALS)
def test_a_signal_ends_the_block_at_once_where_nothing_would_be_lost(signum: signal.Signals):
    reached = []

    def work() -> None:
        with watching():
            send(signum)
            reached.append(signum)

    with pytest.raises(Interrupted, match=f"^stopped by {signum.name}$") as raised:
        work()
    assert (reached, raised.value.signum) == ([], signum)


def test_a_signal_waits_for_what_must_be_saved_and_ends_the_block_at_its_end():
    seen = []

    def work() -> None:
        with watching(lambda: False) as watch:
            seen.append(watch.is_over())
            send(signal.SIGTERM)
            seen.append(watch.is_over())

    with pytest.raises(Interrupted):
        work()
    assert seen == [False, True]


def test_a_second_signal_ends_the_process():
    pid = os.fork()
    if pid == 0:
        with watching(lambda: False):
            send(signal.SIGTERM)
            send(signal.SIGHUP)
            os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGHUP


def test_an_error_of_the_block_stands_before_the_signal():
    def work() -> None:
        with watching(lambda: False):
            send(signal.SIGTERM)
            raise KeyError

    with pytest.raises(KeyError):
        work()


def test_inner_watches_answer_first():
    seen = []

    def inner() -> None:
        with watching(lambda: False):
            send(signal.SIGHUP)

    def outer() -> None:
        with watching() as watch:
            with pytest.raises(Interrupted):
                inner()
            seen.append(watch.is_over())
            send(signal.SIGHUP)

    with pytest.raises(Interrupted):
        outer()
    assert seen == [False]


def test_ignored_signals_stay_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup has it
    with watching():
        send(signal.SIGHUP)
    assert signal.signal(signal.SIGHUP, before) == signal.SIG_IGN


def test_other_threads_watch_for_nothing():
    found = []

    def work() -> None:
        with watching() as watch:
            found.append(watch.handlers)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [{}]


def test_processes_of_the_block_get_no_interrupt_from_the_keyboard():
    with not_of_the_keyboard():
        pid = os.fork()
        if pid == 0:
            os.kill(os.getpid(), signal.SIGINT)
            os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, set())
