"""The export of a trained run's policy: written, loaded again, compared with the policy, and described."""

from dataclasses import dataclass
from pathlib import Path

from bcq_exp.analysis.trained_runs import TrainedRun, load_policy, trained_runs
from bcq_exp.envs.masks import gives_masks
from bcq_exp.io.files import replacing, write_json
from bcq_exp.policies.acting import Acting
from bcq_exp.policy_files.agreement import Agreement, Rows, compare, drawn, recorded, with_masks
from bcq_exp.policy_files.formats.form import PolicyFormat
from bcq_exp.policy_files.program import Program, traced
from bcq_exp.policy_files.request import DATASET, SPACE, ExportConfig
from bcq_exp.policy_files.sidecar import account, check_vacant_or_same, sidecar_of
from bcq_exp.selection.chosen_run import REMEDY, SELECTION, ChosenRun, chosen_run


@dataclass(frozen=True)
class Exported:
    """Files that have been written, the run that they are of, and lines of Python that run the first."""

    file: Path
    sidecar: Path
    run: TrainedRun
    choice: ChosenRun | None
    agreement: Agreement
    usage: list[str]


def export(settings: ExportConfig) -> Exported:
    """Write the policy of a run as one file, and its sidecar; both whole, or neither.

    Exploration is left out: a policy file acts as `compute_action` does with `eval_eps` 0.

    Raises:
        ValueError: there is no such run or not one only, it has no checkpoint, the policy cannot be exported, the file
            acts otherwise than the policy, or the place is taken.
        OSError: the dataset cannot be read, or a file not written.
    """
    run, choice = the_run(settings)
    file, sidecar = settings.file, sidecar_of(settings.file)
    check_vacant_or_same(file, run)
    policy = load_policy(run)
    if settings.noise_seed is not None and not policy.algorithm.act_noise:
        raise ValueError(
            f"noise_seed={settings.noise_seed}: algorithm={run.cfg.algorithm.name} acts without random numbers; drop it"
        )
    rows, env = rows_of(settings, run), run.cfg.dataset.env
    if rows.mask is None and env is not None and gives_masks(env):
        rows = with_masks(rows, policy.action_map.act_dim)
    eval_eps = without_exploration(policy)
    with replacing(file) as written:
        program, agreement = write(policy, rows, settings.kind, written, noise_seed=settings.noise_seed)
        content = account(file, written, run, choice, settings, program, agreement, eval_eps)
        write_json(sidecar, content)
    return Exported(file, sidecar, run, choice, agreement, content["usage"])


def write(
    policy: Acting, rows: Rows, kind: type[PolicyFormat], path: Path, *, noise_seed: int | None
) -> tuple[Program, Agreement]:
    """Write a policy's program to a file, load it again and compare it with the policy.

    Args:
        policy: in evaluation mode, without exploration.
        rows: states to compare in; where they have masks, masks are an input of the file.
        kind: the format.
        path: of the file.
        noise_seed: as in `Program`.

    Raises:
        ValueError: as `Program`, `PolicyFormat.write` and `compare`.
    """
    program = Program(policy, has_mask=rows.mask is not None, noise_seed=noise_seed)
    kind.write(traced(program), program.inputs, program.outputs, path)
    return program, compare(kind.load(path), policy, program, rows, noise_seed)


def the_run(settings: ExportConfig) -> tuple[TrainedRun, ChosenRun | None]:
    """The chosen run of a sweep and the choice, or the one finished run of a directory.

    Raises:
        ValueError: there are several runs and none is chosen, there is none, or the chosen one has been trained on.
        OSError: the choice cannot be read.
    """
    directory = Path(settings.run)
    choice = chosen_run(directory)
    first, *others = trained_runs(
        directory if choice is None else choice.directory, "cpu", allow_modules=settings.allow_modules
    )
    if others:
        raise ValueError(
            f"run={directory} has {len(others) + 1} runs, and a file holds one policy; name one of them, such as"
            f" run={first.directory}, or choose first: bcq-evaluate run={directory} ope=fqe select=true"
        )
    if choice is not None and first.checkpoint.name != choice.checkpoint:
        raise ValueError(
            f"{directory / SELECTION} judged {choice.checkpoint} of {first.directory}, whose last checkpoint is"
            f" {first.checkpoint.name}; {REMEDY}"
        )
    return first, choice


def rows_of(settings: ExportConfig, run: TrainedRun) -> Rows:
    """The states in which file and policy are compared, with masks where the dataset has them and is read.

    Raises:
        ValueError: the dataset is not there or cannot be used, or it alone could tell whether there are masks.
        OSError: it cannot be read.
    """
    if settings.rows == DATASET:
        try:
            return recorded(run.cfg)
        except FileNotFoundError as error:
            if run.cfg.dataset.env is None:
                raise ValueError(f"{error}; without an environment it is needed: bring it back") from None
            raise ValueError(f"{error}; give rows={SPACE} to compare without the dataset") from None
    if run.cfg.dataset.env is None:
        raise ValueError(
            f"rows={settings.rows}: without an environment only the dataset tells whether actions are masked; give"
            f" rows={DATASET}"
        )
    return drawn(run.cfg)


def without_exploration(policy: Acting) -> float:
    """Set `eval_eps` of a policy to 0 where it has one; returns what it was, else 0."""
    eval_eps = policy.hp.get("eval_eps")
    if eval_eps is None:
        return 0.0
    before = float(eval_eps)
    eval_eps.fill_(0)
    return before
