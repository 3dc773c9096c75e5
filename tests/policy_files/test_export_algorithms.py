"""Every algorithm of the registry acts from a file as it does here.

All are compared in torch's format. In ONNX, which takes longer to write, those are whose rule of action has an
operation that no earlier one has; all are among the slow tests.
"""

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from torch.export import ExportedProgram

from algorithms import tiny
from bcq_exp.algorithms import REGISTRY
from bcq_exp.networks import MLPNetworkConfig, NatureCNNConfig, Sizes
from bcq_exp.policies import Policy, normalize_observations
from bcq_exp.policy_files.agreement import TOLERANCE, Rows
from bcq_exp.policy_files.formats import FORMATS
from bcq_exp.policy_files.program import Program, traced
from policy_files.states import own_actions, states

NUM_ACTIONS = int(tiny.DISCRETE.n)
VARIANTS: list[tuple[str, dict[str, Any]]] = [
    ("bc", {"policy": "gaussian", "action_bound_method": "tanh"}),
    ("crr", {"evaluation": "critic_weighted"}),
    ("discrete_bcq", {"num_quantiles": 3, "unlikely_action_threshold": 1.0}),
    ("dqn", {"unmasked": True, "normalized": True}),
    ("td3_bc", {"normalized": True, "action_scaling": False, "action_bound_method": None}),
    ("bcq", {"activation": "gelu"}),
]
CASES = [*((name, {}) for name in REGISTRY), *VARIANTS]
NAMES = [" ".join([name, *changed]) for name, changed in CASES]
seen_in_onnx: set[str] = set()


def policy_of(name: str, *, normalized: bool = False, activation: str = "relu", **changed: Any) -> Policy:
    network = MLPNetworkConfig(name="x", kind="mlp", hidden_sizes=[6, 5], vae_hidden_sizes=[7], activation=activation,
                               **tiny.INITIAL)  # fmt: skip
    policy = tiny.make_policy(name, network=network, **changed)
    if normalized:
        normalize_observations(policy, np.array([0.5, -2.0, 3.0]), np.array([0.1, 2.0, 5.0]), eps=1e-3)
    return policy.eval()


def case(name: str, *, unmasked: bool = False, **changed: Any) -> tuple[Policy, Rows]:
    is_masked = REGISTRY[name].is_discrete and not unmasked
    return policy_of(name, **changed), states(num_actions=NUM_ACTIONS if is_masked else None)


def compiled(policy: Policy, rows: Rows) -> tuple[Program, ExportedProgram]:
    program = Program(policy, has_mask=rows.mask is not None, noise_seed=None)
    return program, traced(program)


def check(policy: Policy, rows: Rows, program: Program, graph: ExportedProgram, kind: str, path: Path) -> None:
    for package in FORMATS[kind].packages:
        pytest.importorskip(package)
    FORMATS[kind].write(graph, program.inputs, program.outputs, path)
    expected, inputs = own_actions(policy, rows)
    found = FORMATS[kind].load(path)(inputs)
    assert [value.shape[1:] for value in found] == [port.shape for port in program.outputs]
    assert [str(value.dtype) for value in found] == [port.dtype for port in program.outputs]
    assert found[0].shape == expected.shape
    assert found[0].dtype == expected.dtype
    assert len(np.unique(expected.round(3), axis=0)) > 2  # the states tell actions apart
    np.testing.assert_allclose(found[0], expected, rtol=0, atol=0 if policy.action_map.is_discrete else TOLERANCE)


@pytest.mark.parametrize(("name", "changed"), CASES, ids=NAMES)
def test_a_file_acts_as_the_policy_does(name: str, changed: dict[str, Any], tmp_path: Path) -> None:
    policy, rows = case(name, **changed)
    program, graph = compiled(policy, rows)
    check(policy, rows, program, graph, "torch", tmp_path / "policy.pt2")
    operations = {str(node.target) for node in graph.graph.nodes if node.op == "call_function"}
    if not operations <= seen_in_onnx:
        check(policy, rows, program, graph, "onnx", tmp_path / "policy.onnx")
        seen_in_onnx.update(operations)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "changed"), CASES, ids=NAMES)
def test_an_onnx_file_acts_as_the_policy_does(name: str, changed: dict[str, Any], tmp_path: Path) -> None:
    policy, rows = case(name, **changed)
    check(policy, rows, *compiled(policy, rows), "onnx", tmp_path / "policy.onnx")


@pytest.mark.parametrize("kind", FORMATS)
def test_images_are_bytes_and_actions_begin_where_their_space_does(kind: str, tmp_path: Path) -> None:
    shape = (1, 36, 36)
    network = NatureCNNConfig(name="x", kind="nature_cnn", hidden_sizes=[16], **tiny.INITIAL)
    definition, cfg, sizes = REGISTRY["discrete_bcq"], tiny.config("discrete_bcq"), Sizes(shape, 4, 1.0)
    torch.manual_seed(0)
    nets, algorithm = definition.networks(cfg, network, sizes), definition.build(cfg, sizes)
    tiny.scatter(*(net.head for net in nets.values()))
    optimizer = torch.optim.Adam(torch.nn.ModuleList(nets.values()).parameters())
    policy = Policy(
        algorithm=algorithm, nets=nets, optimizers=dict.fromkeys(nets, optimizer),
        hp={key: getattr(cfg, key) for key in algorithm.swept}, action_space=gym.spaces.Discrete(4, start=10),
        observation_space=gym.spaces.Box(0, 255, shape, np.uint8),
    ).eval()  # fmt: skip
    rng = np.random.default_rng(0)
    rows = Rows(rng.integers(256, size=(1000, *shape), dtype=np.uint8), rng.random((1000, 4)) < 0.5)
    rows.mask[:, 1] = True
    program, graph = compiled(policy, rows)
    assert (program.inputs[0].dtype, program.outputs[0].meaning) == ("uint8", "one of the actions 10 to 13")
    check(policy, rows, program, graph, kind, tmp_path / "policy")
