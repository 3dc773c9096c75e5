"""`selection.json` read back."""

from pathlib import Path

import pytest

from bcq_exp.io.files import write_json
from bcq_exp.selection.chosen_run import chosen_run

ESTIMATE = {"value": 0.5, "low": 0.4, "high": None}
KEPT = {
    "chosen": {"setting": "dqn", "run": "b", "checkpoint": "update_00000020"},
    "decided_by": "fqe",
    "estimators": {"fqe": "decides"},
    "judged_on": "all episodes",
    "settings": [{"runs": [{"run": "a", "estimates": {}}]}, {"runs": [{"run": "b", "estimates": {"fqe": ESTIMATE}}]}],
}


def test_the_choice_is_read_with_what_decided(tmp_path: Path):
    assert chosen_run(tmp_path) is None
    write_json(tmp_path / "selection.json", KEPT)
    (tmp_path / "b").mkdir()
    found = chosen_run(tmp_path)
    assert found is not None
    assert (found.directory, found.checkpoint) == (tmp_path / "b", "update_00000020")
    assert found.account == {"setting": "dqn", "decided_by": "fqe", "estimate": ESTIMATE, "part": "all episodes"}


@pytest.mark.parametrize(
    ("kept", "message"),
    [
        (KEPT | {"chosen": None, "estimators": {"wis": "worthless for 2"}}, r"chose no run: worthless for 2; name a"),
        (KEPT, r"chose .*b, which is not there; restore it"),
        ({"settings": []}, "has not the form of a choice"),
        (KEPT | {"settings": [3]}, "has not the form of a choice"),
    ],
)
def test_a_choice_that_cannot_be_used_says_why(tmp_path: Path, kept: dict, message: str):
    write_json(tmp_path / "selection.json", kept)
    with pytest.raises(ValueError, match=f"selection.json {message}.*choose again"):
        chosen_run(tmp_path)
