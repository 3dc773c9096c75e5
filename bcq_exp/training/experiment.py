"""Runs, put together from their checked configurations."""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from bcq_exp.algorithms import REGISTRY
from bcq_exp.algorithms.form import rare_copies
from bcq_exp.data import ReplayBuffer, Transitions, check_against
from bcq_exp.data.mapping import held_bytes, in_files, should_map
from bcq_exp.data.preprocessing import at_most, observation_statistics
from bcq_exp.engine.acting import ActingPopulation
from bcq_exp.engine.launches import updates_per_launch_of
from bcq_exp.engine.machine import (
    checked_precision,
    num_cores,
    num_threads_of,
    prepare_for,
    should_compile,
)
from bcq_exp.engine.population import Population
from bcq_exp.engine.stacking import Stack
from bcq_exp.envs.environments import normalized_score
from bcq_exp.envs.masks import check_masks
from bcq_exp.io.checkpoint import remove_end
from bcq_exp.io.masking import masked_words
from bcq_exp.networks import Sizes
from bcq_exp.ope.in_training import Estimating
from bcq_exp.policies import Policy
from bcq_exp.policies.actions import ActionMap
from bcq_exp.policies.diagnosis import Diagnosis
from bcq_exp.policies.factory import make_policy
from bcq_exp.policies.imitation import Imitation
from bcq_exp.policies.normalization import normalize_observations
from bcq_exp.training.config import RunConfig
from bcq_exp.training.datasets import Parts, load_parts
from bcq_exp.training.directories import Claim, claim
from bcq_exp.training.evaluating import Evaluator, Evaluators, Playing
from bcq_exp.training.job import Job
from bcq_exp.training.manifest import dataset_account, process_account
from bcq_exp.training.member import Member
from bcq_exp.training.trainer import Stopping, Trainer

log = logging.getLogger(__name__)


def build(jobs: Sequence[Job], stopping: Stopping | None = None) -> Trainer:
    """Runs that train as one population, ready to start or, where their directories have checkpoints, to go on.

    Nothing is written before the dataset has been read and checked, and the directories have been claimed.

    Args:
        jobs: they differ only in what members of a population may differ in.
        stopping: chooses members that end early; None where all train to the end.

    Raises:
        ValueError: the dataset does not fit the environment, the algorithm cannot use it, or a directory holds another
            run or is written to by another process.
        FileNotFoundError: there is no such dataset.
    """
    cfg = jobs[0].cfg
    schedule = cfg.schedule
    num_threads = prepare_for(schedule.num_threads, len(jobs))
    parts = checked_parts(cfg, load_parts(cfg.dataset, allow_code_change=schedule.allow_code_change))
    transitions = parts.learned
    if cfg.dataset.env is None:
        said = "no environment: no episodes are played, %s tell what policies are worth; dataset.env=ID plays in one"
        log.info(said, parts.name)
    else:
        check_masks(cfg.dataset.env, transitions.source, has_masks=transitions.mask is not None)
    population = make_population([job.cfg for job in jobs], transitions)
    # A device trains while the processor evaluates. On a processor both would share its cores: with an evaluation each
    # 300 updates 3,000 of BCQ take 57 s in place of 45, on two cores.
    evaluates_beside = population.device.type != "cpu"
    for line in rare_copies(population.algorithm, population.hp, schedule.num_updates):
        log.warning(line)
    sha256 = parts.sha256
    claims = claim(
        {job.run_dir: job.identity(sha256) for job in jobs},
        allow_code_change=schedule.allow_code_change,
        remedy=jobs[0].remedy,
    )
    spaces = (cfg.observation_space, cfg.action_space) if cfg.dataset.env is None else None
    process = process_account(torch.device(schedule.device), num_threads)
    account = {"dataset": dataset_account(parts, spaces), **process}
    for claimed, job in zip(claims, jobs, strict=True):
        if (end := claimed.shorter) is not None:
            remove_end(job.run_dir, end, (schedule.log_freq, schedule.eval_freq))
        claimed.begin(job.kept, account)
    acting = population.policies
    if evaluates_beside:
        acting = [blank_policy(job.cfg, torch.device("cpu")) for job in jobs]
    evaluators = _evaluators([job.cfg for job in jobs], population, acting, parts.judged)
    trainer = Trainer(
        population,
        [
            _member(job, population, index, evaluated, parts, claimed)
            for index, (job, evaluated, claimed) in enumerate(zip(jobs, acting, claims, strict=True))
        ],
        evaluators,
        eval_names=evaluators.names,
        num_updates=schedule.num_updates,
        eval_freq=schedule.eval_freq,
        log_freq=schedule.log_freq,
        checkpoint_freq=schedule.checkpoint_freq,
        num_checkpoints=schedule.num_checkpoints,
        evaluates_beside=evaluates_beside,
        stopping=stopping,
    )
    trainer.resume()
    return trainer


