from pathlib import Path

import pytest

from bcq_exp.policy_files.formats.onnx import ONNX
from bcq_exp.policy_files.request import checked_export
from cases import composed


def asked(*words: str):
    return checked_export(composed(*words, config="export"))


def test_the_file_is_in_the_run_unless_it_is_named(tmp_path: Path):
    assert asked("run=a/b", "format=torch").file == Path("a/b/policy.pt2")
    assert asked("run=a/b", "format=torch", f"out={tmp_path}/x.pt2").file == tmp_path / "x.pt2"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["format=pickle"], "format=pickle is none of onnx, torch"),
        (["format=torch", "noise_seed=-1"], "noise_seed=-1 is outside [0, 9.22337e+18]"),
        (["format=torch", "rows=all"], "rows=all is none of dataset, space"),
        (["format=torch", "out=x.onnx"], "out=x.onnx: a file of format=torch ends in .pt2"),
        (["format=torch", "out=no/x.pt2"], "out=no/x.pt2: there is no folder no; make it first"),
        (["format=torch", "+outt=x.pt2"], "outt is not a key of ExportConfig; did you mean out?"),
    ],
)
def test_what_is_wrong_is_said_before_any_work(words: list[str], said: str):
    with pytest.raises(ValueError) as raised:
        asked("run=nowhere", *words)
    assert str(raised.value) == said


def test_a_package_that_is_missing_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(ONNX, "packages", ("onnx_of_another_planet", "json"))
    with pytest.raises(ValueError) as raised:
        asked("run=nowhere")
    assert str(raised.value) == "format=onnx needs onnx_of_another_planet: pip install 'bcq_exp[export]'"
    assert asked("run=nowhere", "format=torch").format == "torch"
