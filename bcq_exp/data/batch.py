"""The container that samples travel in."""

from typing import Any


class Batch(dict[str, Any]):
    """A dictionary whose keys are also attributes: `batch.obs` is `batch["obs"]`.

    Keys named like a method of `dict` (`keys`, `items`, `update`, ...) are reached by subscript only.
    """

    __slots__ = ()

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"batch has no {name!r}; present: {', '.join(self) or 'nothing'}") from None

    def __setattr__(self, name: str, value: Any) -> None:
        self[name] = value
