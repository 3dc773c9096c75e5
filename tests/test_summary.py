from pathlib import Path

import pytest

from bcq_exp.files import write_json
from bcq_exp.summary import KEYS, has_ended, read_summary


def test_a_run_has_ended_when_its_summary_is_there_whole(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    assert not has_ended(tmp_path)
    path = tmp_path / "summary.json"
    write_json(path, dict.fromkeys(KEYS))
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
