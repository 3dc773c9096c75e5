import math

import pytest
import torch
from torch import Tensor, nn

from bcq_exp.networks import VAE, Decoder, Encoder, Hidden, RawDecoder

HIDDEN: Hidden = {"hidden_sizes": [8], "activation": "relu"}


@pytest.fixture
def vae() -> VAE:
    torch.manual_seed(0)
    return VAE(Encoder(3, 2, latent_dim=4, **HIDDEN), Decoder(3, 2, latent_dim=4, max_action=2.0, **HIDDEN))


def last_bias(encoder: Encoder) -> Tensor:
    last = encoder.mlp.layers[-1]
    assert isinstance(last, nn.Linear)
    return last.bias.detach()


@pytest.mark.parametrize(("log_std", "expected"), [(-100.0, -4.0), (100.0, 15.0)])
def test_log_std_is_clamped_and_the_mean_is_not(vae: VAE, log_std: float, expected: float) -> None:
    last_bias(vae.encoder).copy_(torch.tensor([100.0] * 4 + [log_std] * 4))
    mean, std = vae.encoder(torch.randn(5, 3), torch.randn(5, 2))
    assert mean.min() > 90
    torch.testing.assert_close(std, torch.full((5, 4), math.exp(expected)))


def test_first_half_is_the_mean_and_second_half_the_log_of_the_deviation(vae: VAE) -> None:
    obs, act = torch.randn(5, 3), torch.randn(5, 2)
    out = vae.encoder.mlp(torch.cat([obs, act], -1))
    mean, std = vae.encoder(obs, act)
    torch.testing.assert_close(mean, out[:, :4])
    torch.testing.assert_close(std.log(), out[:, 4:])


def test_decoder_stays_within_the_bound_and_reads_both_inputs(vae: VAE) -> None:
    obs, latent = torch.randn(50, 3), torch.randn(50, 4)
    act = vae.decoder(obs, 100 * latent)
    assert 1.99 < act.abs().max() <= 2
    assert not torch.allclose(act, vae.decoder(-obs, 100 * latent))
    torch.testing.assert_close(vae.decoder(obs[7], latent[7]), vae.decoder(obs, latent)[7])


def test_raw_decoder_is_what_the_decoder_bounds() -> None:
    raw, bounded = RawDecoder(3, 2, latent_dim=4, **HIDDEN), Decoder(3, 2, latent_dim=4, max_action=2.0, **HIDDEN)
    bounded.load_state_dict(raw.state_dict())
    obs, latent = torch.randn(5, 3), 100 * torch.randn(5, 4)
    assert raw(obs, latent).abs().max() > 2
    torch.testing.assert_close(bounded(obs, latent), 2 * raw(obs, latent).tanh())


def test_reconstruction_decodes_the_mean_shifted_by_the_scaled_noise(vae: VAE) -> None:
    obs, act, noise = torch.randn(5, 3), torch.randn(5, 2), torch.randn(5, 4)
    recon, mean, std = vae(obs, act, noise)
    torch.testing.assert_close(recon, vae.decoder(obs, mean + std * noise))
    torch.testing.assert_close(vae(obs, act, torch.zeros_like(noise))[0], vae.decoder(obs, mean))
    assert vae.latent_dim == mean.shape[-1] == std.shape[-1] == 4
