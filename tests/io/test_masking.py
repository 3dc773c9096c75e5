import pytest

from bcq_exp.io.masking import masked, masked_words


def test_values_of_secret_keys_and_logins_are_masked_and_nothing_else():
    values = {
        "seed": 3, "api_key": "k1", "WANDB_API_KEY": "k2", "nested": [{"password": "k3", "lr": 0.1}, "plain"],
        "credentials": {"user": "k4"}, "client_secret": ["k5"], "auth_token": 6, "token": None,
        "storage": "mysql://me:k7@host/study", "address": "https://host/a@b",
    }  # fmt: skip
    assert masked(values) == {
        "seed": 3, "api_key": "***", "WANDB_API_KEY": "***", "nested": [{"password": "***", "lr": 0.1}, "plain"],
        "credentials": "***", "client_secret": "***", "auth_token": "***", "token": None,
        "storage": "mysql://***@host/study", "address": "https://host/a@b",
    }  # fmt: skip
    assert values["api_key"] == "k1"


@pytest.mark.parametrize(
    ("word", "shown"),
    [
        ("seed=1", "seed=1"),
        ("+x.api_key=k", "+x.api_key=***"),
        ("hydra.launcher.options={env: {WANDB_API_KEY: k}}", "hydra.launcher.options=***"),
        ("hydra.sweeper.storage=postgresql://me:k@host:5432/x", "hydra.sweeper.storage=postgresql://***@host:5432/x"),
        ("dataset.path=/data/secret_sauce.h5", "dataset.path=***"),
        ("-m", "-m"),
        ("resume=runs/api_key", "resume=***"),
    ],
)
def test_words_of_a_command_are_masked(word: str, shown: str):
    assert masked_words([word]) == [shown]
