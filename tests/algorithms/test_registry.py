import itertools
from dataclasses import fields
from typing import Any

import pytest
import torch
from torch import Tensor

from algorithms import tiny
from bcq_exp.algorithms import REGISTRY
from bcq_exp.data import ReplayBuffer
from bcq_exp.fields import Range, violations
from bcq_exp.networks import MLPNetworkConfig, NatureCNNConfig, Sizes
from bcq_exp.policies import Policy

NUM_UPDATES = 3
OTHER: dict[str, Any] = {
    "action_bound_method": "tanh",
    "action_layer": 2,
    "action_scaling": False,
    "actor_penalty": 3.0,
    "alpha": 0.5,
    "backup": "q",
    "beta": 0.2,
    "clip_loss_grad": True,
    "critic_penalty": 2.0,
    "estimation_step": 3,
    "eta": 0.5,
    "evaluation": "critic_weighted",
    "excess": "rectified",
    "eval_eps": 0.5,
    "expectile": 0.3,
    "forward_sampled_times": 50,
    "kernel": "gaussian",
    "mmd_sigma": 9.0,
    "mmd_threshold": 3.0,
    "num_critics": 2,
    "num_samples_match": 7,
    "warmup": 2,
    "gamma": 0.5,
    "imitation_logits_penalty": 0.2,
    "is_double": False,
    "kappa": 0.1,
    "kl_weight": 3.0,
    "lagrange_threshold": 0.5,
    "lmbda": 0.25,
    "min_probability": 0.4,
    "max_weight": 0.5,
    "noise_clip": 0.05,
    "num_bins": 7,
    "next_action": "logged",
    "normalization": "none",
    "num_heads": 5,
    "num_quantiles": 5,
    "num_sampled_action": 10,
    "phi": 0.6,
    "policy": "gaussian",
    "policy_freq": 1,
    "policy_noise": 0.05,
    "pseudo_target_min": None,
    "reward_normalization": True,
    "target_update_freq": 1,
    "tau": 0.9,
    "unlikely_action_threshold": 0.9,
    "weight": "binary",
}  # for each key a value that is not in `tiny.CONFIGS`

GENERATIVE = {"bcq", "mcq", "vae_bc", "bear"}  # those with a generative model of the actions


def idle(name: str) -> set[str]:
    """Roles that have no network in the tiny configuration of an algorithm."""
    return {"multiplier"} if tiny.CONFIGS[name].get("lagrange_threshold", 0) is None else set()


def soft(name: str) -> dict[str, Any]:
    """What the tiny configuration of an algorithm lacks for soft targets."""
    return {"tau": 0.4, "target_update_freq": None} if tiny.CONFIGS[name].get("tau", 0) is None else {}


def schema(name: str) -> list[str]:
    return [spec.name for spec in fields(REGISTRY[name].config) if spec.name != "name"]


SETTINGS = [(name, key) for name in REGISTRY for key in schema(name)]
SWEPT = [
    (name, key)
    for name, definition in REGISTRY.items()
    for key in sorted(
        definition.build(tiny.config(name, **soft(name)), Sizes((tiny.OBS_DIM,), tiny.ACT_DIM, 1.0)).swept
    )
]


def trace(policy: Policy) -> list[float]:
    """All that three updates and an evaluation show: losses, targets, actions in the environment's units."""
    buffer = ReplayBuffer(**tiny.data(is_discrete=policy.action_map.is_discrete))
    batch = buffer.window(torch.arange(len(buffer)), policy.algorithm.num_steps, policy.algorithm.fields)
    policy.prepare(buffer)
    seen: list[float] = []
    for _ in range(NUM_UPDATES):
        seen += policy.learn(batch).smoothed_loss.values()
        seen += [float(param.sum()) for param in policy.targets.parameters()]
    obs = torch.randn(64, tiny.OBS_DIM, generator=torch.Generator().manual_seed(0))
    return seen + policy.eval().compute_action(obs).flatten().tolist()


@pytest.mark.parametrize(("name", "key"), SETTINGS)
def test_no_setting_is_accepted_and_ignored(name: str, key: str) -> None:
    before = trace(tiny.make_policy(name))
    assert trace(tiny.make_policy(name)) == before, "the same settings shall show the same"
    other = {**soft(name), key: OTHER[key]} if key == "tau" else {key: OTHER[key]}
    assert trace(tiny.make_policy(name, **other)) != before


@pytest.mark.parametrize(("name", "key"), SWEPT)
def test_swept_number_acts_through_its_tensor_alone(name: str, key: str) -> None:
    """Members of a population share the code that was built for one of them."""
    policy = tiny.make_policy(name, **soft(name))
    policy.hp[key].fill_(OTHER[key])
    assert trace(policy) == trace(tiny.make_policy(name, **{**soft(name), key: OTHER[key]}))


