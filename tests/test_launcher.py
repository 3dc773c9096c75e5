"""Sweeps as their user runs them: real processes, and the composition that makes them quick to start."""

import csv
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hydra.errors import ConfigCompositionException
from hydra.types import HydraContext, RunMode
from omegaconf import OmegaConf, open_dict
from safetensors.torch import load_file

from bcq_exp.io.files import read_json
from bcq_exp.training.directories import Kept
from hydra_plugins.bcq_exp_composition import Composer

QUICK = ["logger=csv", "num_updates=60", "eval_freq=30", "eval_episodes=2", "log_freq=20", "batch_size=16",
         "network.hidden_sizes=[16]"]  # fmt: skip


def sweep(cwd: Path, *arguments: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "bcq_exp.train", "-m", *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=300)


def on_file(path: Path) -> list[str]:
    return ["dataset=h5", f"dataset.path={path}", "dataset.env=CartPole-v1"]


def summaries(directory: Path) -> list[dict]:
    return [read_json(path) for path in sorted(directory.rglob("summary.json"))]


@pytest.mark.parametrize(
    "overrides",
    [
        ["seed=3"],
        ["algorithm=dqn", "algorithm.gamma=0.9", "seed=1"],
        ["experiment=main/discrete_bcq", "algorithm.target_update_freq=7"],
        ["algorithm=iql", "algorithm.optimizers.policy.lr=1e-4", "algorithm.optimizers.value.betas=[0.5,0.9]"],
        [
            "dataset=pendulum-noisy",
            "algorithm=bcq",
            "network.vae_hidden_sizes=[8,8]",
            "logger=wandb",
            "logger.tags=[a,b]",
        ],
        ["logger=wandb", "logger.group=${algorithm.name}-${seed}", "seed=2"],
        ["+note=hello", "seed=1"],
        ["++seed=4", "++note={a: 1}"],
        ["logger=wandb", "~logger.tags", "seed=5"],
        ["seed=1", "++seed=2"],
        ["dataset.noise.high=0.5", "optimizer=adamw", "optimizer.lr=1e-4"],
        ["logger=wandb", "logger.group='with spaces, and = signs'"],
        ["algorithm.reward_normalization=true", "logger=wandb", "logger.group=null"],
    ],
)
def test_the_quick_composition_equals_hydras_own(hydra_context: HydraContext, overrides: list[str]):
    master = hydra_context.config_loader.load_configuration("config", ["seed=0,1"], RunMode.MULTIRUN)
    composer = Composer(hydra_context, master)
    for _ in range(2):  # the second time from what the first has kept
        assert_equals_hydras_own(composer, overrides)
    with pytest.raises(ConfigCompositionException):
        composer.compose([*overrides, "algorithm.nothing=1"], 0)  # as closed to new keys as Hydra's


def assert_equals_hydras_own(composer: Composer, overrides: list[str]) -> None:
    quick, own = composer.compose(overrides, 7), composer.loader.load_sweep_config(composer.master, overrides)
    with open_dict(own):
        own.hydra.job.num, own.hydra.job.id = 7, f"{own.hydra.job.name}_7"
        run_dir = (Path(own.hydra.sweep.dir) / own.hydra.sweep.subdir).absolute()
        own.hydra.runtime.output_dir = str(run_dir)
        hydra = own.pop("hydra")
    assert (quick.task, quick.run_dir) == (OmegaConf.to_container(own, resolve=True), run_dir)
    assert quick.hydra == OmegaConf.to_container(hydra, enum_to_str=True)


