"""Runs as policy files: what is written, what is refused, and that other processes act from the files alone."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from bcq_exp.analysis.trained_runs import load_policy, trained_runs
from bcq_exp.envs.treatment import DOSES, VITALS
from bcq_exp.io.files import read_json, sha256, write_json
from bcq_exp.policy_files import export as exporting
from bcq_exp.policy_files.export import export
from bcq_exp.policy_files.formats.torch import TorchExport
from bcq_exp.policy_files.request import checked_export
from cases import composed

# Loads a file by the lines of its sidecar, acts in given states, and says which packages that took.
ALONE = """
import json, sys
import numpy as np
sidecar = json.load(open(sys.argv[1] + ".json"))
exec("\\n".join(sidecar["usage"]))
assert action.shape == tuple([1] + sidecar["outputs"][0]["shape"][1:])
given = np.load("states.npz")
inputs = [given[port["name"]] for port in sidecar["inputs"]]
if sidecar["format"] == "onnx":
    names = [port["name"] for port in sidecar["inputs"]]
    (action,) = session.run(["action"], dict(zip(names, inputs)))
else:
    action = policy(*map(torch.as_tensor, inputs))[0].numpy()
print(json.dumps([action.tolist(), str(action.dtype), [name for name in ("bcq_exp", "torch") if name in sys.modules]]))
"""


def asked(*words: str):
    return checked_export(composed(*words, config="export"))


def copied(runs: Path, tmp_path: Path, name: str) -> Path:
    return Path(shutil.copytree(runs / name, tmp_path / name))


@pytest.mark.parametrize(("name", "kind", "imported"), [("discrete", "onnx", []), ("bcq", "torch", ["torch"])])
def test_another_process_acts_from_the_file_alone(
    runs: Path, tmp_path: Path, name: str, kind: str, imported: list[str]
):
    pytest.importorskip("onnxruntime")
    run_dir = copied(runs, tmp_path, name)
    done = export(asked(f"run={run_dir}", f"format={kind}"))
    policy = load_policy(*trained_runs(run_dir, "cpu"))
    if policy.explores:
        policy.hp["eval_eps"].fill_(0)
    obs = np.random.default_rng(0).normal(size=(1000, *policy.observation_space.shape)).astype(np.float32)
    policy.seed_acting(0)
    expected = policy.compute_action(obs)
    policy.seed_acting(0)
    noise = {f"noise_{key}": value.numpy() for key, value in policy.draw(1000).items()}
    np.savez(run_dir / "states.npz", obs=obs, **noise)
    command = [sys.executable, "-c", ALONE, done.file.name]
    said = subprocess.run(command, cwd=run_dir, capture_output=True, text=True, timeout=300)
    assert said.returncode == 0, said.stderr
    action, dtype, found = json.loads(said.stdout)
    assert (dtype, found) == (str(expected.dtype), imported)
    differs = np.abs(np.array(action) - expected).reshape(1000, -1).max(axis=1) > 2e-5
    assert differs.sum() <= (0 if name == "discrete" else 5)  # of BCQ's 100 candidates a state, some are equally good


def test_the_sidecar_says_what_goes_in_and_which_run_it_is_of(runs: Path, tmp_path: Path):
    done = export(asked(f"run={runs / 'discrete'}", "format=torch", f"out={tmp_path}/x.pt2"))
    assert (done.file, done.sidecar) == (tmp_path / "x.pt2", tmp_path / "x.pt2.json")
    assert {path.name for path in tmp_path.iterdir()} == {"x.pt2", "x.pt2.json"}
    kept, manifest = read_json(done.sidecar), read_json(runs / "discrete" / "manifest.json")
    assert (kept["file"], kept["format"], kept["sha256"]) == ("x.pt2", "torch", sha256(done.file))
    assert [(port["name"], port["shape"], port["dtype"]) for port in kept["inputs"]] == [
        ("obs", ["batch", 4], "float32")
    ]
    assert "standardised inside" in kept["inputs"][0]["meaning"]
    assert kept["outputs"][0] == {
        "name": "action", "shape": ["batch"], "dtype": "int64", "meaning": "one of the actions 0 to 1",
    }  # fmt: skip
    assert kept["left_out"] == "random actions, which evaluation takes with probability 0.5"
    assert kept["dataset"] == {
        "name": "h5", "sha256": manifest["dataset"]["sha256"], "num_transitions": 400, "num_episodes": 20,
    }  # fmt: skip
    run = kept["run"]
    assert (run["directory"], run["checkpoint"], run["algorithm"]) == ("discrete", "update_00000020", "discrete_bcq")
    assert run["identity"]["config"] == manifest["config"]
    assert run["identity"]["source_sha256"] == manifest["source_sha256"]
    assert kept["agreement"]["num_rows"] == 400
    assert {"torch", "numpy"} <= kept["packages"].keys()


def test_noise_of_a_seed_is_in_the_file(runs: Path, tmp_path: Path):
    done = export(asked(f"run={runs / 'bcq'}", "format=torch", f"out={tmp_path}/x.pt2", "noise_seed=5", "rows=space"))
    kept = read_json(done.sidecar)
    assert ([port["name"] for port in kept["inputs"]], kept["noise_seed"]) == (["obs"], 5)
    policy = load_policy(*trained_runs(runs / "bcq", "cpu"))
    obs = np.float32([[0.5, -0.5, 2.0]])
    policy.seed_acting(5)
    np.testing.assert_allclose(TorchExport.load(done.file)([obs])[0], policy.compute_action(obs), atol=2e-5)


def test_the_same_run_replaces_its_file_and_another_run_does_not(runs: Path, tmp_path: Path):
    out = f"out={tmp_path}/x.pt2"
    longer = copied(runs, tmp_path, "discrete")
    export(asked(f"run={longer}", "format=torch", out))
    before = read_json(tmp_path / "x.pt2.json")
    for path in (".hydra/config.yaml", "manifest.json"):  # as a run that has been trained on
        text = (longer / path).read_text().replace('"num_updates": 20', '"num_updates": 30')
        (longer / path).write_text(text)
    export(asked(f"run={longer}", "format=torch", out))
    assert read_json(tmp_path / "x.pt2.json")["run"]["identity"] != before["run"]["identity"]
    with pytest.raises(
        ValueError, match=r"x\.pt2 is of another run, discrete \(algorithm.name: discrete_bcq before, bcq"
    ):
        export(asked(f"run={runs / 'bcq'}", "format=torch", out))
    (tmp_path / "x.pt2.json").unlink()
    with pytest.raises(ValueError, match=r"x\.pt2 is there and has no x\.pt2\.json, .* give another out=FILE"):
        export(asked(f"run={longer}", "format=torch", out))
    write_json(tmp_path / "x.pt2.json", {"a": 1})
    with pytest.raises(ValueError, match=r"x\.pt2\.json names no run"):
        export(asked(f"run={longer}", "format=torch", out))


def test_a_run_from_before_manifests_said_what_it_is_can_be_exported(runs: Path, tmp_path: Path):
    old = copied(runs, tmp_path, "discrete")
    (old / "manifest.json").unlink()
    words = (f"run={old}", "format=torch", "rows=space")
    done = export(asked(*words))
    kept = read_json(done.sidecar)
    assert (kept["run"]["identity"], kept["dataset"]["sha256"]) == (None, None)
    export(asked(*words))
    write_json(done.sidecar, kept | {"run": kept["run"] | {"seed": 9}})
    with pytest.raises(ValueError, match=r"is of another run, discrete \(seed: 9 before, 0 now\)"):
        export(asked(*words))


def test_a_file_that_acts_otherwise_is_not_left_behind(runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    load = TorchExport.load
    monkeypatch.setattr(TorchExport, "load", lambda path: lambda inputs: [load(path)(inputs)[0] + 1])
    with pytest.raises(ValueError, match="400 of 400 actions are not the policy's: in row 0 the file gives"):
        export(asked(f"run={runs / 'discrete'}", "format=torch", f"out={tmp_path}/x.pt2"))
    assert list(tmp_path.iterdir()) == []


def test_masks_are_an_input_where_the_environment_gives_them(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(exporting, "gives_masks", lambda env: True)
    done = export(asked(f"run={runs / 'discrete'}", "format=torch", f"out={tmp_path}/x.pt2"))
    assert [port["name"] for port in read_json(done.sidecar)["inputs"]] == ["obs", "mask"]
    obs, mask = np.zeros((2, 4), np.float32), np.array([[True, False], [False, True]])
    assert TorchExport.load(done.file)([obs, mask])[0].tolist() == [0, 1]


def test_what_cannot_be_exported_is_named(runs: Path, tmp_path: Path):
    torch_format = ("format=torch", "rows=space")
    with pytest.raises(ValueError, match=r"has 2 runs, and a file holds one policy; name one of them, such as run="):
        export(asked(f"run={runs}", *torch_format, f"out={tmp_path}/x.pt2"))
    with pytest.raises(ValueError, match="noise_seed=3: algorithm=discrete_bcq acts without random numbers; drop it"):
        export(asked(f"run={runs / 'discrete'}", *torch_format, "noise_seed=3"))
    with pytest.raises(ValueError, match="nowhere: there is no such directory"):
        export(asked(f"run={tmp_path}/nowhere", *torch_format))
    bare = copied(runs, tmp_path, "discrete")
    config = bare / ".hydra" / "config.yaml"
    config.write_text(config.read_text().replace("discrete.h5", "gone.h5"))
    with pytest.raises(ValueError, match=r"gone\.h5: no such file; give rows=space to compare without the dataset"):
        export(asked(f"run={bare}", "format=torch"))
    assert export(asked(f"run={bare}", *torch_format)).agreement.num_rows == 1000
    shutil.rmtree(bare / "checkpoints")
    with pytest.raises(ValueError, match="has no checkpoint, so there is no policy in it"):
        export(asked(f"run={bare}", *torch_format))


def test_a_policy_without_environment_takes_the_masks_of_its_data(doses: Path, tmp_path: Path):
    done = export(asked(f"run={doses / 'one'}", "format=torch", f"out={tmp_path}/x.pt2"))
    kept = read_json(done.sidecar)
    assert [(port["name"], port["shape"]) for port in kept["inputs"]] == [
        ("obs", ["batch", 6]),
        ("mask", ["batch", 25]),
    ]
    assert (kept["environment"], kept["choice"]) == (None, None)
    assert kept["dataset"]["obs_names"] == list(VITALS)
    assert kept["dataset"]["action_names"] == list(DOSES)
    mask = np.zeros((25, 25), bool)
    np.fill_diagonal(mask, True)
    assert TorchExport.load(done.file)([np.zeros((25, 6), np.float32), mask])[0].tolist() == list(range(25))
    words = (f"run={doses / 'one'}", "format=torch", f"out={tmp_path}/y.pt2")
    with pytest.raises(
        ValueError, match=r"rows=space: .* only the dataset tells whether actions are masked; give rows="
    ):
        export(asked(*words, "rows=space"))
    bare = copied(doses, tmp_path, "one")
    config = bare / ".hydra" / "config.yaml"
    config.write_text(config.read_text().replace("log.csv", "gone.csv"))
    with pytest.raises(ValueError, match=r"gone\.csv: no such file; without an environment it is needed"):
        export(asked(f"run={bare}", "format=torch"))


def test_of_a_sweep_the_chosen_run_is_exported(doses: Path, tmp_path: Path):
    sweep = Path(shutil.copytree(doses, tmp_path / "sweep"))
    words = (f"run={sweep}", "format=torch")
    with pytest.raises(
        ValueError, match=r"has 2 runs, .* or choose first: bcq-evaluate run=.*sweep ope=fqe select=tru"
    ):
        export(asked(*words))
    chosen = {"setting": "a", "run": "two", "checkpoint": "update_00000020"}
    row = {"run": "two", "estimates": {"fqe": {"value": 0.5, "low": 0.4, "high": 0.6}}}
    kept = {"chosen": chosen, "decided_by": "fqe", "judged_on": "held-out episodes", "settings": [{"runs": [row]}]}
    write_json(sweep / "selection.json", kept)
    done = export(asked(*words))
    assert (done.file, done.run.directory) == (sweep / "policy.pt2", sweep / "two")
    sidecar = read_json(done.sidecar)
    assert sidecar["run"]["directory"] == "two"
    assert sidecar["choice"] == {
        "setting": "a", "decided_by": "fqe", "estimate": row["estimates"]["fqe"], "part": "held-out episodes",
    }  # fmt: skip
    write_json(sweep / "selection.json", kept | {"chosen": chosen | {"checkpoint": "update_00000010"}})
    with pytest.raises(ValueError, match=r"judged update_00000010 of .*two, whose last checkpoint is update_00000020"):
        export(asked(*words))
