"""Export of a trained policy as one file that runs without this package: `python -m bcq_exp.export run=DIR`."""

import hydra
from omegaconf import DictConfig

from bcq_exp.command_line.answers import in_one_answer
from bcq_exp.io.endings import in_one_line, mistakes_in_one_line
from bcq_exp.io.source import CONF_DIR
from bcq_exp.policy_files.export import export
from bcq_exp.policy_files.request import checked_export


def main() -> None:
    """Export as the command line says."""
    with in_one_answer("export"):
        run()


@hydra.main(version_base="1.3", config_path=CONF_DIR, config_name="export")
def run(cfg: DictConfig) -> None:
    """Check the composed configuration, export, and print how to run the file."""
    with in_one_line(), mistakes_in_one_line():
        done = export(checked_export(cfg))
    if done.choice is not None:
        why = done.choice.account
        print(f"{done.run.directory}: chosen by {why['decided_by']}, setting {why['setting']}")
    compared = done.agreement
    excused = f", in {compared.num_by_rounding} of them but for rounding" if compared.num_by_rounding else ""
    print(f"{done.file}: acts as the policy in {compared.num_rows} rows{excused}; {done.sidecar.name} describes it")
    print("\n".join(["", *(f"    {line}" for line in done.usage)]))


if __name__ == "__main__":
    main()
