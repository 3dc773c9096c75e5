import inspect
import subprocess
import sys
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
from omegaconf import OmegaConf

import pixels
from bcq_exp.algorithms import REGISTRY
from bcq_exp.behaviours.agents import Behaviour
from bcq_exp.envs.environments import spaces
from bcq_exp.io.loggers import LOGGERS
from bcq_exp.io.source import CONF_DIR
from bcq_exp.policies import BCQPolicy, DiscreteBCQPolicy
from bcq_exp.training import config
from bcq_exp.training.config import check
from bcq_exp.training.sections import Answers
from cases import checked, composed

FITTING = {True: "dataset=cartpole-noisy", False: "dataset=pendulum-noisy"}


def choices(group: str) -> list[str]:
    return sorted(path.stem for path in (Path(CONF_DIR) / group).glob("*.yaml"))


def test_every_algorithm_of_the_registry_has_its_yaml_and_no_yaml_lacks_one():
    assert choices("algorithm") == sorted(REGISTRY)


@pytest.mark.parametrize("name", sorted(REGISTRY))
def test_every_algorithm_composes_to_its_schema(name: str):
    cfg = checked(f"algorithm={name}", FITTING[REGISTRY[name].is_discrete])
    assert type(cfg.algorithm) is REGISTRY[name].config
    assert cfg.algorithm.name == name


@pytest.mark.parametrize("group", ["network", "optimizer"])
def test_every_choice_of_a_group_composes_under_its_own_name(group: str):
    for choice in choices(group):
        fitting = ["dataset=h5", "dataset.path=x", f"dataset.env={pixels.ENV}"] if choice == "nature_cnn" else []
        assert getattr(checked(f"{group}={choice}", *fitting), group).name == choice


def test_every_logger_of_the_registry_has_its_yaml_and_no_yaml_lacks_one():
    assert choices("logger") == sorted(LOGGERS)


