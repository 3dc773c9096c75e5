import logging
from pathlib import Path

import numpy as np
import pytest
import torch

from bcq_exp.data import read_transitions
from bcq_exp.envs.evaluation import evaluate
from bcq_exp.io.files import read_json
from bcq_exp.training import experiment
from bcq_exp.training.datasets import load_parts
from bcq_exp.training.directories import claim
from bcq_exp.training.experiment import build, make_population
from cases import checked, job, random_walk

SMALL = ("logger=csv", "network.hidden_sizes=[8]", "network.vae_hidden_sizes=[8]", "batch_size=16", "compile=never")


def on_file(path: Path) -> tuple[str, ...]:
    return ("dataset=h5", f"dataset.path={path}", "dataset.env=CartPole-v1")


def test_the_seed_decides_weights_minibatches_and_noise_each_by_a_stream_of_its_own():
    overrides = ("algorithm=bcq", "dataset=pendulum-noisy", *SMALL)
    first, same, other = (
        make_population([checked(*overrides, f"seed={seed}")], random_walk(3, is_discrete=False)) for seed in (0, 0, 1)
    )

    def drawn(population):
        weight = next(population.policies[0].nets["critic1"].parameters()).flatten()[:3].detach().clone()
        policy, streams = population.policies[0], population.parts[0].streams
        generators = (streams.samplers[0], policy.learning_noise, policy.acting_noise)
        return [weight, *(torch.rand(3, generator=generator) for generator in generators)]

    ours, twins, others = drawn(first), drawn(same), drawn(other)
    assert all(torch.equal(a, b) for a, b in zip(ours, twins, strict=True))
    streams = [*ours, *others]
    assert not any(torch.equal(a, b) for i, a in enumerate(streams) for b in streams[:i])


def test_the_global_stream_is_left_alone():
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    make_population([checked(*SMALL)], random_walk(3, is_discrete=True))
    assert torch.equal(torch.rand(2), expected)


def test_actions_are_learned_in_policy_units():
    data = random_walk(3, is_discrete=False)
    population = make_population([checked("algorithm=bc", "dataset=pendulum-noisy", *SMALL)], data)
    assert population.buffer.act.numpy() == pytest.approx(data.act / 2, abs=1e-6)


def test_a_dataset_is_learned_from_as_its_configuration_says(discrete_file: Path, caplog: pytest.LogCaptureFixture):
    whole = read_transitions(discrete_file)
    typed = ("fraction=0.5", "fraction_seed=1", "top_return_fraction=0.4", "reward_clip=[-1,1]", "reward_scale=10",
             "reward_shift=-2")  # fmt: skip
    cfg = checked(*on_file(discrete_file), *(f"dataset.{key}" for key in typed))
    with caplog.at_level(logging.INFO):
        found = load_parts(cfg.dataset).learned
    assert "80 of 400 transitions are left, 4 episodes" in caplog.text
    rew, returns = whole.rew.reshape(20, 20), whole.episode_returns
    half = np.random.default_rng(1).permutation(20)[:10]
    best = sorted(half[np.argsort(-returns[half])][:4])
    assert found.rew == pytest.approx(10 * rew[best].clip(-1, 1).ravel() - 2)
    assert found.episode_returns == pytest.approx(returns[best])
    np.testing.assert_array_equal(found.obs, whole.obs.reshape(20, 20, 4)[best].reshape(80, 4))
    np.testing.assert_array_equal(load_parts(cfg.dataset).learned.obs, found.obs)


def test_a_range_of_returns_scales_what_is_clipped_before_the_shift(discrete_file: Path):
    clipped = read_transitions(discrete_file).rew.clip(-1, 1)
    scale = 1000 / np.ptp(clipped.reshape(20, 20).sum(1))  # of 20 episodes
    typed = ("return_range=1000", "reward_clip=[-1,1]", "reward_scale=10", "reward_shift=-2")
    cfg = checked(*on_file(discrete_file), *(f"dataset.{key}" for key in typed))
    assert load_parts(cfg.dataset).learned.rew == pytest.approx(10 * scale * clipped - 2, rel=1e-4)


def test_returns_stay_in_the_environments_units_whatever_rewards_are_learned_from(tmp_path: Path, discrete_file: Path):
    short = ("num_updates=2", "eval_freq=2", "eval_episodes=2", "algorithm=bc_discrete")
    typed, summaries, accounts = (*SMALL, *on_file(discrete_file), *short), [], []
    for name, more in {"plain": (), "scaled": ("dataset.reward_scale=10", "dataset.reward_shift=-3")}.items():
        summaries += build([job(tmp_path / name, *typed, *more)]).run()
        accounts.append(read_json(tmp_path / name / "manifest.json")["dataset"])
    for key in ("behaviour_return", "final_return"):
        assert summaries[0][key] == summaries[1][key]
    assert accounts[0]["behaviour_return"] == accounts[1]["behaviour_return"]
    assert accounts[0]["sha256"] != accounts[1]["sha256"]  # of what is learned from


