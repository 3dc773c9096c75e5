"""What is typed wrongly is answered with one line and code 1, before anything is written."""

import os
from pathlib import Path

import pytest

import commands

GROUPS = "; choices: "


@pytest.mark.parametrize(
    ("line", "begins", "holds"),
    [
        # A wrong key: of a group's choice, of the configuration, of Hydra's own, of a role; where none are.
        ("train algorithm=bcq dataset=pendulum-noisy algorithm.lambda=0.1",
         "algorithm.lambda: algorithm=bcq has no such key; nearest: lmbda; its keys: gamma, tau, lmbda, ", ""),
        ("train -m seed=0,1 algorithm.threshold=0.1",
         "algorithm.threshold: algorithm=discrete_bcq has no such key; nearest: "
         "unlikely_action_threshold; its keys: ", ""),
        ("train sed=3", "sed: the configuration has no such key; nearest: seed; its keys: ", ", num_updates, "),
        ("train algoritm=bcq", "algoritm: the configuration has no such key; nearest: algorithm; its keys: ", ""),
        ("train seed.x=3", "seed.x: seed has a value, and no keys; give seed=...\n", ""),
        ("train logger=csv logger.project=x", "logger.project: logger=csv has no such key; its keys: none\n", ""),
        ("train hydra.sweeper.foo=1", "hydra.sweeper.foo: hydra.sweeper has no such key; its keys: ", "max_batch_size"),
        ("train algorithm=iql dataset=pendulum-noisy algorithm.optimizers.foo.lr=1",
         "algorithm.optimizers.foo.lr: algorithm=iql has no such role; its roles: value, policy, critics\n", ""),
        ("collect dataset.x=1", "dataset.x: no dataset is chosen; choose one: dataset=NAME, of atari-replay, ", ""),
        ("collect behaviour=cartpole behaviour.agent=1",
         "behaviour.agent: behaviour=cartpole has no such key; nearest: agents, arguments; ", ""),
        ("evaluate rum=x", "rum: the configuration has no such key; nearest: run; ", ""),
        ("export formt=x", "formt: the configuration has no such key; nearest: format; its keys: run, ", ""),
        # A wrong choice.
        ("train algorithm=bqc", "algorithm=bqc: there is no such choice; nearest: ", "bcq; choices: awac, bc, "),
        ("train -m algorithm=bqc,dqn", "algorithm=bqc: there is no such choice; nearest: ", GROUPS),
        ("train experiment=bcq",
         "experiment=bcq: there is no such choice; nearest: main/bcq, published/bcq; choices: ", ""),
        ("train algorithm=5", "algorithm=5: a choice is one name; choices: awac, ", ""),
        ("collect dataset=cartpol", "dataset=cartpol: there is no such choice; nearest: cartpole-", GROUPS),
        ("evaluate run=x network=foo",
         "network=foo: there is no such choice; choices: bcq_paper, mlp, nature_cnn\n", ""),
        # A wrong type.
        ("train num_updates=abc", "num_updates=abc: Value 'abc' of type 'str' could not be converted to Integer\n", ""),
        ("train hydra.launcher.max_members=abc", "hydra.launcher.max_members=abc: Value 'abc' of type 'str'", ""),
        ("collect behaviour=cartpole seed=abc", "seed=abc: Value 'abc' of type 'str'", ""),
        ("export run=x noise_seed=abc", "noise_seed=abc: Value 'abc' of type 'str'", ""),
        # A flag.
        ("train --mutlirun seed=0,1",
         "--mutlirun: bcq train has no such flag; nearest: --multirun; a key has no dashes: KEY=VALUE; "
         "bcq train --hydra-help lists its flags\n", ""),
        ("collect dataset=cartpole-noisy --seed 3",
         "--seed: bcq collect has no such flag; a key has no dashes: KEY=VALUE; "
         "bcq collect --hydra-help lists its flags\n", ""),
        ("export --cfg jobs", "--cfg/-c: invalid choice: 'jobs' (choose from ", "bcq export --hydra-help says"),
        ("evaluate --help --foo", "--foo: bcq evaluate has no such flag; ", ""),
        ("report --foo", "--foo: bcq report has no such flag; bcq report --help lists its flags\n", ""),
        ("report", "missing: DIR; bcq report --help says what it takes\n", ""),
        ("dashboard", "missing: COMMAND; bcq dashboard --help says what it takes\n", ""),
        ("dashboard snyc x",
         "bcq dashboard snyc: there is no such command; give one of sync, workspace, report\n", ""),
        ("dashboard sync --job", "--jobs: expected one argument; bcq dashboard sync --help says what it takes\n", ""),
        ("dashboard sync --jops 3",
         "--jops: bcq dashboard sync has no such flag; nearest: --jobs; "
         "bcq dashboard sync --help lists its flags\n", ""),
        ("collect inspect mine.h5 --colums x", "--colums: bcq collect inspect has no such flag; nearest: --columns; ",
         ""),
        ("collect convert a.h5", "missing: OUT; bcq collect convert --help says what it takes\n", ""),
        ("collect convert a.h5 b.h5 c.h5", "one word too many, or apart from the others: c.h5; ", ""),
        ("collect inspect absent.h5", "absent.h5: no such file\n", ""),
        # A word that is no override, or another one than is meant.
        ("train seed", "seed is no KEY=VALUE; give a value: seed=...\n", ""),
        ("train seed=[0,1", "seed=[0,1 cannot be read: ", "a value with brackets, commas or spaces is quoted: "),
        ("train seed=0,1", "seed=0,1 is a sweep, which needs -m; a list is seed=[0,1]\n", ""),
        ("train +seed=1", "+seed: the key seed is there already; give it without +\n", ""),
        ("train hydra.run.dir=${nope:1}",
         "hydra.run.dir cannot be resolved: Unsupported interpolation type nope\n", ""),
        ("trian seed=1",
         "bcq trian: there is no such command; give one of train, collect, evaluate, report, dashboard, export\n", ""),
    ],
)  # fmt: skip
def test_one_line_with_what_is_allowed(tmp_path: Path, line: str, begins: str, holds: str):
    folder = tmp_path / "here"
    folder.mkdir()
    code, said = commands.give(folder, line.split())
    assert said.startswith(f"error: {begins}"), said
    assert holds in said
    assert said.count("\n") == 1
    assert code == 1
    assert os.listdir(folder) == []
