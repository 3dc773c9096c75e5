"""Commands that are killed: short single runs, populations and collections, of everyday settings."""

from dataclasses import dataclass
from pathlib import Path

# Periods that do not divide each other, so that a kill finds every order of logging, evaluation and checkpoint.
SIZES = ("num_threads=1", "batch_size=32", "network.hidden_sizes=[32,32]", "dataset.num_transitions=3000")
SHORT = (*SIZES, "num_updates=120", "log_freq=10", "checkpoint_freq=25", "eval_freq=35", "eval_episodes=3")
LONG = (*SIZES, "num_updates=600", "log_freq=30", "checkpoint_freq=110", "eval_freq=170", "eval_episodes=20")
DISCRETE = (*LONG, "dataset=cartpole-noisy", "algorithm.target_update_freq=40")
CONTINUOUS = (*SHORT, "dataset=pendulum-noisy")  # an update takes ten times as long
EAGER, COMPILED = "compile=never", "compile=always"
RUN = ("hydra.run.dir=run",)  # in the folder where the command is started
SWEEP = ("-m", "seed=0,1,2", "hydra.sweep.dir=sweep")  # Hydra takes -m in front of overrides only

# Patterns of paths whose coming is a moment to kill at: each opens or closes what must be whole or absent.
TRAINING = (".hydra/config.yaml", "cache/*.h5", "manifest.json", "metrics.csv", "metrics.csv", "checkpoints/.partial",
            "checkpoints/.partial", "checkpoints/update_*", "checkpoints/update_*", "summary.json")  # fmt: skip
COLLECTING = ("cache/*.lock", "cache/*.h5", "cache/.*", "cache/*.json")
AGENTS = (".hydra/config.yaml", "training.json", ".training.pt.*", "training.pt", "*.safetensors")


@dataclass(frozen=True)
class Scenario:
    """A command that is killed again and again.

    Args:
        title: as tables show it.
        module: of `bcq_exp` that is run.
        overrides: its arguments.
        events: patterns of paths; kill when one appears.
    """

    title: str
    module: str
    overrides: tuple[str, ...]
    events: tuple[str, ...] = TRAINING

    @property
    def command(self) -> tuple[str, ...]:
        """The arguments of Python."""
        return ("-m", f"bcq_exp.{self.module}", *self.overrides)

    @property
    def is_spread(self) -> bool:
        """Whether it starts processes of its own, which may outlive it."""
        return any(override.startswith("hydra.launcher.executor=") for override in self.overrides)

    def following(self, folder: Path) -> tuple[str, ...]:
        """The command that resumes what was killed in `folder`: `resume=` for a run, else the same command."""
        if set(RUN) <= {*self.overrides} and (folder / "run" / "manifest.json").exists():
            return ("-m", "bcq_exp.train", "resume=run")
        return self.command


def training(title: str, *overrides: str) -> Scenario:
    """One run."""
    return Scenario(title, "train", (EAGER, *overrides, *RUN))


def population(title: str, *overrides: str) -> Scenario:
    """Three runs that train as one population."""
    return Scenario(title, "train", (*SWEEP, EAGER, *overrides))


NORMALIZED, DECAYED, WANDB = "dataset.normalize_obs=true", "optimizer.lr_decay=cosine", "logger=wandb"
SCENARIOS = {
    "discrete_bcq": training("discrete BCQ, normalised, cosine decay", *DISCRETE, NORMALIZED, DECAYED),
    "bcq": training("BCQ, W&B", "algorithm=bcq", *CONTINUOUS, WANDB),
    "td3_bc": training("TD3+BC, normalised, linear decay", "algorithm=td3_bc", *CONTINUOUS, NORMALIZED,
                       "optimizer.lr_decay=linear"),
    "cql": training("CQL with a multiplier", "algorithm=cql", *CONTINUOUS, "algorithm.lagrange_threshold=5"),
    "bear": training("BEAR, normalised", "algorithm=bear", *CONTINUOUS, NORMALIZED, "algorithm.warmup=40"),
    "qrdqn": training("QR-DQN, 3-step, cosine decay, W&B", "algorithm=qrdqn", *DISCRETE, DECAYED, WANDB,
                      "algorithm.num_quantiles=20", "algorithm.estimation_step=3"),
    "compiled": Scenario("discrete BCQ, 3-step, compiled", "train",
                         (COMPILED, *DISCRETE, "algorithm.estimation_step=3", *RUN)),
    "population": population("3 discrete BCQ, 3-step, W&B", *DISCRETE, WANDB, "algorithm.estimation_step=3"),
    "population-bcq": population("3 BCQ, normalised, cosine decay", "algorithm=bcq", *CONTINUOUS, NORMALIZED, DECAYED),
    "submitit": population("3 QR-DQN by submitit", "algorithm=qrdqn", *DISCRETE, "algorithm.num_quantiles=20",
                           "hydra.launcher.executor=submitit_local"),
    "legs": Scenario("collection in two legs", "collect", ("dataset=cartpole-noisy", "dataset.num_transitions=200000"),
                     COLLECTING),
    "final-buffer": Scenario("final buffer of DDPG", "collect",
                             ("dataset=pendulum-final-buffer", "dataset.num_transitions=1800",
                              "dataset.training.checkpoint_freq=450"), (*COLLECTING, *AGENTS)),
    "behaviour": Scenario("behaviour agent, DQN", "collect",
                          ("behaviour=cartpole", "behaviour.max_steps=4000", "behaviour.checkpoint_freq=700",
                           "behaviour.agents.cartpole=null", "+behaviour.agents.early=15", "behaviour.eval_episodes=5",
                           "report_episodes=5", "hydra.run.dir=run"), AGENTS),
}  # fmt: skip
