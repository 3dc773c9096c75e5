import pytest
import torch

from algorithms import tiny
from algorithms.golden import Adam, assert_same
from algorithms.vae_working import sampler, vae_gradients

LATENT, MAX_ACTION = 2 * tiny.ACT_DIM, 1.5
DATA = tiny.data(is_discrete=False)
NUM_ROWS = len(DATA["rew"])


def test_golden_update() -> None:
    """One step of the generative model, and the action that it samples then: D(s, clip(z, -0.5, 0.5))."""
    policy = tiny.make_policy("vae_bc", max_action=MAX_ACTION)
    with torch.no_grad():  # scattered weights make deviations that leave nothing of 1e-10
        list(policy.nets["encoder"].parameters())[-2].mul_(0.01)
    nets = {name: tiny.arrays(net) for name, net in policy.nets.items()}
    noise = torch.randn(NUM_ROWS, LATENT, generator=tiny.replay(policy)).numpy()

    stats = policy.learn(DATA)

    loss, grads = vae_gradients(nets["encoder"], nets["decoder"], DATA["obs"], DATA["act"], noise, MAX_ACTION)
    assert stats.smoothed_loss == pytest.approx({"vae_loss": loss}, abs=1e-10)
    assert nets.keys() == policy.nets.keys() == grads.keys()
    for name in nets:
        nets[name] = Adam(tiny.LR).step(nets[name], grads[name])
        assert_same(tiny.gradients(policy.nets[name]), grads[name])
        assert_same(tiny.arrays(policy.nets[name]), nets[name])

    z = torch.randn(NUM_ROWS, LATENT, generator=policy.acting_noise.clone_state()).numpy()
    assert 0 < (abs(z) > 0.5).mean() < 1, "the clip shall act on some of the noise, and not on all"
    act = policy({"obs": DATA["obs"]}).act.numpy()
    assert_same([act], [sampler(nets["decoder"], MAX_ACTION)(DATA["obs"], z.clip(-0.5, 0.5))])


def test_it_learns_the_generative_model_of_bcq() -> None:
    """The same weights, data and noise: the same model after three updates, whatever BCQ's critics do."""
    clone, bcq = tiny.make_policy("vae_bc"), tiny.make_policy("bcq")
    for name, net in clone.nets.items():
        net.load_state_dict(bcq.nets[name].state_dict())
    for update in range(3):
        clone.learning_noise.manual_seed(update)
        bcq.learning_noise.manual_seed(update)  # BCQ's first stage is the model's
        clone.learn(DATA)
        bcq.learn(DATA)
    for name, net in clone.nets.items():
        assert_same(tiny.arrays(net), tiny.arrays(bcq.nets[name]))


def test_actions_are_samples_of_a_state() -> None:
    policy = tiny.make_policy("vae_bc")
    obs = torch.zeros(100, tiny.OBS_DIM)
    act = policy({"obs": obs}).act
    assert act.std(0).min() > 1e-3
    policy.seed_acting(1)
    first = policy({"obs": obs}).act
    policy.seed_acting(1)
    assert torch.equal(policy({"obs": obs}).act, first)
