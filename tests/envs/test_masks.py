"""Masks of datasets against those of environments."""

import logging

import pytest

from bcq_exp.envs.masks import check_masks


def test_masks_of_a_dataset_are_held_against_those_of_the_environment(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(ValueError, match=r"^data\.h5 has masks of available actions, CartPole-v1 gives none"):
        check_masks("CartPole-v1", "data.h5", has_masks=True)
    with pytest.raises(ValueError, match=r"^data\.h5 has masks of available actions, Pendulum-v1 gives none"):
        check_masks("Pendulum-v1", "data.h5", has_masks=True)
    caplog.set_level(logging.WARNING)
    check_masks("Taxi-v4", "data.h5", has_masks=True)
    check_masks("CartPole-v1", "data.h5", has_masks=False)
    assert not caplog.records
    check_masks("Taxi-v4", "data.h5", has_masks=False)
    assert caplog.messages[0].startswith("Taxi-v4 gives masks of available actions, data.h5 has none: ")