def test_phi_acts_through_its_buffer_alone() -> None:
    policy = tiny.make_policy("bcq")
    for nets in (policy.nets, policy.targets):
        nets.load_state_dict({**nets.state_dict(), "actor.phi": torch.tensor(OTHER["phi"])})
    assert trace(policy) == trace(tiny.make_policy("bcq", phi=OTHER["phi"]))


@pytest.mark.parametrize("name", REGISTRY)
def test_every_width_and_activation_counts(name: str) -> None:
    base = {"hidden_sizes": [6, 5], "vae_hidden_sizes": [7, 4], "activation": "relu"}
    before = trace(tiny.make_policy(name))
    for key, other in {"hidden_sizes": [6], "vae_hidden_sizes": [7], "activation": "elu"}.items():
        network = MLPNetworkConfig(name="other", kind="mlp", **tiny.INITIAL, **base | {key: other})  # type: ignore[arg-type]
        is_read = name not in {"vae_hidden_sizes": set(REGISTRY) - GENERATIVE, "hidden_sizes": {"vae_bc"}}.get(key, ())
        assert (trace(tiny.make_policy(name, network=network)) != before) == is_read, key


@pytest.mark.parametrize("name", REGISTRY)
def test_definition_agrees_with_itself(name: str) -> None:
    definition, cfg = REGISTRY[name], tiny.config(name)
    sizes = Sizes((tiny.OBS_DIM,), tiny.ACT_DIM, 1.0)
    nets, algorithm = definition.networks(cfg, tiny.NETWORK, sizes), definition.build(cfg, sizes)
    trained = [net for stage in algorithm.stages for net in stage.trains]
    pairs = itertools.combinations(algorithm.stages, 2)
    assert definition.build.__module__ == f"bcq_exp.algorithms.{name}"
    assert {*trained} == {*nets}, "each network is trained"
    assert {definition.role(net) for net in nets} == {*(definition.roles or (None,))} - idle(name)
    assert definition.roles or len({stage.trains for stage in algorithm.stages}) == 1
    assert {*algorithm.scalar, *algorithm.recurrent} <= nets.keys()
    assert all(one.trains == other.trains or not {*one.trains} & {*other.trains} for one, other in pairs)
    assert {target.source for target in algorithm.targets.values()} <= nets.keys()
    assert {target.rate for target in algorithm.targets.values()} <= {*algorithm.swept, None}
    assert algorithm.swept <= set(schema(name))
    assert definition.swept - {"phi"} == definition.build(tiny.config(name, **soft(name)), sizes).swept
    assert set(tiny.CONFIGS[name]) == set(schema(name))
    assert violations(definition.config, tiny.CONFIGS[name]) == []
    assert definition.is_discrete == ("eval_eps" in schema(name)) == ("action_scaling" not in schema(name))


@pytest.mark.parametrize(("name", "key"), SWEPT)
def test_swept_number_has_a_range(name: str, key: str) -> None:
    (spec,) = (spec for spec in fields(REGISTRY[name].config) if spec.name == key)
    assert isinstance(spec.metadata["allowed"], Range)


@pytest.mark.parametrize("name", REGISTRY)
def test_a_draw_of_the_networks_gives_each_its_own_weights(name: str) -> None:
    nets = REGISTRY[name].networks(tiny.config(name), tiny.NETWORK, Sizes((tiny.OBS_DIM,), tiny.ACT_DIM, 1.0))
    params = [param for net in nets.values() for param in net.parameters()]
    params = [param for param in params if not ((param == 0) | (param == 1)).all()]  # what starts there is not drawn
    for i, one in enumerate(params):
        assert not any(one.shape == other.shape and torch.equal(one, other) for other in params[i + 1 :])


@pytest.mark.parametrize("name", [name for name, definition in REGISTRY.items() if definition.is_discrete])
def test_networks_on_images_share_the_convolutions_of_their_stage_and_nothing_else(name: str) -> None:
    network = NatureCNNConfig(name="x", kind="nature_cnn", hidden_sizes=[5], **tiny.INITIAL)
    sizes = Sizes((1, 36, 44), 6, 1.0)
    definition, cfg = REGISTRY[name], tiny.config(name)
    nets, stages = definition.networks(cfg, network, sizes), definition.build(cfg, sizes).stages
    for stage in stages:
        trunks = {id(nets[trained].trunk) for trained in stage.trains}
        assert len(trunks) == 1
        assert all(id(net.trunk) not in trunks for other, net in nets.items() if other not in stage.trains)
    mlps = definition.networks(cfg, tiny.NETWORK, sizes_of_vectors := Sizes((3,), sizes.act_dim, 1.0))
    for key, net in nets.items():
        num_outputs = mlps[key](torch.zeros(1, sizes_of_vectors.obs_dim)).shape[-1]
        shapes = [tuple(param.shape) for param in net.head.parameters()]
        assert shapes == [(5, 64 * 2), (5,), (num_outputs, 5), (num_outputs,)]
    heads = [param for net in nets.values() for param in net.head.parameters()]
    for i, one in enumerate(heads):
        assert not any(one.shape == other.shape and torch.equal(one, other) for other in heads[i + 1 :])


