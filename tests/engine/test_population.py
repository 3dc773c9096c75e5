import copy
import math
from functools import partial

import pytest
import torch

from bcq_exp.algorithms import REGISTRY
from bcq_exp.engine.population import Population
from bcq_exp.policies import MultipleLRSchedulers, Policy
from bcq_exp.policies.optimizers import gradient_step
from bcq_exp.training.experiment import make_population
from cases import checked, random_walk
from populations import ALGORITHMS, MASKED, SMALL, population_of, weights


@pytest.fixture
def float64():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def learn_alone(policy: Policy, population: Population, member: int, num_updates: int) -> None:
    """Walk the stages with torch.optim on the rows and the noise that a population's member gets."""
    for update in range(num_updates):
        rows_PB, noise = population.parts[0].streams.at(update)
        batch = {key: column[member] for key, column in population.update.batch(rows_PB).items()}
        for stage, drawn in zip(policy.algorithm.stages, noise, strict=True):
            if stage.is_active(update):
                own = {key: block[member] for key, block in drawn.items()}
                loss, _ = stage.loss(policy.losses_view(), policy.targets_view(), batch, own, policy.hp)
                modules = [policy.nets[key] for key in stage.trains]
                gradient_step(loss, modules, [policy.optimizers[key] for key in stage.trains])
        for key, target in policy.algorithm.targets.items():
            if target.is_due(update):
                policy._synchronise(key, target)
        if policy.lr_scheduler is not None:
            policy.lr_scheduler.step()


def test_every_algorithm_of_the_registry_has_a_small_population():
    assert ALGORITHMS.keys() == REGISTRY.keys()


@pytest.mark.parametrize(
    ("name", "typed", "has_masks"),
    [(name, (), False) for name in sorted(ALGORITHMS)] + [(name, typed, True) for name, typed in MASKED.items()],
)
@pytest.mark.usefixtures("float64")
def test_three_members_equal_three_policies_that_learn_alone_on_the_same_noise(
    name: str, typed: tuple[str, ...], has_masks: bool
):
    made = partial(population_of, name, [0, 1, 2], *typed, has_masks=has_masks)
    together, alone, replay = (made() for _ in range(3))
    # The policies of `alone` are taken out of its stack, so that nothing of the population's machinery is left.
    lone = [copy.deepcopy(policy) for policy in alone.policies]
    for policy, original in zip(lone, alone.policies, strict=True):
        policy.optimizers = rebuilt_optimizers(policy, original)
        assert policy.lr_scheduler is None or name == "bc"
    together.advance(50)
    for member, policy in enumerate(lone):
        policy.lr_scheduler = None
        if name == "bc":
            policy.lr_scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(policy.optimizers["actor"], T_max=100)
        fresh = made() if member else replay
        learn_alone(policy, fresh, member, 50)
        assert (weights(policy) - weights(together.policies[member])).abs().max() < 1e-10
    assert len({float(weights(policy)[0]) for policy in together.policies}) == 3


def rebuilt_optimizers(policy: Policy, original: Policy) -> dict[str, torch.optim.Optimizer]:
    """Optimizers of the copied parameters with the settings of the originals."""
    made: dict[int, torch.optim.Optimizer] = {}
    for optimizer in original.optimizers.values():
        if id(optimizer) not in made:
            names = [key for key, other in original.optimizers.items() if other is optimizer]
            params = [param for key in names for param in policy.nets[key].parameters()]
            group = optimizer.param_groups[0]
            settings = {key: group[key] for key in ("lr", "betas", "eps", "weight_decay")}
            made[id(optimizer)] = type(optimizer)(params, **settings)
    return {key: made[id(optimizer)] for key, optimizer in original.optimizers.items()}


# What the optimizers of CQL's roles have of their own; the rates of the critics' differ from member to member.
ROLES = {
    "policy": {"lr": 2e-3, "betas": [0.7, 0.95], "eps": 1e-5, "lr_decay": "cosine"},
    "temperature": {"lr": 5e-3, "betas": [0.5, 0.9], "weight_decay": 0.1},
    "critics": {"weight_decay": 0.05, "eps": 1e-6, "lr_decay": "linear"},
    "multiplier": {"lr": 1e-2, "weight_decay": 0.2, "eps": 1e-3},
}
MEMBERS = [{"critics.lr": 1e-3}, {"critics.lr": 4e-3, "temperature.weight_decay": 0.3}]


