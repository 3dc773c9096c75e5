"""What a program takes, gives and holds."""

import contextlib
import logging

import gymnasium as gym
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from algorithms import tiny
from bcq_exp.policies import DiscreteBCQPolicy, normalize_observations
from bcq_exp.policy_files.program import Program, in_line, quiet, traced
from policy_files.states import own_actions, states


def names(program: Program) -> tuple[list[str], list[str]]:
    return [port.name for port in program.inputs], [port.name for port in program.outputs]


@pytest.mark.parametrize(
    ("name", "has_mask", "inputs", "outputs", "nets"),
    [
        ("bcq", False, ["obs", "noise_latent"], ["action"], {"actor", "critic1", "decoder"}),
        ("bear", False, ["obs", "noise_eps"], ["action"], {"policy", "critic1"}),
        ("td3", False, ["obs"], ["action"], {"actor"}),
        ("dqn", True, ["obs", "mask"], ["action", "q_value"], {"model"}),
        ("discrete_bcq", False, ["obs"], ["action", "q_value", "imitation_logits"], {"model", "imitator"}),
        ("spibb_dqn", True, ["obs", "mask", "noise_choice"], ["action", "probs", "q_value", "imitation_logits"],
         {"model", "imitator"}),
    ],
)  # fmt: skip
def test_a_program_takes_what_its_rule_reads_and_holds_what_it_calls(
    name: str, has_mask: bool, inputs: list[str], outputs: list[str], nets: set[str]
) -> None:
    program = Program(tiny.make_policy(name).eval(), has_mask=has_mask, noise_seed=None)
    assert names(program) == (inputs, outputs)
    assert set(program.nets) == nets
    held = {key.split(".")[1] for key in program.state_dict() if key.startswith("nets.")}
    assert held == nets


def test_observations_are_taken_as_recorded_where_the_policy_standardises_them() -> None:
    policy = tiny.make_policy("dqn").eval()
    normalize_observations(policy, np.array([1.0, -2.0, 0.5]), np.array([0.1, 3.0, 2.0]), eps=1e-3)
    program = Program(policy, has_mask=False, noise_seed=None)
    expected, inputs = own_actions(policy, states(200))
    bare = Program(tiny.make_policy("dqn").eval(), has_mask=False, noise_seed=None)
    found, plain = (each(*map(torch.as_tensor, inputs))[0].numpy() for each in (program, bare))
    np.testing.assert_array_equal(found, expected)
    assert (plain != expected).any()
    assert "standardised inside" in program.inputs[0].meaning


def test_values_come_with_the_actions_they_decide() -> None:
    policy, rows = tiny.make_policy("dqn").eval(), states(50, num_actions=6)
    assert rows.mask is not None
    inputs = (torch.as_tensor(rows.obs), torch.as_tensor(rows.mask))
    act, q_value = (value.numpy() for value in Program(policy, has_mask=True, noise_seed=None)(*inputs))
    np.testing.assert_array_equal(np.where(rows.mask, q_value, -np.inf).argmax(axis=1), act)
    np.testing.assert_allclose(q_value, policy.nets["model"](inputs[0]).detach().numpy(), atol=1e-6)


def test_a_graph_takes_any_number_of_rows() -> None:
    module = traced(Program(tiny.make_policy("bcq").eval(), has_mask=False, noise_seed=None)).module()
    for num_rows in (1, 2, 7):
        assert module(torch.zeros(num_rows, 3), torch.zeros(num_rows, 5, 4))[0].shape == (num_rows, 2)


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.GRU(3, 4, batch_first=True)

    def forward(self, obs: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        out, state = self.layer(obs.unsqueeze(1), state)
        return out.squeeze(1), state


def documented(space: gym.Space) -> DiscreteBCQPolicy:
    model, imitator = Recurrent(), Recurrent()
    optim = torch.optim.Adam([*model.parameters(), *imitator.parameters()])
    return DiscreteBCQPolicy(
        model=model, imitator=imitator, optim=optim, action_space=gym.spaces.Discrete(4), observation_space=space
    ).eval()


def test_what_cannot_be_a_function_of_one_array_is_refused() -> None:
    box = gym.spaces.Box(-1, 1, (3,))
    with pytest.raises(ValueError, match="model is recurrent: its state would be lost between two calls of the file"):
        Program(documented(box), has_mask=False, noise_seed=None)
    with pytest.raises(ValueError, match=r"observations are Dict.*only those of a Box can be exported"):
        Program(documented(gym.spaces.Dict({"a": box})), has_mask=False, noise_seed=None)


def test_spaces_are_one_line_however_long() -> None:
    assert "\n" not in in_line(gym.spaces.Box(np.arange(60.0), np.arange(60.0) + 1))


def test_warnings_and_logs_are_back_after_a_failed_export(caplog: pytest.LogCaptureFixture) -> None:
    with contextlib.suppress(ValueError), quiet():
        logging.getLogger("torch").warning("not said")
        raise ValueError
    logging.getLogger("torch").warning("said")
    assert caplog.messages == ["said"]