def test_policies_that_normalise_have_the_statistics_of_what_is_left(discrete_file: Path):
    typed = (*SMALL, *on_file(discrete_file), "dataset.fraction=0.3")
    cfg = checked(*typed, "dataset.normalize_obs=true", "dataset.obs_eps=0.5")
    left = load_parts(cfg.dataset).learned
    assert len(left) == 120
    (policy,) = make_population([cfg], left).policies
    assert policy.obs_mean.numpy() == pytest.approx(left.obs.mean(0), abs=1e-6)
    assert policy.obs_scale.numpy() == pytest.approx(left.obs.std(0) + 0.5, abs=1e-6)
    assert "obs_mean" not in make_population([checked(*typed)], left).policies[0].state_dict()


def test_build_gives_a_run_that_goes_on_from_its_checkpoint(tmp_path: Path, discrete_file: Path):
    typed = (*SMALL, *on_file(discrete_file), "num_updates=30", "eval_freq=30", "eval_episodes=1", "checkpoint_freq=10")
    made = job(tmp_path, *typed)
    trainer = build([made])
    assert trainer.population.num_updates == 0
    assert read_json(tmp_path / "manifest.json")["dataset"]["num_transitions"] == 400
    (summary,) = trainer.run()
    assert summary["overrides"] == list(typed)
    assert summary["behaviour_return"] == pytest.approx(load_parts(made.cfg.dataset).learned.episode_returns.mean())
    assert build([made]).population.num_updates == 30


def test_a_member_that_is_evaluated_beside_updates_acts_on_the_weights_that_were_taken(
    tmp_path: Path, discrete_file: Path
):
    made = job(tmp_path, *SMALL, *on_file(discrete_file), "dataset.normalize_obs=true", "optimizer.lr=0.01")
    parts = load_parts(made.cfg.dataset)
    population = make_population([made.cfg], parts.learned)
    (claimed,) = claim({tmp_path: made.identity("")}, allow_code_change=False, remedy="")
    copy = experiment.blank_policy(made.cfg, torch.device("cpu"))
    between, beside = (
        experiment._evaluators([made.cfg], population, acting, judged=None) for acting in (population.policies, [copy])
    )
    population.advance(50)
    taken = between([0], lambda *_: None)[0]
    experiment._member(made, population, 0, copy, parts, claimed).take_weights()
    population.advance(50)
    assert beside([0], lambda *_: None)[0] == taken
    assert between([0], lambda *_: None)[0] != taken


@pytest.mark.parametrize("are_copies", [False, True])
def test_members_are_evaluated_each_on_the_episodes_of_its_own_seed(discrete_file: Path, are_copies: bool):
    typed = (*SMALL, *on_file(discrete_file), "eval_episodes=3", "algorithm.eval_eps=0.5")
    cfgs = [checked(*typed, f"seed={seed}") for seed in range(7)]
    population = make_population(cfgs, load_parts(cfgs[0].dataset).learned)
    acting = population.policies
    if are_copies:
        acting = [experiment.blank_policy(cfg, torch.device("cpu")) for cfg in cfgs]
    found = experiment._evaluators(cfgs, population, acting, judged=None)([1, 2, 3, 4, 5, 6], lambda *_: None)
    assert set(found) == {1, 2, 3, 4, 5, 6}
    for member, metrics in found.items():
        seed = experiment._streams(member)["evaluation"]
        alone = evaluate(population.policies[member], "CartPole-v1", 3, seed, max_steps=1000)
        figures = (metrics["eval/return"], metrics["eval/return_std"], metrics["eval/length"])
        assert figures == (alone.mean, alone.std, alone.mean_length)


def test_members_are_diagnosed_each_on_rows_of_its_own_seed_with_its_own_gamma():
    cfgs = [checked(*SMALL, f"seed={seed}", f"algorithm.gamma={gamma}") for seed, gamma in ((0, 0.0), (0, 1.0), (1, 0))]
    population = make_population(cfgs, random_walk(100, is_discrete=True))
    pairs = zip(cfgs, population.policies, strict=True)
    first, second, third = (experiment.diagnosis(cfg, policy, population.buffer) for cfg, policy in pairs)
    assert torch.equal(first.rows_B, second.rows_B)
    assert not torch.equal(first.rows_B, third.rows_B)
    assert float(first()["return_logged"]) == pytest.approx(float(population.buffer.rew[first.rows_B].mean()))
    totals = population.buffer.discounted_returns(1)[first.rows_B]
    assert float(second()["return_logged"]) == pytest.approx(float(totals.mean()), abs=1e-5)


def test_a_growing_dataset_is_diagnosed_on_rows_that_are_there_at_the_start():
    cfg = checked(*SMALL, "algorithm=ddpg", "dataset=pendulum-concurrent")
    population = make_population([cfg], random_walk(100, is_discrete=False))
    assert cfg.dataset.growth.start < len(population.buffer)
    rows = experiment.diagnosis(cfg, population.policies[0], population.buffer).rows_B
    assert cfg.dataset.growth.start - 20 < rows.max() < cfg.dataset.growth.start


def test_a_target_that_is_never_copied_is_said(tmp_path: Path, discrete_file: Path, caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.WARNING):
        build([job(tmp_path, *SMALL, *on_file(discrete_file), "num_updates=10")])
    assert "target_update_freq=8000: the target of model is copied 0 times in 10 updates" in caplog.text