def test_a_job_is_not_changed_by_those_before_it(hydra_context: HydraContext):
    master = hydra_context.config_loader.load_configuration("config", ["seed=0,1"], RunMode.MULTIRUN)
    composer = Composer(hydra_context, master)
    jobs = [("[8]", "null", "null", "a"), ("[8,8,8]", "5", "[-1,1]", "${algorithm.name}-${seed}"),
            ("[16]", "null", "null", "null"), ("[8]", "7", "[0,1]", "b")]  # fmt: skip
    keys = ("network.hidden_sizes", "algorithm.num_quantiles", "dataset.reward_clip", "logger.group")
    for words in jobs:
        typed = [f"{key}={word}" for key, word in zip(keys, words, strict=True)]
        assert_equals_hydras_own(composer, ["logger=wandb", *typed])
    for noise in ("{high: 0.5}", "{low: 0.1}"):  # merged with what is there
        assert_equals_hydras_own(composer, [f"dataset.noise={noise}"])
    for seeds in ([1, 2], [3, 2]):  # of a key that is set twice the later value counts
        assert_equals_hydras_own(composer, [f"seed={seed}" for seed in seeds])


def test_a_value_that_does_not_fit_leaves_no_trace(hydra_context: HydraContext):
    master = hydra_context.config_loader.load_configuration("config", ["seed=0,1"], RunMode.MULTIRUN)
    composer = Composer(hydra_context, master)
    keys = ("algorithm=dqn", "algorithm.gamma={}", "algorithm.lmbda=0.1", "seed=1")
    for gamma in (0.5, 0.6):
        with pytest.raises(ConfigCompositionException, match=r"Could not override 'algorithm.lmbda'"):
            composer.compose([key.format(gamma) for key in keys], 0)
    assert_equals_hydras_own(composer, ["algorithm=dqn", "algorithm.gamma=0.7", "seed=1"])


def test_a_sweep_is_composed_once_for_each_set_of_group_choices(
    hydra_context: HydraContext, monkeypatch: pytest.MonkeyPatch
):
    loader, composed = hydra_context.config_loader, []
    master = loader.load_configuration("config", ["seed=0,1"], RunMode.MULTIRUN)
    own = loader.load_sweep_config
    monkeypatch.setattr(loader, "load_sweep_config", lambda master, words: composed.append(words) or own(master, words))
    composer = Composer(hydra_context, master)
    for number in range(60):
        words = [f"algorithm={('dqn', 'discrete_bcq')[number % 2]}", f"seed={number}", f"algorithm.gamma=0.{number}"]
        assert composer.compose(words, number).task["seed"] == number
    assert composed == [["algorithm=dqn"], ["algorithm=discrete_bcq"]]


def test_what_is_written_reads_as_what_was_composed(hydra_context: HydraContext, tmp_path: Path):
    master = hydra_context.config_loader.load_configuration("config", ["seed=0,1"], RunMode.MULTIRUN)
    master.hydra.sweep.dir = str(tmp_path)
    typed = ["seed=1", "optimizer.lr=1e-5", "logger=wandb", "logger.group='1e3'"]
    made = Composer(hydra_context, master).compose(typed, 3)
    Kept(made.task, made.hydra["overrides"]["task"], made.hydra).write(made.run_dir)
    assert OmegaConf.load(made.run_dir / ".hydra" / "config.yaml") == made.task
    written = OmegaConf.load(made.run_dir / ".hydra" / "hydra.yaml").hydra
    assert OmegaConf.to_container(written) == made.hydra
    assert (written.job.num, written.runtime.output_dir) == (3, str(made.run_dir))
    assert made.run_dir.parent == tmp_path
    assert made.run_dir.name.startswith("discrete_bcq-cartpole-noisy-seed1-")
    assert OmegaConf.load(made.run_dir / ".hydra" / "overrides.yaml") == typed


