from pathlib import Path

import pytest
from omegaconf import OmegaConf

from bcq_exp.io.source import CONF_DIR
from bcq_exp.networks import NETWORKS, Sizes


def test_every_kind_has_the_name_of_a_file_in_conf() -> None:
    kinds = {kind: OmegaConf.load(Path(CONF_DIR) / "network" / f"{kind}.yaml").kind for kind in NETWORKS}
    assert kinds == {kind: kind for kind in NETWORKS}


def test_an_image_has_no_single_dimension():
    assert Sizes((7,), 2, 1.0).obs_dim == 7
    with pytest.raises(ValueError, match="too many values to unpack"):
        _ = Sizes((1, 36, 36), 2, 1.0).obs_dim
