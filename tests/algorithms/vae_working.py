"""A step of the generative model of arXiv:1812.02900, section 4.2, worked out in numpy."""

from collections.abc import Callable

import numpy as np

from algorithms.golden import Array, Weights, backward, cat, forward


def vae_gradients(
    encoder: Weights, decoder: Weights, s: Array, a: Array, noise: Array, max_action: float
) -> tuple[float, dict[str, Weights]]:
    """mean (a - D(s, mu + sigma noise))^2 + KL / 2, and its gradients by network.

    Beyond the paper's text, as in its published code: both terms are means over batch and dimensions, the divergence
    counts half, and log std is clamped to [-4, 15].
    """
    obs_dim, latent = s.shape[-1], noise.shape[-1]
    out, encoder_inputs = forward(encoder, cat(s, a))
    mu, log_std = out[:, :latent], out[:, latent:]
    sigma = np.exp(log_std.clip(-4, 15))
    raw, decoder_inputs = forward(decoder, cat(s, mu + sigma * noise))
    recon = max_action * np.tanh(raw)
    kl = (mu**2 + sigma**2 - 1 - 2 * np.log(sigma)) / 2
    d_raw = 2 * (recon - a) / a.size * max_action * (1 - np.tanh(raw) ** 2)
    grads = {}
    grads["decoder"], d_input = backward(decoder, decoder_inputs, d_raw)
    d_latent = d_input[:, obs_dim:]
    d_mu = d_latent + mu / (2 * mu.size)
    d_sigma = d_latent * noise + (sigma - 1 / sigma) / (2 * mu.size)
    d_log_std = d_sigma * sigma * ((log_std > -4) & (log_std < 15))
    grads["encoder"], _ = backward(encoder, encoder_inputs, cat(d_mu, d_log_std))
    return np.mean((recon - a) ** 2) + np.mean(kl) / 2, grads


def sampler(decoder: Weights, max_action: float) -> Callable[[Array, Array], Array]:
    """(s, z) -> the action that the generative model makes of them."""
    return lambda s, z: max_action * np.tanh(forward(decoder, cat(s, z))[0])
