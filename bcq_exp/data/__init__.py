"""Offline data: batches, recorded transitions, file readers and the replay buffer."""

from bcq_exp.data.batch import Batch
from bcq_exp.data.buffer import ReplayBuffer
from bcq_exp.data.formats.h5 import read_h5, read_manifest, write_h5
from bcq_exp.data.formats.readers import read_transitions
from bcq_exp.data.preprocessing import observation_statistics
from bcq_exp.data.spaces import check_against
from bcq_exp.data.transitions import Transitions

__all__ = [
    "Batch",
    "ReplayBuffer",
    "Transitions",
    "check_against",
    "observation_statistics",
    "read_h5",
    "read_manifest",
    "read_transitions",
    "write_h5",
]