def checked_parts(cfg: RunConfig, parts: Parts) -> Parts:
    """The parts of a dataset, checked against the spaces of a run; without `judged` where nothing is judged on it."""
    fits = partial(check_against, observation_space=cfg.observation_space, action_space=cfg.action_space)
    learned = fits(parts.learned, batch_size=cfg.schedule.batch_size)
    is_judged = parts.is_held_out or cfg.dataset.env is None or cfg.estimate is not None
    judged = parts.judged if is_judged else None
    return replace(parts, learned=learned, judged=None if judged is None else fits(judged, batch_size=1))


def _member(job: Job, population: Population, index: int, acting: Policy, parts: Parts, claimed: Claim) -> Member:
    cfg, policy = job.cfg, population.policies[index]
    behaviour_return = float(parts.learned.episode_returns.mean())
    score = partial(normalized_score, ref_min=cfg.dataset.ref_min, ref_max=cfg.dataset.ref_max)
    diagnoses: dict[str, Diagnosis | Imitation] = {"diagnostics": diagnosis(cfg, policy, population.buffer)}
    if parts.judged is not None and (parts.is_held_out or cfg.dataset.env is None):
        seed = _streams(cfg.schedule.seed)["diagnosis"]
        diagnoses["imitation"] = Imitation(policy, parts.judged.obs, parts.judged.act, parts.judged.mask, seed=seed)
    return Member(
        run_dir=job.run_dir,
        facts={
            "algorithm": cfg.algorithm.name,
            "dataset": cfg.dataset.name,
            "env": cfg.dataset.env,
            "seed": cfg.schedule.seed,
            "overrides": masked_words(job.overrides),
            "behaviour_return": behaviour_return,
            "final_estimator": None if cfg.estimate is None else cfg.estimate.name,
            "judged_on": None if parts.judged is None else parts.name,
            "behaviour_normalized_score": None if cfg.dataset.is_reward_clipped else score(behaviour_return),
        },
        copy_weights=lambda: None if acting is policy else acting.load_state_dict(policy.state_dict()),
        weights=acting.state_dict,
        give_weights=acting.load_state_dict,
        diagnoses=diagnoses,
        logger=cfg.logger.begin(job.logged),
        release=claimed.release,
    )


def diagnosis(cfg: RunConfig, policy: Policy, buffer: ReplayBuffer) -> Diagnosis:
    """The diagnosis of a run's policy, on rows that are there before the first update."""
    growth = cfg.dataset.growth
    num_rows = len(buffer) if growth is None else min(growth.num_rows(0), len(buffer))
    return Diagnosis(policy, buffer, num_rows=num_rows, seed=_streams(cfg.schedule.seed)["diagnosis"])


def _evaluators(
    cfgs: Sequence[RunConfig], population: Population, acting: Sequence[Policy], judged: Transitions | None
) -> Evaluators:
    """What evaluations measure with the policies of the population, or copies of them."""
    seeds = [_streams(cfg.schedule.seed)["evaluation"] for cfg in cfgs]
    found: list[Evaluator] = []
    if cfgs[0].dataset.env is not None:
        found.append(_playing(cfgs[0], population, acting, seeds))
    if (estimate := cfgs[0].estimate) is not None:
        assert judged is not None
        settings, name = estimate.settings, cfgs[0].dataset.name
        data = at_most(judged, settings.max_transitions, settings.seed)
        found.append(Estimating(acting, data, cfgs[0].action_space, name=name, estimate=estimate, seeds=seeds))
    return Evaluators(*found)