@pytest.mark.parametrize("name", sorted(LOGGERS))
def test_every_logger_composes_to_its_schema(name: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(LOGGERS[name], "errors", lambda self: [])  # packages need not be installed
    logger = checked(f"logger={name}").logger
    assert type(logger) is LOGGERS[name]
    assert logger.name == name


OF_FILES = ("h5", "d4rl", "minari", "atari-replay", "table", "treatment")
MADE_HERE = [name for name in choices("dataset") if name not in OF_FILES]


@pytest.mark.parametrize("name", MADE_HERE)
def test_every_dataset_that_is_made_here_composes_to_its_schema(name: str):
    overrides = ["dataset.behaviour=cartpole"] if name == "breakout-noisy" else []  # no agent ships for images
    env = composed(f"dataset={name}", *overrides).dataset.env
    algorithm = "discrete_bcq" if isinstance(spaces(env)[1], gym.spaces.Discrete) else "bcq"
    network = "nature_cnn" if len(spaces(env)[0].shape) == 3 else "mlp"
    dataset = checked(f"dataset={name}", f"algorithm={algorithm}", f"network={network}", *overrides).dataset
    assert dataset.name == name
    assert dataset.ref_min < dataset.ref_max
    if dataset.format == "collected" and not overrides:
        assert Behaviour.load(dataset.behaviour).env == env


@pytest.mark.parametrize("name", choices("experiment"))
def test_every_experiment_composes(name: str, discrete_file: Path):
    overrides = [f"experiment={name}"]
    cfg = composed(*overrides)
    if cfg.dataset.format == "h5":
        overrides.append(f"dataset.path={discrete_file}")
    if cfg.dataset.name == composed().dataset.name:  # perhaps left to whoever runs it
        overrides.append(FITTING[REGISTRY[cfg.algorithm.name].is_discrete])
    assert checked(*overrides).schedule.num_updates > 0


DOCUMENTED = {"bcq": BCQPolicy, "discrete_bcq": DiscreteBCQPolicy}
# Keys of the YAML that say something else than the class, each with its reason.
DEPARTURES = {"bcq": {"action_scaling": True}}  # so that every Box can be reached
CHOSEN_ELSEWHERE = {"device", "observation_space", "critic2", "critic2_optim", "lr_scheduler"}


@pytest.mark.parametrize("name", sorted(DOCUMENTED))
def test_the_yaml_states_every_documented_default(name: str):
    values = OmegaConf.to_container(OmegaConf.load(Path(CONF_DIR) / "algorithm" / f"{name}.yaml"))
    values["discount_factor"] = values["gamma"]
    defaults = {
        key: parameter.default
        for key, parameter in inspect.signature(DOCUMENTED[name]).parameters.items()
        if parameter.default is not inspect.Parameter.empty and key not in CHOSEN_ELSEWHERE
    }
    assert defaults
    expected = defaults | DEPARTURES.get(name, {})
    assert {key: values[key] for key in expected} == expected


IQL = ("algorithm=iql", "dataset=pendulum-noisy")


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["seed=-1"], ["seed=-1 is outside [0, inf)"]),
        (["algorithm.unlikely_action_threshold=1.5"], ["algorithm.unlikely_action_threshold=1.5 is outside [0, 1]"]),
        (["optimizer.lr=0"], ["optimizer.lr=0", "(0, inf)"]),
        (["algorithm.gamma=fast"], ["algorithm.gamma=fast", "Float"]),
        (["+algorithm.lmda=0.5"], ["algorithm.lmda", "DiscreteBCQConfig"]),
        (["+algorithm.is_doubl=true"], ["did you mean algorithm.is_double?"]),
        (["+network.output_activation=tanh"], ["network.output_activation", "raw outputs"]),
        (["+network._target_=os.system"], ["network._target_", "never from a path"]),
        (["+network.head=quantile"], ["network.head", "algorithm.num_quantiles=200"]),
        (
            ["algorithm.num_quantiles=200"],
            ["algorithm.num_quantiles=200 with clip_loss_grad=false", "set clip_loss_grad"],
        ),
        (["algorithm.num_quantiles=0"], ["algorithm.num_quantiles=0 is outside [1, inf)"]),
        (["network.activation=sigmod"], ["network.activation=sigmod is none of relu"]),
        (["network.kind=cnn"], ["network.kind=cnn is none of mlp, nature_cnn"]),
        (["network=nature_cnn", "+network.activation=tanh"], ["network.activation is not a key of NatureCNNConfig"]),
        (["algorithm.name=bqc"], ["algorithm.name=bqc is none of"]),
        (["dataset=h5"], ["dataset.path has no value"]),
        (["dataset.ref_min=500", "dataset.ref_max=1"], ["ref_min=500.0, ref_max=1.0"]),
        (["dataset.behaviour=acrobat"], ["acrobat"]),
        (["dataset.fraction=0"], ["dataset.fraction=0.0 is outside (0, 1]"]),
        (["dataset.top_return_fraction=10"], ["dataset.top_return_fraction=10.0 is outside (0, 1]"]),
        (["dataset.fraction_seed=-1"], ["dataset.fraction_seed=-1 is outside [0, inf)"]),
        (["dataset.reward_scale=0"], ["dataset.reward_scale=0.0 is outside (0, inf)"]),
        (["dataset.reward_shift=inf"], ["dataset.reward_shift=inf is outside"]),
        (["dataset.reward_shift=-inf"], ["dataset.reward_shift=-inf is outside"]),
        (["dataset.reward_clip=[1,-1]"], ["dataset: reward_clip=[1.0, -1.0]", "the lower one first"]),
        (["dataset.reward_clip=[-inf,1]"], ["reward_clip=[-inf, 1.0]", "two finite numbers"]),
        (["dataset.reward_clip=1"], ["dataset.reward_clip=1"]),
        (["dataset.reward_clip=[1]"], ["reward_clip=[1.0]", "two finite numbers"]),
        (["dataset.reward_clip=[-1,0,1]"], ["reward_clip=[-1.0, 0.0, 1.0]", "two finite numbers"]),
        (["dataset.obs_eps=0"], ["dataset.obs_eps=0.0 is outside (0, inf)"]),
        (["+dataset.reward_scal=2"], ["did you mean dataset.reward_scale?"]),
        (["dataset.noise.high=2"], ["noise.high=2"]),
        (["dataset.env=CartPol-v1"], ["CartPol-v1", "CartPole-v1"]),
        (["algorithm=bcq"], ["algorithm=bcq is for continuous actions", "discrete_bcq"]),
        (["dataset=pendulum-noisy"], ["algorithm=discrete_bcq is for discrete actions", "td3_bc"]),
        (
            ["algorithm=bcq", "dataset=pendulum-noisy", "algorithm.action_scaling=false"],
            ["action_bound_method='clip'", "beyond", "action_scaling=True"],
        ),
        (["device=warp"], ["device=warp cannot be used"]),
        (
            ["algorithm.tau=0.1"],
            [
                "algorithm.tau=0.1, algorithm.target_update_freq=8000: ",
                "give one of both keys a number, the other null",
            ],
        ),
        (["algorithm.target_update_freq=null"], ["algorithm.tau=null, algorithm.target_update_freq=null: "]),
        (["algorithm.tau=0", "algorithm.target_update_freq=null"], ["algorithm.tau=0.0 is outside (0, 1]"]),
        (["+algorithm.optimizers.model.lr=1"], ["algorithm=discrete_bcq has one optimizer", "give optimizer.lr"]),
        (["+algorithm.optimizers=3"], ["algorithm=discrete_bcq has one optimizer", "give optimizer.lr"]),
        (
            [*IQL, "+algorithm.optimizers.polcy.lr=1"],
            ["iql has no such role; its roles: value, policy, critics"],
        ),
        ([*IQL, "+algorithm.optimizers.value.rate=1"], ["algorithm.optimizers.value.rate is not a key of RoleConfig"]),
        ([*IQL, "algorithm.optimizers.value.lr=0"], ["algorithm.optimizers.value.lr=0.0 is outside (0, inf)"]),
        ([*IQL, "algorithm.optimizers.value.lr=fast"], ["algorithm.optimizers.value.lr=fast: "]),
        ([*IQL, "algorithm.optimizers.value.betas=[0.9]"], ["algorithm.optimizers.value.betas=[0.9]; allowed: two"]),
        ([*IQL, "algorithm.optimizers.value.lr_decay=steps"], ["value.lr_decay=steps is none of linear, cosine"]),
        ([*IQL, "algorithm.optimizers.value=null"], ["algorithm.optimizers.value=None is no mapping of lr, "]),
        ([*IQL, "algorithm.optimizers=1e-4"], ["algorithm.optimizers=0.0001 is no mapping of value, policy, critics"]),
        ([*IQL, "~algorithm.optimizers"], ["algorithm.optimizers=??? is no mapping of value, policy, critics"]),
        (
            ["algorithm=cql", "dataset=pendulum-noisy", "algorithm.optimizers.multiplier.lr=1e-4"],
            ["algorithm.optimizers.multiplier.lr is given, but with its other keys algorithm=cql trains no multiplier"],
        ),
        (["device=hpu"], ["device=hpu cannot be used"]),
        (["device=meta"], ["device=meta cannot be used"]),
        (["device=cpu:3"], ["device=cpu:3 cannot be used: it is no device's name"]),
        (["device=''"], ["device= cannot be used: it is no device's name"]),
        (["device=cuda:99999999999999"], ["cannot be used: it is no device's name"]),
        (["seed=???"], ["seed has no value; give one: seed=..."]),
        (["dataset.format=???"], ["dataset.format=??? is none of collected"]),
        (["dataset.noise.high=???"], ["dataset.noise.high has no value"]),
        (["algorithm.name=???"], ["algorithm.name=??? is none of awac, bc"]),
        (["algorithm.name=[bcq]"], ["algorithm.name=['bcq'] is none of awac, bc"]),
        (["network.hidden_sizes=[8,???]"], ["network.hidden_sizes[1] has no value"]),
        (["network.init=zeros"], ["network.init=zeros is none of torch, orthogonal, fan_in, variance_scaling"]),
        (["network.last_layer_scale=-1"], ["network.last_layer_scale=-1.0 is outside [0, inf)"]),
        (["network.dropout=1"], ["network.dropout=1.0 is outside [0, 0.99]"]),
        (["network.dropout=0.1"], ["network.dropout=0.1: algorithm=discrete_bcq has no dropout; give 0"]),
        (
            ["network.policy_last_layer_scale=1e-3"],
            ["network.policy_last_layer_scale=0.001: algorithm=discrete_bcq has no network that makes its actions"],
        ),
        (
            ["algorithm=ddpg", "dataset=pendulum-noisy", "algorithm.action_layer=2", "network.hidden_sizes=[]"],
            ["network.hidden_sizes=[]: with algorithm.action_layer=2 the critic has a hidden layer at least"],
        ),
        (["network.hidden_sizes=[8,0]"], ["network.hidden_sizes=[8, 0] has elements outside [1, inf)"]),
        (["optimizer.betas=[0.9]"], ["optimizer.betas=[0.9]; allowed: two numbers from 0 to below 1"]),
        (["optimizer.betas=[0.9,1]"], ["optimizer.betas=[0.9, 1.0]; allowed"]),
        (["num_threads=100000"], ["num_threads=100000 is outside [1, 1024] or auto"]),
        (["num_threads=many"], ["num_threads='many' is not an integer in [1, 1024] or auto"]),
        (["updates_per_launch=8"], ["updates_per_launch=8 is for device=cuda, not device=cpu; give auto"]),
        (["updates_per_launch=65"], ["updates_per_launch=65 is outside [1, 64] or auto"]),
        (["precision=tf32"], ["precision=tf32 is of GPUs (device=cuda), not of device=cpu; give fp32 or bf16"]),
        (["dataset=h5", "dataset.path=[null]", "dataset.env=CartPole-v1"], ["dataset.path=[None]: "]),
        (["dataset=minari", "dataset.path=[null]"], ["dataset.path=[None] is no text"]),
        (["dataset=d4rl", "dataset.id={a: b}"], ["dataset.id={'a': 'b'} is no text"]),
        (["dataset.env='..x:X-v0'"], ["environment '..x:X-v0' cannot be made: it is no id"]),
        (["dataset.ref_max=inf"], ["ref_max=inf"]),
        (["logger=wandb", "logger.project=${oc.env:BCQ_EXP_ABSENT}"], ["cannot be resolved: ", "BCQ_EXP_ABSENT"]),
        (["logger=csv", "+logger.project=mine"], ["logger.project is not a key of CSVLoggerConfig"]),
        (["logger=wandb", "logger.name=printer"], ["logger.name=printer is none of csv, "]),
        (["storage=disk"], ["storage=disk is none of auto, memory, mmap"]),
        (["storage=mmap", "device=meta"], ["storage=mmap is for device=cpu, not device=meta; give storage=memory"]),
    ],
)
def test_what_cannot_be_meant_is_refused_with_key_value_and_remedy(overrides: list[str], said: list[str]):
    with pytest.raises(ValueError) as caught:
        checked(*overrides)
    for words in said:
        assert words in str(caught.value)


