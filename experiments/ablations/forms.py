"""Forms of continuous BCQ that are wrong on purpose, as well-known code has them: to measure what each fault costs."""

import copy
from collections.abc import Mapping
from dataclasses import replace

from torch import Tensor, nn

from bcq_exp.algorithms import bcq
from bcq_exp.algorithms.bcq import BCQConfig
from bcq_exp.algorithms.definition import Definition
from bcq_exp.algorithms.form import Algorithm, Nets, Tensors
from bcq_exp.algorithms.schema import AlgorithmConfig
from bcq_exp.networks import NetworkConfig, Sizes


def unperturbed(obs: Tensor, act: Tensor) -> Tensor:
    """The sampled actions as they are, in place of the target perturbation network's."""
    return act


def unperturbed_critic_loss(
    nets: Nets, targets: Nets, batch: Tensors, noise: Tensors, hp: Tensors
) -> tuple[Tensor, Tensors]:
    """BCQ's, with y = r + gamma (1 - terminated) max_i soft_clipped(Q1', Q2')(s', z_i), where xi'(s', z_i) is missing.

    The target perturbation network is synchronised and never used, as in github.com/thu-ml/tianshou,
    tianshou/policy/imitation/bcq.py, commit 00badd4.
    """
    return bcq.critic_loss(nets, {**targets, "actor": unperturbed}, batch, noise, hp)


def unperturbed_bcq(cfg: BCQConfig, sizes: Sizes) -> Algorithm:
    """BCQ whose critics learn by `unperturbed_critic_loss`."""
    algorithm = bcq.from_config(cfg, sizes)
    stages = (
        replace(stage, loss=unperturbed_critic_loss) if stage.loss is bcq.critic_loss else stage
        for stage in algorithm.stages
    )
    return replace(algorithm, stages=tuple(stages))


class EqualTwins(Definition):
    """An algorithm whose second critic begins as a copy of the first.

    Both learn from the same batches and targets, so they stay equal and `lmbda` changes nothing: so in the file that
    `unperturbed_critic_loss` names, where no second critic is given.
    """

    def fresh_networks(self, cfg: AlgorithmConfig, network: NetworkConfig, sizes: Sizes) -> dict[str, nn.Module]:
        """See `Definition.fresh_networks`."""
        nets = super().fresh_networks(cfg, network, sizes)
        return {**nets, "critic2": copy.deepcopy(nets["critic1"])}


FORMS: Mapping[str, Definition] = {
    "bcq_unperturbed": replace(bcq.DEFINITION, build=unperturbed_bcq),
    "bcq_equal_twins": EqualTwins(**vars(bcq.DEFINITION)),
}