def _playing(cfg: RunConfig, population: Population, acting: Sequence[Policy], seeds: Sequence[int]) -> Playing:
    copied = None if acting is population.policies else Stack([dict(policy.nets.items()) for policy in acting])
    return Playing(
        lambda: ActingPopulation(acting, copied or population.nets),  # a checkpoint gives the population other nets
        cfg.dataset,
        num_episodes=cfg.schedule.eval_episodes,
        max_steps=cfg.schedule.eval_max_steps,
        seeds=seeds,
    )


def _streams(seed: int) -> dict[str, int]:
    """Seeds of the run's random streams, each on its own."""
    names = ("weights", "minibatches", "noise", "evaluation", "diagnosis")
    return dict(zip(names, np.random.SeedSequence(seed).generate_state(len(names)).tolist(), strict=True))


def make_population(cfgs: Sequence[RunConfig], transitions: Transitions) -> Population:
    """Fresh policies with their dataset on its device.

    Raises:
        ValueError: the algorithm cannot use the dataset, or the runs cannot share one program.
    """
    cfg = cfgs[0]
    schedule, device = cfg.schedule, torch.device(cfg.schedule.device)
    inverse = ActionMap(cfg.action_space, **cfg.algorithm.action_rule).map_action_inverse
    after = transitions.act_next
    transitions = replace(transitions, act=inverse(transitions.act), act_next=None if after is None else inverse(after))
    is_mapped = should_map(schedule.storage, transitions, schedule.device)
    if is_mapped:
        log.info("the dataset, %.1f GB, stays in files", held_bytes(transitions) / 1e9)
        transitions = in_files(transitions)
    buffer = ReplayBuffer.from_transitions(transitions, device, stays_mapped=is_mapped)
    samplers = [torch.Generator(device) for _ in cfgs]
    for sampler, each in zip(samplers, cfgs, strict=True):
        sampler.manual_seed(_streams(each.schedule.seed)["minibatches"])
    is_compiled = should_compile(schedule.compile, schedule.num_updates)
    if is_compiled:
        log.info("compiling the update takes 10 to 40 seconds")
    policies = [fresh_policy(each, device) for each in cfgs]
    if cfg.dataset.normalize_obs:
        mean, std = observation_statistics(np.asarray(transitions.obs))
        for policy in policies:
            normalize_observations(policy, mean, std, eps=cfg.dataset.obs_eps)
    return Population(
        policies,
        buffer,
        samplers,
        batch_size=schedule.batch_size,
        is_compiled=is_compiled,
        precision=checked_precision(schedule.precision, device),
        growth=cfg.dataset.growth,
        num_threads=num_threads_of(schedule.num_threads, len(cfgs), num_cores()),
        updates_per_launch=updates_per_launch_of(schedule.updates_per_launch),
    )


def fresh_policy(cfg: RunConfig, device: torch.device) -> Policy:
    """A run's policy before its first update; it sees observations as they are."""
    streams = _streams(cfg.schedule.seed)
    action_map = ActionMap(cfg.action_space, **cfg.algorithm.action_rule)
    obs_shape = cfg.observation_space.shape
    assert obs_shape is not None

    def make_optimizer(role: str | None, params: Iterable[nn.Parameter]) -> tuple[Optimizer, LRScheduler | None]:
        own = cfg.optimizer_of(role)
        optimizer = own.make(params)
        return optimizer, own.schedule(optimizer, cfg.schedule.num_updates)

    sizes = Sizes(obs_shape, action_map.act_dim, action_map.max_action, cfg.network.dropout_units)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(streams["weights"])
        nets = REGISTRY[cfg.algorithm.name].fresh_networks(cfg.algorithm, cfg.network, sizes)
        policy = make_policy(
            cfg.algorithm,
            {name: net.to(device) for name, net in nets.items()},
            sizes,
            make_optimizer=make_optimizer,
            action_space=cfg.action_space,
            observation_space=cfg.observation_space,
            device=device,
        )
    policy.seed(streams["noise"])
    return policy


def blank_policy(cfg: RunConfig, device: torch.device) -> Policy:
    """A policy that takes the `state_dict` of a run's policy, the statistics of its observations included."""
    policy = fresh_policy(cfg, device)
    if cfg.dataset.normalize_obs:
        (obs_dim,) = cfg.observation_space.shape or ()
        normalize_observations(policy, torch.zeros(obs_dim), torch.ones(obs_dim), eps=cfg.dataset.obs_eps)
    return policy
