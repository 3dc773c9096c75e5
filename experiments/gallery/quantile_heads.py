"""Is a distribution of values worth its quantiles? `python -m experiments.gallery.quantile_heads`.

Discrete BCQ with one value an action, and with quantile heads in its place (arXiv:1710.10044), whose mean is the value
of an action. All else is the same, the imitator and its threshold included.
"""

from experiments.gallery.study import CARTPOLE, Study

STUDY = Study(
    key="algorithm.num_quantiles",
    values=("null", "5", "20", "100"),
    words=(*CARTPOLE, "algorithm.target_update_freq=100"),
    diagnostic="q_policy",
    label="Q of the policy's actions",
    is_beside_logged=True,
)

if __name__ == "__main__":
    STUDY.show(__file__)
