import pytest
import torch

from bcq_exp.networks import Critic, EnsembleCritic


@pytest.fixture
def ensemble() -> EnsembleCritic:
    return EnsembleCritic(4, 3, 2, hidden_sizes=[6, 5], activation="relu")


def test_each_value_is_that_of_one_member(ensemble: EnsembleCritic) -> None:
    obs, act = torch.randn(7, 3), torch.randn(7, 2)
    q = ensemble(obs, act)
    assert q.shape == (4, 7)
    torch.testing.assert_close(q, torch.stack([critic(obs, act) for critic in ensemble.members()]))
    assert len(q[:, 0].unique()) == 4, "each member has weights of its own"


def test_each_member_may_have_actions_of_its_own(ensemble: EnsembleCritic) -> None:
    obs, act = torch.randn(7, 3), torch.randn(4, 7, 2)
    expected = torch.stack([critic(obs, own) for critic, own in zip(ensemble.members(), act, strict=True)])
    torch.testing.assert_close(ensemble(obs, act), expected)


def test_members_are_drawn_like_critics_one_after_the_other() -> None:
    torch.manual_seed(3)
    ensemble = EnsembleCritic(2, 3, 2, hidden_sizes=[6], activation="relu")
    torch.manual_seed(3)
    for member in ensemble.members():
        critic = Critic(3, 2, hidden_sizes=[6], activation="relu")
        assert all(map(torch.equal, member.parameters(), critic.parameters()))


def test_what_is_written_into_a_member_is_in_the_ensemble(ensemble: EnsembleCritic) -> None:
    obs, act = torch.randn(7, 3), torch.randn(7, 2)
    before = ensemble(obs, act)
    with torch.no_grad():
        list(ensemble.members()[2].parameters())[-1].add_(1)
    torch.testing.assert_close(ensemble(obs, act) - before, torch.tensor([0.0, 0, 1, 0])[:, None].expand(-1, 7))
