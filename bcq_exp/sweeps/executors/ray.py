"""Groups as tasks of Ray: on this machine, or on the cluster of `options.address`."""

import inspect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bcq_exp.sweeps.executors.form import ProcessExecutor
from bcq_exp.sweeps.executors.resources import thread_limits
from bcq_exp.sweeps.executors.supervision import Start
from bcq_exp.sweeps.group import Group, run_group


class RayGroup:
    """A group as a task of Ray."""

    def __init__(self, ref: Any) -> None:
        import ray

        self.ray, self.ref = ray, ref

    def state(self) -> str | None:
        """Running or ended: Ray reports no more."""
        return None if self.ray.wait([self.ref], timeout=0)[0] else "running"

    def where(self) -> str:
        """The error that Ray reports."""
        try:
            self.ray.get(self.ref)
        except Exception as error:
            return f"Ray says: {str(error).strip().splitlines()[-1]}"
        return "Ray's logs"

    def cancel(self) -> None:
        """Have the process end when its group is saved: Ray sends it a SIGINT."""
        self.ray.cancel(self.ref, force=False)


class Ray(ProcessExecutor):
    """An executor by Ray; `options` are of `ray.init`."""

    package = "ray"

    @property
    def is_here(self) -> bool:
        """Whether Ray is started on this machine."""
        return "address" not in self.options

    def check_options(self) -> None:
        """Raise ValueError where `ray.init` does not take an option."""
        import ray

        known = [name for name, p in inspect.signature(ray.init).parameters.items() if p.kind != p.VAR_KEYWORD]
        if unknown := self.options.keys() - known:
            raise self.refusal(f"ray.init does not take {', '.join(unknown)}; it takes {', '.join(known)}")

    @contextmanager
    def starting(self, num_places: int, num_threads: int, sweep_dir: Path) -> Iterator[Start]:
        """Ray running, while it is entered; arguments as for `ProcessExecutor.starting`."""
        import ray

        here = {"num_cpus": num_places * num_threads} if self.is_here else {}
        quiet = {"include_dashboard": False, "log_to_driver": False, "logging_level": "warning"}
        ray.init(**{**here, **quiet, **self.options})
        gpus_each = min(1.0, ray.cluster_resources().get("GPU", 0) / num_places)

        def start(groups: Sequence[Group], gpus: Sequence[str]) -> list[RayGroup]:
            tasks = []
            for group in groups:
                needs = {"num_cpus": group.num_threads, "num_gpus": gpus_each if group.device == "cuda" else 0}
                limits = {"env_vars": thread_limits(group.num_threads)}
                call = ray.remote(max_calls=1, max_retries=0, runtime_env=limits, **needs)(run_group)
                tasks.append(RayGroup(call.remote(str(group.path), "")))  # Ray itself deals the GPUs
            return tasks

        try:
            yield start
        finally:
            ray.shutdown()
