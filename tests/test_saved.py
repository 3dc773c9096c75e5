from pathlib import Path

import pytest

from bcq_exp.saved import saved_config, saved_overrides


def test_what_was_typed_and_composed_is_read_back(tmp_path: Path):
    (tmp_path / ".hydra").mkdir()
    (tmp_path / ".hydra" / "config.yaml").write_text("seed: 3\n")
    (tmp_path / ".hydra" / "overrides.yaml").write_text("- seed=3\n- batch_size=7\n")
    assert saved_config(tmp_path) == {"seed": 3}
    assert saved_overrides(tmp_path) == ("seed=3", "batch_size=7")


@pytest.mark.parametrize("name", ["config.yaml", "overrides.yaml"])
@pytest.mark.parametrize(
    "content", [b"", b"a: [", b"\xff\xfe\xfd", b"7", b"a: &a [*a]", b"[" * 5000, b"a: !!python/name:os.system ''"]
)
def test_a_damaged_one_is_named_with_what_to_do(tmp_path: Path, name: str, content: bytes):
    read = saved_config if name == "config.yaml" else saved_overrides
    with pytest.raises(ValueError, match=rf"there is no .*{name}, so .* is no run directory"):
        read(tmp_path)
    (tmp_path / ".hydra").mkdir()
    path = tmp_path / ".hydra" / name
    path.write_bytes(content)
    with pytest.raises(ValueError, match="restore it from a copy") as raised:
        read(tmp_path)
    assert str(raised.value).startswith(str(path))
    assert "\n" not in str(raised.value)
