"""What does the smaller of two critics' values do in BCQ's target? `python -m experiments.gallery.lmbda`.

The target is lmbda * min(Q1', Q2') + (1 - lmbda) * max(Q1', Q2') (arXiv:1812.02900, equation 13): 1 is clipped double
Q-learning, 0 believes the larger value. The data are of a TD3 agent with the paper's two kinds of noise.
"""

from experiments.gallery.study import PENDULUM, Study

STUDY = Study(
    key="algorithm.lmbda",
    values=("0", "0.25", "0.5", "0.75", "1"),
    words=PENDULUM,
    diagnostic="q_policy",
    label="Q of the policy's actions",
)

if __name__ == "__main__":
    STUDY.show(__file__)
