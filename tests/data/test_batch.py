import copy

import pytest

from bcq_exp.data import Batch


def test_keys_are_attributes() -> None:
    batch = Batch(obs=1, act=2)
    batch.rew = 3
    assert (batch.obs, batch.act, batch["rew"]) == (1, 2, 3)
    assert batch == {"obs": 1, "act": 2, "rew": 3}


def test_missing_attribute_names_the_present_ones() -> None:
    with pytest.raises(AttributeError, match="no 'returns'; present: obs, act"):
        _ = Batch(obs=1, act=2).returns
    with pytest.raises(AttributeError, match="present: nothing"):
        _ = Batch().obs


def test_copy_is_a_batch_of_its_own() -> None:
    batch = Batch(obs=[1])
    twin = copy.deepcopy(batch)
    twin.obs.append(2)
    assert isinstance(twin, Batch)
    assert batch.obs == [1]
