"""Keys of `conf/export.yaml`, and their check before anything is read or written."""

from dataclasses import dataclass
from pathlib import Path

from omegaconf import DictConfig

from bcq_exp.fields import one_of, within
from bcq_exp.ope.schema import LAST_SEED
from bcq_exp.policy_files.formats import FORMATS
from bcq_exp.policy_files.formats.form import PolicyFormat
from bcq_exp.training.sections import plain, typed_section

DATASET, SPACE = "dataset", "space"  # where rows are from


@dataclass(kw_only=True)
class ExportConfig:
    """What is exported, as what, and where to."""

    run: str
    allow_modules: list[str]
    format: str = one_of(*FORMATS)
    out: str | None
    noise_seed: int | None = within(0, LAST_SEED)
    rows: str = one_of(DATASET, SPACE)

    @property
    def kind(self) -> type[PolicyFormat]:
        """The format."""
        return FORMATS[self.format]

    @property
    def file(self) -> Path:
        """The file that is written."""
        return Path(self.run) / f"policy{self.kind.suffix}" if self.out is None else Path(self.out)


def checked_export(cfg: DictConfig) -> ExportConfig:
    """Check the configuration of an export; raise ValueError with all that is wrong, a line each."""
    errors: list[str] = []
    settings = typed_section(plain(cfg), ExportConfig, "", errors)
    if errors:
        raise ValueError("\n".join(errors))
    assert isinstance(settings, ExportConfig)
    if missing := settings.kind.missing():
        errors.append(f"format={settings.format} needs {', '.join(missing)}: pip install 'bcq_exp[export]'")
    if settings.file.suffix != settings.kind.suffix:
        errors.append(f"out={settings.out}: a file of format={settings.format} ends in {settings.kind.suffix}")
    elif settings.out is not None and not settings.file.parent.is_dir():
        errors.append(f"out={settings.out}: there is no folder {settings.file.parent}; make it first")
    if errors:
        raise ValueError("\n".join(errors))
    return settings
