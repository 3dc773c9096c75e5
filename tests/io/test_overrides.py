from bcq_exp.io.overrides import own_settings


def test_words_that_every_table_shows_and_those_of_the_logger_are_left_out():
    typed = [
        "seed=3", "algorithm=bcq", "algorithm.tau=0.1", "dataset=pendulum-noisy", "experiment=main", "resume=run",
        "hydra.run.dir=run", "logger=wandb", "logger.group=g", "optimizer.lr=1e-4", "dataset.fraction=0.5",
    ]  # fmt: skip
    assert own_settings(typed) == ["algorithm.tau=0.1", "optimizer.lr=1e-4", "dataset.fraction=0.5"]
