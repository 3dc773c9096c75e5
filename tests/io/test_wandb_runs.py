from pathlib import Path

import pytest

from bcq_exp.io.wandb_runs import STEPS, read_runs
from trained import write_run
from uploaded import upload
from wandb_server import ENTITY, WandbServer


def test_a_long_run_is_read_whole(wandb_server: WandbServer, tmp_path: Path):
    """W&B's `history()` would give 500 rows; here are more, and more updates than one request asks for."""
    returns = [float(number) for number in range(700)]
    write_run(tmp_path / "a", algorithm="bcq", seed=0, returns=returns)
    upload(wandb_server, tmp_path, group="g")
    (run,) = read_runs(ENTITY, "bcq_exp", ["g"])
    assert run.evaluations == [(10 * number, value) for number, value in enumerate(returns, 1)]
    assert (run.path, run.name, run.state, run.group) == (f"{ENTITY}/bcq_exp/a", "shown a", "finished", "g")
    assert wandb_server.unknown == []


def test_updates_are_asked_for_in_long_pages(wandb_server: WandbServer, tmp_path: Path):
    """The client's own pages are of 1,000 updates: of a run of a million, as many requests."""
    write_run(tmp_path / "a", algorithm="bcq", seed=0, returns=[1.0] * (STEPS // 10 + 1))
    upload(wandb_server, tmp_path, group="g")
    assert len(read_runs(ENTITY, "bcq_exp", ["g"])[0].evaluations) == STEPS // 10 + 1
    assert wandb_server.requests.count("SampledHistoryPage") == 2


@pytest.mark.parametrize(
    ("project", "group", "message"),
    [
        ("bcq_exp", "h", r"no run of stand-in/bcq_exp is in group h; groups of its newest runs: g"),
        ("other", "g", r"there is no project stand-in/other, or this user may not see it"),
    ],
)
def test_a_wrong_name_is_said(wandb_server: WandbServer, tmp_path: Path, project: str, group: str, message: str):
    write_run(tmp_path / "a", algorithm="bcq", seed=0, returns=[1])
    upload(wandb_server, tmp_path, group="g")
    with pytest.raises(ValueError, match=message):
        read_runs(ENTITY, project, [group])


def test_a_server_that_is_down_is_said(wandb_server: WandbServer, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("wandb.Api._HTTP_TIMEOUT", 1)
    wandb_server.fail("refuse")
    with pytest.raises(ValueError, match=r"W&B: reading stand-in/p group=g: .* Is the network up"):
        read_runs(ENTITY, "p", ["g"])


def test_nobody_is_logged_in(wandb_server: WandbServer, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("WANDB_API_KEY")
    with pytest.raises(ValueError, match=r"nobody is logged in; `wandb login` or WANDB_API_KEY logs in"):
        read_runs(ENTITY, "p", ["g"])
    assert wandb_server.requests == []