def cql_with_roles(*typed: str) -> Population:
    fixed = [f"{role}.{key}={value}" for role, own in ROLES.items() for key, value in own.items()]
    lists = [
        [*fixed, *(f"{key}={value}" for key, value in own.items())] for own in MEMBERS
    ]  # a later word of the same key counts
    cfgs = [
        checked(
            "algorithm=cql", "dataset=pendulum-noisy", "algorithm.lagrange_threshold=1", *SMALL, "num_updates=60",
            f"seed={seed}", *typed, *(f"algorithm.optimizers.{word}" for word in own),
        )
        for seed, own in enumerate(lists)
    ]  # fmt: skip
    return make_population(cfgs, random_walk(5, is_discrete=False))


def rate(decay: str | None, update: int) -> float:
    """The part of a rate that is left, of 60 updates."""
    if decay == "cosine":
        return (1 + math.cos(math.pi * update / 60)) / 2
    return 1 - update / 60 if decay == "linear" else 1.0


@pytest.mark.compiled
@pytest.mark.parametrize("typed", [(), ("compile=always",)])
@pytest.mark.usefixtures("float64")
def test_roles_of_members_step_by_their_own_rates_betas_decays_and_schedules(typed: tuple[str, ...]):
    together = cql_with_roles(*typed)
    nets_of = {"critics": ("critic1", "critic2")}
    together.advance(40)
    for member, own in enumerate(MEMBERS):
        fresh = cql_with_roles()
        policy, optimizers, rates = copy.deepcopy(fresh.policies[member]), {}, {}
        for role, words in ROLES.items():
            given = {"betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.0, **words}
            given |= {key.split(".")[1]: value for key, value in own.items() if key.startswith(role)}
            decay, nets = given.pop("lr_decay", None), nets_of.get(role, (role,))
            optimizer = torch.optim.Adam([param for net in nets for param in policy.nets[net].parameters()], **given)
            optimizers |= dict.fromkeys(nets, optimizer)
            rates[role] = torch.optim.lr_scheduler.LambdaLR(optimizer, partial(rate, decay))
        policy.optimizers, policy.lr_scheduler = optimizers, MultipleLRSchedulers(*rates.values())
        learn_alone(policy, fresh, member, 40)
        assert (weights(policy) - weights(together.policies[member])).abs().max() < 1e-10


NORMALISED = ("dataset.normalize_obs=true", "dataset.obs_eps=0.05")


@pytest.mark.parametrize("name", sorted(ALGORITHMS))
@pytest.mark.usefixtures("float64")
def test_members_that_normalise_learn_what_others_learn_from_data_normalised_by_hand(name: str):
    together, by_hand = population_of(name, [0, 1], *NORMALISED), population_of(name, [0, 1])
    columns, obs = by_hand.update.data.columns, by_hand.update.data.columns["obs"].clone()
    for key in ("obs", "obs_next"):
        columns[key].copy_((columns[key] - obs.mean(0)) / (obs.std(0, correction=0) + 0.05))
    together.advance(6)
    by_hand.advance(6)
    for policy, other in zip(together.policies, by_hand.policies, strict=True):
        assert (weights(policy) - weights(other)).abs().max() < 1e-10
        assert (policy.obs_mean - obs.mean(0)).abs().max() < 1e-12


@pytest.mark.parametrize("name", ["bcq", "discrete_bcq"])
@pytest.mark.usefixtures("float64")
def test_members_that_normalise_equal_lone_policies_that_do(name: str):
    together, alone, replay = (population_of(name, [0, 1], *NORMALISED) for _ in range(3))
    lone = copy.deepcopy(alone.policies[1])
    lone.optimizers = rebuilt_optimizers(lone, alone.policies[1])
    together.advance(50)
    learn_alone(lone, replay, 1, 50)
    assert (weights(lone) - weights(together.policies[1])).abs().max() < 1e-10


def test_a_population_that_normalises_goes_on_from_its_checkpoint_with_the_statistics_in_it():
    straight, first, second = (population_of("td3_bc", [0, 1], "dataset.normalize_obs=true") for _ in range(3))
    straight.advance(20)
    first.advance(15)
    for policy in second.policies:
        policy.obs_mean.fill_(100.0)
    second.load_state([copy.deepcopy(first.state(member)) for member in range(2)])
    second.advance(5)
    for resumed, unbroken in zip(second.policies, straight.policies, strict=True):
        assert torch.equal(weights(resumed), weights(unbroken))
        assert torch.equal(resumed.obs_mean, unbroken.obs_mean)


@pytest.mark.parametrize("name", ["bcq", "discrete_bcq"])
@pytest.mark.usefixtures("float64")
def test_a_members_result_depends_neither_on_its_neighbours_nor_on_their_number(name: str):
    crowd, alone = population_of(name, [4, 3, 2, 1, 0]), population_of(name, [2])
    crowd.advance(70)  # beyond one block of random numbers
    alone.advance(70)
    assert (weights(crowd.policies[2]) - weights(alone.policies[0])).abs().max() < 1e-10


@pytest.mark.parametrize("name", sorted(ALGORITHMS))
def test_stopping_and_loading_changes_no_bit(name: str):
    straight, first, second = (population_of(name, [0, 1]) for _ in range(3))
    straight.advance(80)
    first.advance(70)
    second.advance(3)
    second.load_state([copy.deepcopy(first.state(member)) for member in range(2)])
    second.advance(10)
    for resumed, unbroken in zip(second.policies, straight.policies, strict=True):
        assert torch.equal(weights(resumed), weights(unbroken))
    assert second.num_updates == 80
    assert second.read_metrics() == straight.read_metrics()


def test_a_policy_holds_what_its_member_has_learned_and_learns_on_alone():
    population = population_of("bcq", [0, 1])
    before = weights(population.policies[1]).clone()
    population.advance(5)
    policy = population.policies[1]
    assert not torch.equal(weights(policy), before)
    assert policy.num_updates == 5
    state = policy.optimizers["critic1"].state[next(policy.nets["critic1"].parameters())]
    assert float(state["step"]) == 5
    assert state["exp_avg"].abs().sum() > 0
    neighbour = weights(population.policies[0]).clone()
    policy.update(16, population.buffer)
    assert policy.num_updates == 6
    assert torch.equal(weights(population.policies[0]), neighbour)


def test_a_number_in_a_module_that_is_swept_is_each_members_own():
    population = population_of("bcq", [0, 1, 2])
    assert population.nets.tensors["actor.phi"].tolist() == pytest.approx([0.1, 0.2, 0.3])


def test_a_member_that_diverges_is_found_with_its_update_and_leaves_the_others_alone():
    broken, whole = population_of("discrete_bcq", [0, 1]), population_of("discrete_bcq", [0, 1])
    whole.advance(8)
    broken.advance(5)
    with torch.no_grad():
        next(broken.policies[0].nets["model"].parameters()).fill_(torch.inf)
    broken.advance(3)
    assert broken.failures() == [5, None]
    assert torch.equal(weights(broken.policies[1]), weights(whole.policies[1]))


def test_members_that_are_stopped_stay_as_they_are_and_are_loaded_so(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("bcq_exp.engine.population.EAGER_BYTES", 0)  # a part each
    population, whole = population_of("discrete_bcq", [0, 1, 2]), population_of("discrete_bcq", [0, 1, 2])
    population.advance(5)
    population.stop([0, 2])
    ended = [weights(policy).clone() for policy in population.policies]
    population.advance(4)
    whole.advance(9)
    assert [torch.equal(weights(policy), end) for policy, end in zip(population.policies, ended, strict=True)] == [
        True, False, True,
    ]  # fmt: skip
    assert torch.equal(weights(population.policies[1]), weights(whole.policies[1]))
    assert (population.num_updates, [policy.num_updates for policy in population.policies]) == (9, [5, 9, 5])
    states = [population.state(member) for member in range(3)]
    resumed = population_of("discrete_bcq", [0, 1, 2])
    resumed.stop([0, 2])
    resumed.load_state(states)
    for each in (resumed, whole):
        each.advance(3)
    assert torch.equal(weights(resumed.policies[0]), ended[0])
    assert torch.equal(weights(resumed.policies[1]), weights(whole.policies[1]))
    with pytest.raises(ValueError, match="different updates"):
        population_of("discrete_bcq", [0, 1, 2]).load_state(states)


def test_metrics_are_means_since_they_were_last_read_and_delayed_stages_count_only_their_own_updates():
    population, twin = population_of("td3_bc", [0]), population_of("td3_bc", [0])
    assert population.metric_names == ["critic1_loss", "critic2_loss", "actor_loss", "bc_loss"]
    each = []
    for _ in range(4):
        twin.advance(1)
        each += twin.read_metrics()
    population.advance(4)
    (means,) = population.read_metrics()
    assert "actor_loss" not in each[0]
    for name in population.metric_names:
        values = [metrics[name] for metrics in each if name in metrics]
        assert len(values) == (4 if name.startswith("critic") else 2)
        assert means[name] == pytest.approx(sum(values) / len(values), rel=1e-5)


@pytest.mark.parametrize(
    ("first", "second", "said"),
    [
        ((), ("algorithm.is_double=false",), "stage that trains model, imitator"),
        ((), ("algorithm.target_update_freq=9",), "targets"),
        ((), ("algorithm.estimation_step=2",), "num_steps"),
        ((), ("network.hidden_sizes=[9]",), "shape"),
        ((), ("network.activation=tanh",), "layers"),
        ((), ("optimizer=adamw",), "optimizers are"),
        ((), ("optimizer.betas=[0.8,0.9]",), "betas"),
    ],
)
def test_members_that_cannot_share_a_program_are_refused(first: tuple, second: tuple, said: str):
    fixed = ("algorithm=discrete_bcq", *SMALL)
    with pytest.raises(ValueError, match=said):
        make_population([checked(*fixed, *first), checked(*fixed, *second)], random_walk(5, is_discrete=True))


@pytest.mark.parametrize("name", ["discrete_bcq", "bcq"])
def test_bf16_products_keep_weights_in_fp32_and_stay_near(name: str):
    exact, rounded = population_of(name, [0, 1]), population_of(name, [0, 1], "precision=bf16")
    exact.advance(20)
    rounded.advance(20)
    for one, other in zip(exact.policies, rounded.policies, strict=True):
        assert {param.dtype for param in other.parameters()} == {torch.float32}
        distance = (weights(one) - weights(other)).norm() / weights(one).norm()
        assert 1e-6 < distance < 2e-2
    for one, other in zip(exact.read_metrics(), rounded.read_metrics(), strict=True):
        assert other == pytest.approx(one, rel=3e-2)


def test_two_populations_of_one_process_keep_their_programs_apart():
    first = population_of("discrete_bcq", [0, 1], "compile=always")
    first.advance(3)
    second = population_of("dqn", [0], "compile=always")
    second.advance(3)
    first.advance(3)
    eager = population_of("discrete_bcq", [0, 1])
    eager.advance(6)
    for one, other in zip(eager.policies, first.policies, strict=True):
        assert (weights(one) - weights(other)).square().mean().sqrt() < 1e-6


def test_a_part_whose_members_are_all_stopped_stays_as_it_is(monkeypatch):
    monkeypatch.setattr("bcq_exp.engine.population.EAGER_BYTES", 1000)
    population, whole = population_of("discrete_bcq", [0, 1, 2, 3]), population_of("discrete_bcq", [0, 1, 2, 3])
    assert len(population.parts) > 1
    for each in (population, whole):
        each.advance(3)
    stopped = range(len(population.policies))[population.parts[0].members]
    before = [weights(population.policies[member]).clone() for member in stopped]
    population.stop(stopped)
    for each in (population, whole):
        each.advance(5)
    assert all(weights(population.policies[m]).equal(was) for m, was in zip(stopped, before, strict=True))
    others = [member for member in range(4) if member not in stopped]
    assert all(weights(population.policies[m]).equal(weights(whole.policies[m])) for m in others)


@pytest.mark.parametrize(("kilobytes", "sizes"), [(100, [6]), (3, [3, 3]), (2, [2, 2, 2]), (0, [1] * 6)])
@pytest.mark.usefixtures("float64")
def test_members_in_parts_that_fit_the_cache_learn_the_same(kilobytes: int, sizes: list[int], monkeypatch):
    whole = population_of("discrete_bcq", [0, 1, 2, 3, 4, 5])
    num_bytes = 8 * sum(param.numel() for param in whole.policies[0].nets.parameters())
    assert num_bytes == 2 * 8 * (4 * 8 + 8 + 8 * 2 + 2)  # 928
    monkeypatch.setattr("bcq_exp.engine.population.EAGER_BYTES", 1000 * kilobytes)
    parted = population_of("discrete_bcq", [0, 1, 2, 3, 4, 5])
    assert [part.members.stop - part.members.start for part in parted.parts] == sizes
    whole.advance(20)
    parted.advance(20)
    for one, other in zip(whole.policies, parted.policies, strict=True):
        assert (weights(one) - weights(other)).abs().max() < 1e-10
    assert parted.failures() == [None] * 6


@pytest.mark.usefixtures("float64")
def test_members_with_dropout_equal_lone_policies_on_the_same_masks():
    typed = ("network.hidden_sizes=[8,4]", "network.dropout=0.3")
    together, alone, replay, whole = (population_of("iql", [0, 1], *each) for each in (typed, typed, typed, typed[:1]))
    lone = copy.deepcopy(alone.policies[1])
    lone.optimizers = rebuilt_optimizers(lone, alone.policies[1])
    learn_alone(lone, replay, 1, 50)
    for population in (together, whole):
        population.advance(50)
    assert (weights(lone) - weights(together.policies[1])).abs().max() < 1e-10
    assert (weights(lone) - weights(whole.policies[1])).abs().max() > 1e-3
