"""To add a kind of network: its file, its values, its line in the registry."""

from pathlib import Path

from safetensors.torch import load_file

from adding.tree import Tree

SOURCE = '''"""The kind of network `normed_mlp`: layer normalisation after each activation."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import nn

from bcq_exp.networks.mlp import MLP, MLPNetworkConfig
from bcq_exp.networks.schema import Sizes


@dataclass(kw_only=True)
class NormedMLPConfig(MLPNetworkConfig):
    """Keys of an MLP."""

    def heads(self, outputs: Mapping[str, int], sizes: Sizes) -> dict[str, nn.Module]:
        """Networks that share no layer."""
        return {name: MLP(sizes.obs_dim, num, has_layer_norm=True, **self.hidden) for name, num in outputs.items()}
'''
YAML = """name: normed_mlp
kind: normed_mlp
hidden_sizes: [8]
vae_hidden_sizes: [8]
activation: elu
init: torch
last_layer_scale: null
policy_last_layer_scale: null
dropout: 0.0
"""


def test_a_network_is_three_files_and_is_trained(tree: Tree, tmp_path: Path, discrete_file: Path):
    registry = "bcq_exp/networks/__init__.py"
    tree.write("bcq_exp/networks/normed_mlp.py", SOURCE)
    tree.write("conf/network/normed_mlp.yaml", YAML)
    tree.replace(
        registry, '"nature_cnn": NatureCNNConfig}', '"nature_cnn": NatureCNNConfig, "normed_mlp": NormedMLPConfig}'
    )
    tree.replace(
        registry,
        "from bcq_exp.networks.schema",
        "from bcq_exp.networks.normed_mlp import NormedMLPConfig\nfrom bcq_exp.networks.schema",
    )

    done = tree.give(
        "-m", "bcq_exp.train", "algorithm=dqn", "network=normed_mlp", "dataset=h5", f"dataset.path={discrete_file}",
        "dataset.env=CartPole-v1", "num_updates=20", "eval_freq=20", "eval_episodes=1", "batch_size=16",
        "num_threads=1", "hydra.run.dir=run", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (checkpoint,) = (tmp_path / "run" / "checkpoints").iterdir()
    shapes = {name: tuple(tensor.shape) for name, tensor in load_file(checkpoint / "tensors.safetensors").items()}
    own = {name.rpartition("nets.model.")[2]: shape for name, shape in shapes.items() if "nets.model." in name}
    assert own["layers.2.weight"] == (8,)  # the normalisation's scale, between the layers (4, 8) and (8, 2)
    assert own["layers.3.weight"] == (2, 8)
    assert len(tree.touched) <= 3
