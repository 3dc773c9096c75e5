from argparse import ArgumentParser
from pathlib import Path

import numpy as np
import pytest

from bcq_exp.analysis.datasets.sources import Source, add_flags, stated_of
from bcq_exp.data import write_h5
from cases import random_walk

TEXT = "id,x,a,r\n1,0.5,0,1\n1,1.5,1,2\n2,3.5,0,4\n"
COLUMNS = "{obs: x, act: a, rew: r, episode: id}"


@pytest.fixture
def table(tmp_path: Path) -> Path:
    (tmp_path / "a.csv").write_text(TEXT)
    return tmp_path / "a.csv"


def test_columns_are_a_text_a_file_or_a_choice_of_dataset(table: Path, tmp_path: Path) -> None:
    (tmp_path / "columns.yaml").write_text(COLUMNS)
    (tmp_path / "dataset.yaml").write_text(
        f"name: mine\nends: terminated\naction_names: ['0', '1', '2']\ncolumns: {COLUMNS}"
    )
    for columns, ends in (
        (COLUMNS, "terminated"),
        (str(tmp_path / "columns.yaml"), "terminated"),
        (str(tmp_path / "dataset.yaml"), None),
    ):
        found = Source(table, columns=columns, ends=ends).read()
        np.testing.assert_array_equal(found.obs, [[0.5], [1.5], [3.5]])
        np.testing.assert_array_equal(found.terminated, [0, 1, 1])
        assert found.action_names == (("0", "1", "2") if ends is None else None)
    assert stated_of("treatment")["columns"]["mask"] == "may *"
    assert stated_of("treatment")["columns"]["truncated"] is None


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"ends": "truncated"}, "--ends truncated is for tables; give --columns, too"),
        ({"columns": COLUMNS, "max_episode_steps": 3}, "--max-episode-steps is not for tables"),
        ({"columns": COLUMNS}, r"nothing says whether the last row .* ends=terminated if"),
        ({"columns": "{obs: x}"}, r"--columns: columns\.act has no value"),
        ({"columns": "{obs: x, reward: r}"}, r"--columns: columns\.reward is not a key of TableColumns"),
        ({"columns": "absent.yaml"}, r"--columns absent\.yaml: no such file, no choice of dataset, and no mapping"),
        ({"columns": "{obs: x"}, "--columns {obs: x: no YAML"),
    ],
)
def test_wrong_flags_are_refused(table: Path, keys: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Source(table, **keys).read()


def test_flags_name_a_source_and_its_environment(tmp_path: Path) -> None:
    parser = ArgumentParser()
    add_flags(parser)
    write_h5(tmp_path / "a.h5", random_walk(2, is_discrete=True), "CartPole-v1", {})
    source = Source.of(parser.parse_args([str(tmp_path / "a.h5")]))
    assert (source.path, source.env, len(source.read())) == (tmp_path / "a.h5", "CartPole-v1", 40)
    assert Source.of(parser.parse_args(["a.csv", "--columns", COLUMNS])).env is None
