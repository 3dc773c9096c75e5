import argparse
import json
from pathlib import Path

import pytest

pytest.importorskip("wandb_workspaces")

from bcq_exp.dashboards import report, workspace
from uploaded import upload
from wandb_server import ENTITY, WandbServer

KINDS = {"project-view": workspace, "runs": report}


def run(command: object, *words: object) -> int:
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return command.run(parser.parse_args([*map(str, words)]))


@pytest.mark.parametrize("kind", KINDS)
def test_a_dashboard_is_saved_once_and_updated_after(wandb_server: WandbServer, sweep: Path, kind: str,
                                                     capsys: pytest.CaptureFixture[str]):  # fmt: skip
    upload(wandb_server, sweep, group="sweep")
    command = KINDS[kind]
    for baseline in ("dqn", "discrete_bcq"):
        assert run(command, sweep, "--baseline", baseline) == 0
    (view,) = wandb_server.views.values()
    assert (view["type"], view["projectName"], view["entityName"]) == (kind, "bcq_exp", ENTITY)
    (kept,) = json.loads((sweep / command.FILE).read_text()).values()
    url = kept["urls"][ENTITY]
    assert capsys.readouterr().out.count(f":  {url}\n") == 2
    assert url.startswith(f"{wandb_server.address}/{ENTITY}/bcq_exp")
    said = json.loads(view["spec"])
    if kind == "runs":
        texts = [block["children"][0].get("text") for block in said["blocks"]]
        assert any(text and text.startswith("Baseline: discrete_bcq unlikely_action_threshold=0.3.") for text in texts)
        grids = [block["metadata"]["runSets"] for block in said["blocks"] if block["type"] == "panel-grid"]
        assert [[runs["project"]["name"] for runs in grid] for grid in grids] == [["bcq_exp"]] * 6
    else:
        sections = [each["name"] for each in said["section"]["panelBankConfig"]["sections"]]
        written = [each["name"] for each in kept["spec"]["section"]["panelBankConfig"]["sections"]]
        assert sections == written
    assert wandb_server.unknown == []


@pytest.mark.parametrize("kind", KINDS)
def test_without_a_login_the_specification_is_written(wandb_server: WandbServer, sweep: Path, kind: str,
                                                      monkeypatch: pytest.MonkeyPatch,
                                                      capsys: pytest.CaptureFixture[str]):  # fmt: skip
    monkeypatch.delenv("WANDB_API_KEY")
    assert run(KINDS[kind], sweep) == 0
    path = sweep / KINDS[kind].FILE
    assert capsys.readouterr().out == (
        f"specification:  {path}\n"
        "not in W&B yet: nobody is logged in; after `wandb login` the same command saves it there\n"
    )
    (kept,) = json.loads(path.read_text()).values()
    assert kept["urls"] == {}
    assert "final_return" in json.dumps(kept["spec"])
    assert wandb_server.requests == []


def test_a_dashboard_that_was_removed_is_said(wandb_server: WandbServer, sweep: Path):
    upload(wandb_server, sweep, group="sweep")
    run(workspace, sweep)
    wandb_server.views.clear()
    with pytest.raises(
        ValueError, match="where sweep: cartpole-noisy was saved; remove the specification to save it anew"
    ):
        run(workspace, sweep)


def test_a_group_of_others_has_a_dashboard(wandb_server: WandbServer, sweep: Path, tmp_path: Path,
                                           monkeypatch: pytest.MonkeyPatch):  # fmt: skip
    upload(wandb_server, sweep, group="theirs")
    monkeypatch.chdir(tmp_path)
    run(workspace, "--group", "theirs", "--entity", ENTITY, "--project", "bcq_exp")
    assert Path(f"outputs/wandb/{ENTITY}-bcq_exp-theirs/{workspace.FILE}").exists()
    assert [view["displayName"] for view in wandb_server.views.values()] == ["theirs: cartpole-noisy"]
