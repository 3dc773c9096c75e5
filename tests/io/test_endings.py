import errno
import os
import signal

import pytest

from bcq_exp.io.endings import STOPPED, in_one_line, mistakes_in_one_line, refuse_pickles


@pytest.fixture(autouse=True)
def _raise_logging_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("logging.raiseExceptions", True)


def test_a_signal_ends_in_the_code_that_says_try_again(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as raised, in_one_line("give resume=DIR"):
        os.kill(os.getpid(), signal.SIGTERM)
    assert raised.value.code == STOPPED == os.EX_TEMPFAIL
    assert capsys.readouterr().err == "stopped by SIGTERM; to go on, give resume=DIR\n"


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (errno.ENOSPC, "error: no space left on device while writing a/b; free some and give the same command again"),
        (errno.EDQUOT, "error: disk quota exceeded while writing a/b; free some and give the same command again"),
        (errno.EROFS, "error: a/b: read-only file system; make it writable, or choose another directory"),
        (errno.EACCES, "error: a/b: permission denied; make it writable, or choose another directory"),
    ],
)
def test_a_disk_that_refuses_is_one_line_and_code_1(number: int, said: str):
    with pytest.raises(SystemExit) as raised, in_one_line():
        raise OSError(number, "", "a/b")
    assert raised.value.code == said  # which Python prints, and ends with 1


def test_other_errors_stay_what_they_are():
    with pytest.raises(FileNotFoundError), in_one_line():
        raise FileNotFoundError(errno.ENOENT, "", "a/b")
    with pytest.raises(KeyError), in_one_line():
        raise KeyError


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ValueError("seed=x is no number"), "error: seed=x is no number"),
        (FileNotFoundError("a.h5: no such file"), "error: a.h5: no such file"),
        (
            OSError(errno.ENOENT, "No such file or directory", "a/b"),
            "error: [Errno 2] No such file or directory: 'a/b'",
        ),
        (OSError(errno.EROFS, "", "a/b"), "error: a/b: read-only file system; make it writable, or choose another"),
        (KeyError("algorithm"), "error: 'algorithm'"),
    ],
)
def test_a_mistake_is_one_line_and_code_1(error: Exception, said: str):
    with pytest.raises(SystemExit) as raised, mistakes_in_one_line(KeyError):
        raise error
    assert str(raised.value.code).startswith(said)


def test_what_is_no_mistake_stays_an_error():
    with pytest.raises(RuntimeError), mistakes_in_one_line(KeyError):
        raise RuntimeError


def test_hydra_is_not_asked_for_a_pickle():
    refuse_pickles(["--config-dir", "mine", "seed=1"])
    for words in (["--experimental-rerun", "a.pkl"], ["seed=1", "--experimental-rerun=a.pkl"]):
        with pytest.raises(SystemExit, match="loads a pickle, which can execute code"):
            refuse_pickles(words)
