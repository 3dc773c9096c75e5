from pathlib import Path

import pytest

from bcq_exp.io.files import write_json
from bcq_exp.io.summary import KEYS, has_ended, read_summary
from cases import SUMMARY


def test_a_run_has_ended_when_its_summary_is_there_whole(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    assert not has_ended(tmp_path)
    path = tmp_path / "summary.json"
    write_json(path, SUMMARY)
    assert has_ended(tmp_path)
    assert not caplog.records
    for content, said in (("", "is empty"), ("{}", "lacks algorithm, dataset"), ("[", "is no JSON")):
        path.write_text(content)
        caplog.clear()
        assert not has_ended(tmp_path)
        assert f"{path} {said}" in caplog.text
        assert f"resume={tmp_path} writes it anew" in caplog.text
        with pytest.raises(ValueError, match=said):
            read_summary(tmp_path)


@pytest.mark.parametrize(
    ("key", "value"),
    [("algorithm", None), ("seed", "0"), ("seed", True), ("overrides", ["seed=0", None]), ("overrides", "seed=0"),
     ("behaviour_return", None), ("final_return", "9"), ("num_updates", 2.5)],
)  # fmt: skip
def test_a_value_of_another_type_is_named(tmp_path: Path, key: str, value: object):
    assert SUMMARY.keys() == KEYS.keys()
    write_json(tmp_path / "summary.json", SUMMARY | {key: value})
    with pytest.raises(ValueError, match=f"summary.json holds {key}="):
        read_summary(tmp_path)