VARIANTS = [
    ("discrete_bcq", {"num_quantiles": 3, "clip_loss_grad": True}),
    ("discrete_cql", {"num_quantiles": 3, "clip_loss_grad": True}),
    ("discrete_crr", {"weight": "binary"}),
    ("kl_control", {"backup": "q"}),
]
MASKED = [*((name, {}) for name, definition in REGISTRY.items() if definition.is_discrete), *VARIANTS]


@pytest.fixture(params=MASKED, ids=lambda param: " ".join([param[0], *map(str, param[1].values())]))
def masked(request: pytest.FixtureRequest) -> tuple[Policy, dict[str, Tensor]]:
    """A policy for discrete actions, and a batch with masks, where nothing is available behind a terminal state."""
    name, changed = request.param
    policy, buffer = tiny.make_policy(name, **changed), ReplayBuffer(**tiny.data(is_discrete=True))
    return policy, buffer.window(torch.arange(len(buffer)), policy.algorithm.num_steps, policy.algorithm.fields)


def overwritten(nets: dict[str, Any], batch: dict[str, Tensor], worth: float | None) -> dict[str, Any]:
    """The networks with this in place of all that they say of unavailable actions; None: as they are."""

    def changed(net: Any, obs: Tensor) -> Tensor:
        out = net(obs)
        if worth is None or out.shape[-1] % tiny.DISCRETE.n:  # the value of a state
            return out
        mask = batch["mask"] if obs is batch["obs"] else batch["mask_next"]
        return out.unflatten(-1, (-1, tiny.DISCRETE.n)).masked_fill(~mask[:, None], worth).flatten(1)

    return {name: (lambda obs, net=net: changed(net, obs)) for name, net in nets.items()}


def losses_and_gradients(policy: Policy, batch: dict[str, Tensor], worth: float | None) -> list[Tensor]:
    nets, slow = (overwritten(dict(view), batch, worth) for view in (policy.losses_view(), policy.targets_view()))
    generator, found = torch.Generator().manual_seed(0), []
    for stage in policy.algorithm.stages:
        noise = {key: draw.sample(len(batch["obs"]), generator) for key, draw in stage.noise.items()}
        loss, metrics = stage.loss(nets, slow, batch, noise, policy.hp)
        params = [param for name in stage.trains for param in policy.nets[name].parameters()]
        found += [loss.detach(), *(value.detach() for value in metrics.values()), *torch.autograd.grad(loss, params)]
    return found


@pytest.mark.parametrize("worth", [0.0, 1e4, torch.inf, torch.nan])
def test_no_loss_hears_what_a_network_says_of_unavailable_actions(masked: Any, worth: float) -> None:
    policy, batch = masked
    expected = losses_and_gradients(policy, batch, None)
    assert all(value.isfinite().all() for value in expected)
    for one, other in zip(losses_and_gradients(policy, batch, worth), expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


def test_a_mask_of_all_actions_changes_no_loss(masked: Any) -> None:
    policy, batch = masked
    bare = {name: column for name, column in batch.items() if name not in ("mask", "mask_next")}
    whole = {name: torch.ones_like(batch[name]) for name in ("mask", "mask_next")}
    found = (losses_and_gradients(policy, columns, None) for columns in ({**bare, **whole}, bare))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("worth", [1e4, torch.inf])
def test_no_policy_hears_what_a_network_says_of_unavailable_actions(masked: Any, worth: float) -> None:
    policy, batch = masked
    noise = {key: draw.sample(len(batch["obs"]), torch.Generator()) for key, draw in policy.algorithm.act_noise.items()}
    act_B, other_B = (
        policy.algorithm.act(overwritten(dict(policy.losses_view()), batch, each), batch, noise, policy.hp)["act"]
        for each in (None, worth)
    )
    assert torch.equal(act_B, other_B)
    assert batch["mask"][torch.arange(len(act_B)), act_B].all()


@pytest.mark.parametrize("eval_eps", [0.0, 1.0])
def test_no_policy_takes_an_unavailable_action_in_evaluation(masked: Any, eval_eps: float) -> None:
    policy, _ = masked
    policy.eval().hp["eval_eps"].fill_(eval_eps)
    mask = torch.rand(300, int(tiny.DISCRETE.n)) < 0.4
    mask[:, 2] = True
    act = torch.as_tensor(policy.compute_action(torch.randn(300, tiny.OBS_DIM).numpy(), mask=mask.numpy()))
    assert mask[torch.arange(300), act].all()
    assert len(act.unique()) > 2
    assert policy.compute_action(torch.zeros(tiny.OBS_DIM).numpy(), mask=[0, 0, 0, 0, 1, 0]) == 4