def test_a_sweep_trains_what_can_be_together_and_leaves_each_run_its_directory(tmp_path: Path, discrete_file: Path):
    done = sweep(tmp_path, *QUICK, *on_file(discrete_file), "algorithm=discrete_bcq,dqn", "algorithm.gamma=0.9,0.99",
                 "seed=range(2)", "hydra.sweep.dir=sweep")  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = summaries(tmp_path / "sweep")
    assert len(found) == 8
    assert {summary["num_members"] for summary in found} == {4}
    directories = [path.parent for path in (tmp_path / "sweep").rglob("summary.json")]
    for directory in directories:
        overrides = OmegaConf.load(directory / ".hydra" / "overrides.yaml")
        config = OmegaConf.load(directory / ".hydra" / "config.yaml")
        summary = read_json(directory / "summary.json")
        assert f"seed={config.seed}" in overrides
        assert f"algorithm.gamma={config.algorithm.gamma}" in overrides
        assert (summary["seed"], summary["algorithm"]) == (config.seed, config.algorithm.name)
        assert (directory / ".hydra" / "hydra.yaml").exists()
        assert (directory / "metrics.csv").exists()
    with (tmp_path / "sweep" / "sweep.csv").open(newline="") as file:
        returns = [float(row["final_return"]) for row in csv.DictReader(file)]
    assert len(returns) == 8
    assert returns == sorted(returns, reverse=True)

    again = sweep(tmp_path, *QUICK, *on_file(discrete_file), "algorithm=discrete_bcq,dqn", "algorithm.gamma=0.9,0.99",
                  "seed=range(2)", "hydra.sweep.dir=sweep")  # fmt: skip
    assert again.returncode == 0, again.stderr
    assert again.stderr.count("has ended before") == 2
    alone = subprocess.run(
        [sys.executable, "-m", "bcq_exp.train", *OmegaConf.load(directories[0] / ".hydra" / "overrides.yaml"),
         "hydra.run.dir=alone"], cwd=tmp_path, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert alone.returncode == 0, alone.stderr
    ours, theirs = (weights(directory) for directory in (tmp_path / "alone", directories[0]))
    assert all(
        (ours[name] - theirs[name]).abs().max() < 1e-4 for name in ours if name.startswith("learner/policy/module/nets")
    )


def weights(run_dir: Path) -> dict:
    return load_file(sorted((run_dir / "checkpoints").iterdir())[-1] / "tensors.safetensors")


def test_a_killed_sweep_goes_on_by_the_same_command_to_the_same_weights(tmp_path: Path, discrete_file: Path):
    typed = [*QUICK, *on_file(discrete_file), "num_updates=300", "checkpoint_freq=20", "eval_freq=100",
             "algorithm=bc_discrete,discrete_bcq", "seed=0,1,2"]  # fmt: skip
    assert sweep(tmp_path, *typed, "hydra.sweep.dir=whole").returncode == 0
    command = [sys.executable, "-m", "bcq_exp.train", "-m", *typed, "hydra.sweep.dir=killed"]
    process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    begun = (tmp_path / "killed").glob
    while len(list(begun("discrete_bcq-*/checkpoints/update_*"))) < 4 and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert len(summaries(tmp_path / "killed")) == 3  # the first group had ended, the second had not

    resumed = sweep(tmp_path, *typed, "hydra.sweep.dir=killed")
    assert resumed.returncode == 0, resumed.stderr
    assert resumed.stderr.count("has ended before") == 1
    assert "from update_" in resumed.stderr
    runs = sorted(path.parent.name for path in (tmp_path / "whole").rglob("summary.json"))
    assert len(runs) == 6
    for run in runs:
        whole, killed = weights(tmp_path / "whole" / run), weights(tmp_path / "killed" / run)
        assert whole.keys() == killed.keys()
        assert all(whole[name].equal(killed[name]) for name in whole)
        metrics = [(tmp_path / kind / run / "metrics.csv").read_text() for kind in ("whole", "killed")]
        assert metrics[0] == metrics[1]

    refused = sweep(tmp_path, *typed, "hydra.sweep.dir=killed", "algorithm.eval_eps=0.5")
    assert refused.returncode == 1
    assert "algorithm.eval_eps: 0.001 before, 0.5 now" in refused.stderr
    anew = sweep(tmp_path, *typed, "hydra.sweep.dir=killed", "algorithm.eval_eps=0.5", "resume=false")
    assert anew.returncode == 0, anew.stderr
    assert (tmp_path / "killed-aside" / "sweep.json").exists()


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["algorithm=discrete_bcq,dqn", "algorithm.threshold=0.1,0.2"],
         ["algorithm=dqn has no such key; its keys: ",
          "algorithm=discrete_bcq has no such key; nearest: unlikely_action_threshold"]),
        (["algorithm=iql,ddpg", "dataset=pendulum-noisy", "algorithm.optimizers.policy.lr=1e-4"],
         ["algorithm.optimizers.policy.lr: algorithm=ddpg has no such role; its roles: critic, actor"]),
        (["algorithm=dqn,discrete_bcq", "algorithm.kappa=1"], ["algorithm=dqn has no such key", "discrete_bcq has no"]),
        (["algorithm=discrete_bcq,bcq"], ["algorithm=bcq is for continuous actions"]),
        (["seed=0,1", "algorithm.gamma=2"], ["algorithm.gamma=2.0 is outside [0, 1]"]),
        (["seed=0,1", "dataset=h5", "dataset.path=nowhere.h5", "dataset.env=CartPole-v1"], ["nowhere.h5"]),
    ],
)  # fmt: skip
def test_what_is_wrong_with_any_job_is_said_before_any_has_started(
    tmp_path: Path, overrides: list[str], said: list[str]
):
    done = sweep(tmp_path, *QUICK, *overrides)
    assert done.returncode == 1
    for words in said:
        assert done.stderr.count(words) == 1, done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_key_that_the_default_choice_lacks_may_stand_beside_a_sweep_over_choices(
    tmp_path: Path, continuous_file: Path
):
    data = ["dataset=h5", f"dataset.path={continuous_file}", "dataset.env=Pendulum-v1"]
    done = sweep(tmp_path, *QUICK, *data, "algorithm=bcq,awac", "algorithm.lmbda=0.5", "hydra.sweep.dir=sweep")
    assert done.returncode == 0, done.stderr
    found = {summary["algorithm"]: summary["overrides"] for summary in summaries(tmp_path / "sweep")}
    assert found.keys() == {"bcq", "awac"}
    assert all("algorithm.lmbda=0.5" in overrides for overrides in found.values())


