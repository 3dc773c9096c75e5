from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from bcq_exp.io.plain import MAX_BYTES, dereferenced, read_yaml

CALLS = {"joined": lambda first, second: f"{first}+{second}"}


def written(folder: Path, text: str) -> Path:
    path = folder / "config.yaml"
    path.write_text(text, encoding="utf-8")
    return path


scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text("abé :#'{}[]!&*0.1e-\n", max_size=8)
)
trees = st.dictionaries(
    st.from_regex(r"[a-z_]{1,6}", fullmatch=True),
    st.recursive(scalars, lambda part: st.lists(part, max_size=3)),
    max_size=5,
)


@settings(deadline=None)
@given(trees)
def test_what_omegaconf_writes_is_read_as_omegaconf_reads_it(tmp_path_factory: pytest.TempPathFactory, tree: dict):
    path = tmp_path_factory.mktemp("plain") / "config.yaml"
    OmegaConf.save(OmegaConf.create(tree), path)
    assert read_yaml(path) == OmegaConf.to_container(OmegaConf.load(path)) == tree


def test_numbers_and_dates_are_those_of_omegaconf(tmp_path: Path):
    text = "a: 1e-3\nb: 2020-01-01\nc: 0x10\nd: .5e3\ne: '1e-3'\nf: on\ng: null\nh: 1_000\ni: -.inf\n"
    path = written(tmp_path, text)
    assert read_yaml(path) == OmegaConf.to_container(OmegaConf.load(path))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: !!python/object/apply:os.system [touch x]", "line 1: the tag .*os.system is no plain value"),
        ("a: 1\nb: !!python/name:os.system", "line 2: the tag .* is no plain value"),
        ("a: !!binary aGk=", "the tag .*binary"),
        ("!own {a: 1}", "the tag !own"),
        ("a: &x [1, 2]\nb: *x", r"line 2: the alias \*x is no plain value"),
        ("a: 1\na: 2", "line 1: a key stands there twice"),
        ("a: [1", "line 1"),
        ("a: \x07", "unacceptable character"),
        ("[" * 5000, "nested too deeply"),
        ("? [1]\n: 2", "unhashable key"),
        ("a: " + "9" * 5000, "Exceeds the limit"),
        ("a" * (MAX_BYTES + 1), f"more than the {MAX_BYTES}"),
    ],
)
def test_what_is_no_plain_value_is_refused_in_one_line(tmp_path: Path, text: str, said: str):
    path = written(tmp_path, text)
    with pytest.raises(ValueError, match=rf"config\.yaml: cannot be read, damaged or altered \(.*{said}") as raised:
        read_yaml(path)
    assert "\n" not in str(raised.value)


def test_a_file_that_is_none_is_named(tmp_path: Path):
    for path in (tmp_path / "absent.yaml", tmp_path):
        with pytest.raises(ValueError, match=f"{path}: cannot be read"):
            read_yaml(path)
    path = tmp_path / "bytes.yaml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match=f"{path}: cannot be read"):
        read_yaml(path)


def test_references_to_plain_values_of_the_file_are_replaced():
    values = {"a": {"b": 3, "c": None}, "whole": "${a.b}", "none": "${a.c}", "part": ["x-${a.b}-${a.c}"],
              "call": "${joined:${a.b},${a.c}}"}  # fmt: skip
    found = dereferenced(values, Path("config.yaml"), CALLS)
    assert found == {**values, "whole": 3, "none": None, "part": ["x-3-None"], "call": "3+None"}


@pytest.mark.parametrize(
    "text",
    ["${oc.env:HOME}", "x${oc.env:HOME,${a}}", "${oc.decode:'1'}", "${other:${a}}", "${a", "${b}", "${nested}", "${.a}",
     "${oc.env:HOME}${a}", "${joined:a,b}", "${joined:${nested},${a}}", "${hydra:runtime.cwd}", "${${a}}", "${a}${"],
)  # fmt: skip
def test_all_other_interpolations_are_refused_with_their_key(text: str):
    values = {"a": 1, "b": "${a}", "nested": {"c": 1}, "section": {"key": [0, text]}}
    with pytest.raises(ValueError, match=r"f: section\.key\[1\] holds .*write the value in its place"):
        dereferenced(values, Path("f"), CALLS)


def test_references_do_not_multiply():
    """Each of 40 keys doubles the one before: a resolver would make 2^40 characters of them."""
    values = {"k0": "x", **{f"k{n}": f"${{k{n - 1}}}${{k{n - 1}}}" for n in range(1, 41)}}
    with pytest.raises(ValueError, match="k2 holds"):
        dereferenced(values, Path("f"), CALLS)
