"""Overrides: the words, `key=value`, that were typed for a run."""

from collections import Counter
from collections.abc import Iterable

# Beginnings of words.
LAUNCH = ("device=", "num_threads=")  # choose where a run trains, not what it is
SHOWN = ("seed=", "algorithm=", "algorithm.name=", "dataset=", "experiment=")  # in every table anyway
WITHOUT_EFFECT = (*LAUNCH, "compile=", "log_freq=", "hydra.", "resume=", "logger")  # on a run's figures


def own_settings(overrides: Iterable[str]) -> list[str]:
    """The words that set a run apart from others of its algorithm and dataset, whatever its seed."""
    return [word for word in overrides if not word.startswith(SHOWN + WITHOUT_EFFECT)]


def short_names(overrides: Iterable[str]) -> dict[str, str]:
    """Each word with its key's section left out, `gamma=0.95`, unless two keys would have one name."""
    words = {word: word.partition("=")[::2] for word in overrides}
    ends = Counter(key.rpartition(".")[2] for key in {key for key, _ in words.values()})
    return {
        word: f"{end}={value}" if ends[end := key.rpartition(".")[2]] == 1 else word
        for word, (key, value) in words.items()
    }