def test_hydras_own_launcher_and_sweeper_serve_too(tmp_path: Path, discrete_file: Path):
    done = sweep(tmp_path, *QUICK, *on_file(discrete_file), "algorithm.unlikely_action_threshold=0.1,0.3", "seed=0,1",
                 "hydra/launcher=basic", "hydra/sweeper=basic", "hydra.sweep.dir=sweep")  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = summaries(tmp_path / "sweep")
    assert sorted(summary["seed"] for summary in found) == [0, 0, 1, 1]
    assert {summary["num_members"] for summary in found} == {1}


def test_a_sweeper_may_ask_for_several_batches(tmp_path: Path, discrete_file: Path):
    typed = [*QUICK, *on_file(discrete_file), "seed=0,1,2", "hydra.sweeper.max_batch_size=2", "hydra.sweep.dir=sweep"]
    for _ in range(2):
        done = sweep(tmp_path, *typed)
        assert done.returncode == 0, done.stderr
    assert done.stderr.count("has ended before") == 2
    found = summaries(tmp_path / "sweep")
    assert sorted((summary["seed"], summary["num_members"]) for summary in found) == [(0, 2), (1, 2), (2, 1)]
    assert sorted(read_json(tmp_path / "sweep" / "sweep.json")["batches"]) == ["0", "2"]


@pytest.mark.parametrize("launcher", ["population", "basic"])
def test_runs_of_a_sweep_are_one_wandb_group(tmp_path: Path, discrete_file: Path, launcher: str):
    done = sweep(tmp_path, *QUICK, *on_file(discrete_file), "seed=0,1", "logger=wandb", f"hydra/launcher={launcher}")
    assert done.returncode == 0, done.stderr
    (sweep_dir,) = (tmp_path / "outputs" / "sweeps").iterdir()
    kept = [read_json(path) for path in sweep_dir.rglob("wandb.json")]
    assert [run["group"] for run in kept] == [sweep_dir.name] * 2
    assert len({run["run_id"] for run in kept}) == 2