IMAGES = gym.spaces.Box(0, 255, (4, 84, 84), np.uint8)
VECTORS = gym.spaces.Box(-1, 1, (4,))
DISCRETE, CONTINUOUS = gym.spaces.Discrete(3), gym.spaces.Box(-1, 1, (2,))
TAKES_IMAGES = "takes uint8 observations (channels, height, width) of at least 36 pixels each way"


@pytest.mark.parametrize(
    ("network", "algorithm", "observations", "said"),
    [
        ("mlp", "dqn", VECTORS, []),
        ("bcq_paper", "bcq", VECTORS, []),
        ("nature_cnn", "discrete_bcq", IMAGES, []),
        ("nature_cnn", "dqn", gym.spaces.Box(0, 255, (1, 36, 36), np.uint8), []),
        (
            "mlp",
            "bc_discrete",
            IMAGES,
            [
                "network=mlp takes observations of one axis, not Box(0, 255, (4, 84, 84), uint8); "
                "choose network=nature_cnn"
            ],
        ),
        (
            "bcq_paper",
            "bcq",
            IMAGES,
            ["network=bcq_paper takes observations of one axis, not Box(0, 255, (4, 84, 84), uint8)"],
        ),
        (
            "mlp",
            "dqn",
            gym.spaces.Discrete(5),
            ["network=mlp takes observations of one axis, not Discrete(5)"],
        ),
        (
            "nature_cnn",
            "dqn",
            VECTORS,
            [f"network=nature_cnn {TAKES_IMAGES}, not Box(-1.0, 1.0, (4,), float32); choose network=mlp"],
        ),
        (
            "nature_cnn",
            "dqn",
            gym.spaces.Box(0, 255, (1, 36, 35), np.uint8),
            [f"network=nature_cnn {TAKES_IMAGES}, not Box(0, 255, (1, 36, 35), uint8)"],
        ),
        (
            "nature_cnn",
            "dqn",
            gym.spaces.Box(0, 255, (84, 84, 3), np.uint8),
            [f"network=nature_cnn {TAKES_IMAGES}, not Box(0, 255, (84, 84, 3), uint8)"],
        ),
        (
            "nature_cnn",
            "dqn",
            gym.spaces.Box(0, 1, (4, 84, 84)),
            [f"network=nature_cnn {TAKES_IMAGES}, not Box(0.0, 1.0, (4, 84, 84), float32)"],
        ),
        (
            "nature_cnn",
            "bc",
            IMAGES,
            ["network=nature_cnn is for discrete actions, algorithm=bc for continuous ones"],
        ),
        (
            "nature_cnn",
            "bcq",
            VECTORS,
            [
                "network=nature_cnn is for discrete actions, algorithm=bcq for continuous ones; choose network=mlp",
                f"network=nature_cnn {TAKES_IMAGES}, not Box(-1.0, 1.0, (4,), float32); choose network=mlp",
            ],
        ),
    ],
)
def test_a_network_takes_the_observations_it_was_made_for(
    monkeypatch: pytest.MonkeyPatch, network: str, algorithm: str, observations: gym.Space, said: list[str]
):
    actions = DISCRETE if REGISTRY[algorithm].is_discrete else CONTINUOUS
    monkeypatch.setattr("bcq_exp.training.datasets.spaces", lambda env_id: (observations, actions))
    typed = [f"network={network}", f"algorithm={algorithm}", FITTING[REGISTRY[algorithm].is_discrete]]
    if not said:
        assert checked(*typed).network.name == network
        return
    with pytest.raises(ValueError) as caught:
        checked(*typed)
    assert str(caught.value).splitlines() == said


