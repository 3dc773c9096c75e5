"""How fast shall soft targets follow? `python -m experiments.gallery.tau`.

After each update the target network goes this part of the way to the online network; 1 is no target network. In N
updates values see about N * tau steps ahead, and 5,000 updates are few. The data are of a half-trained agent with
noise.
"""

from experiments.gallery.study import CARTPOLE, Study

STUDY = Study(
    key="algorithm.tau",
    values=("0.0005", "0.002", "0.005", "0.02", "0.1", "1"),
    words=(*CARTPOLE, "algorithm.target_update_freq=null"),
    diagnostic="q_policy",
    label="Q of the policy's actions",
    is_beside_logged=True,
)

if __name__ == "__main__":
    STUDY.show(__file__)
