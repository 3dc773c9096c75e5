"""Learning-rate schedules."""

from typing import Any, Protocol


class Scheduler(Protocol):
    """The methods of a learning-rate schedule that a policy calls; torch's schedulers have them."""

    def step(self) -> None:
        """Advance by one update."""

    def state_dict(self) -> dict[str, Any]:
        """The state that a checkpoint keeps."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore a checkpoint's state."""


class MultipleLRSchedulers:
    """Several schedules that step together, one for each optimizer.

    Args:
        schedulers: in the order in which their states are kept.
    """

    def __init__(self, *schedulers: Scheduler) -> None:
        self.schedulers = schedulers

    def step(self) -> None:
        """Step each schedule."""
        for scheduler in self.schedulers:
            scheduler.step()

    def state_dict(self) -> dict[str, Any]:
        """The states under "0", "1", ... in the order of the schedules."""
        return {str(i): scheduler.state_dict() for i, scheduler in enumerate(self.schedulers)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the states.

        Raises:
            ValueError: the number of states is not the number of schedules.
        """
        if len(state_dict) != len(self.schedulers):
            raise ValueError(f"{len(state_dict)} states for {len(self.schedulers)} schedules")
        for i, scheduler in enumerate(self.schedulers):
            scheduler.load_state_dict(state_dict[str(i)])