@pytest.mark.parametrize("space", [IMAGES, gym.spaces.Box(0, 1, (4, 84, 84)), gym.spaces.Discrete(5)])
def test_only_observations_of_one_axis_are_normalised(monkeypatch: pytest.MonkeyPatch, space: gym.Space):
    monkeypatch.setattr("bcq_exp.training.datasets.spaces", lambda env_id: (space, DISCRETE))
    with pytest.raises(ValueError, match=r"dataset\.normalize_obs=true is for observations of one axis, .*=false"):
        checked("network=nature_cnn", "dataset.normalize_obs=true")


@pytest.mark.parametrize("space", [VECTORS, gym.spaces.Box(0, 255, (128,), np.uint8)])
def test_observations_of_one_axis_are_normalised_bytes_too(monkeypatch: pytest.MonkeyPatch, space: gym.Space):
    monkeypatch.setattr("bcq_exp.training.datasets.spaces", lambda env_id: (space, DISCRETE))
    assert checked("dataset.normalize_obs=true").dataset.normalize_obs


def test_all_errors_come_in_one_message():
    with pytest.raises(ValueError) as caught:
        checked("seed=-1", "batch_size=0", "network.activation=x", "optimizer.lr=-1", "algorithm.gamma=2")
    assert len(str(caught.value).splitlines()) == 5


