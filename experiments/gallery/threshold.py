"""How much of the behaviour shall discrete BCQ keep? `python -m experiments.gallery.threshold`.

The threshold leaves the actions whose probability is at least this part of the likeliest action's: 0 leaves all, which
is double Q-learning; 1 leaves the likeliest, which is cloning (arXiv:1910.01708, section 4). The data are of a
half-trained agent with noise.
"""

from experiments.gallery.study import CARTPOLE, Study

STUDY = Study(
    key="algorithm.unlikely_action_threshold",
    values=("0", "0.1", "0.2", "0.3", "0.5", "0.7", "0.9", "1"),
    words=(*CARTPOLE, "algorithm.target_update_freq=100"),
    diagnostic="kept_actions",
    label="share of the actions that are left",
)

if __name__ == "__main__":
    STUDY.show(__file__)
