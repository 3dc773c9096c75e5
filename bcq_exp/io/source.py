"""The folder of the configuration, and the revision and the digest of the running code."""

import hashlib
import subprocess
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).parents[1]
CONF_DIR = str(PACKAGE / "conf" if (PACKAGE / "conf").is_dir() else PACKAGE.parent / "conf")  # of a wheel, a checkout


@cache
def source_digest() -> str:
    """Sha256 over the source files of the package and its plugins."""
    sha = hashlib.sha256()
    for path in [*sorted(PACKAGE.rglob("*.py")), *sorted(PACKAGE.parent.glob("hydra_plugins/bcq_exp_*.py"))]:
        sha.update(path.read_bytes())
    return sha.hexdigest()


def git_revision() -> str | None:
    """The commit of the source, ending in "-dirty" where files differ from it; None outside a checkout."""
    command = ["git", "-C", str(PACKAGE), "describe", "--always", "--abbrev=40", "--dirty"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