def test_what_many_configurations_share_is_checked_once(monkeypatch: pytest.MonkeyPatch):
    loaded, load, answers = [], Behaviour.load, Answers()
    monkeypatch.setattr(Behaviour, "load", lambda name: loaded.append(name) or load(name))
    values = OmegaConf.to_container(composed(), resolve=True)
    found = [config.checked(values | {"seed": seed}, answers, is_here=True) for seed in (0, 1, 2, 0)]
    assert loaded == ["cartpole"]
    assert [each.schedule.seed for each in found] == [0, 1, 2, 0]
    assert found[0] == found[3] == checked()
    assert found[0].algorithm is found[1].algorithm
    for _ in range(2):
        with pytest.raises(ValueError, match=r"^seed=-1 is .*\nbatch_size=0 is .*$"):
            config.checked(values | {"seed": -1, "batch_size": 0}, answers, is_here=True)
    wrong = values | {"algorithm": values["algorithm"] | {"gamma": 2}}
    with pytest.raises(ValueError, match=r"^algorithm\.gamma=2\.0 is outside \[0, 1\]$"):
        config.checked(wrong, answers, is_here=True)
    assert config.checked(values, answers, is_here=True) == checked()


def test_a_configuration_read_from_disk_is_checked_like_any_other(tmp_path: Path):
    cfg = composed()
    OmegaConf.save(cfg, tmp_path / "config.yaml")
    text = (tmp_path / "config.yaml").read_text()
    assert check(OmegaConf.create(text)).schedule == check(cfg).schedule
    with pytest.raises(ValueError, match="_target_"):
        check(OmegaConf.create(text.replace("algorithm:\n", "algorithm:\n  _target_: os.system\n")))


@pytest.mark.parametrize("program", ["train", "collect", "evaluate"])
def test_hydras_own_part_is_shown_resolved(tmp_path: Path, program: str):
    command = [sys.executable, "-m", f"bcq_exp.{program}", "--cfg", "hydra", "--resolve"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert OmegaConf.create(done.stdout).hydra.output_subdir is None
    assert list(tmp_path.iterdir()) == []
