"""Things found by their name: losses, networks, baselines, datasets, each registered where it is defined.

>>> LOSSES = Registry("loss")
>>> @LOSSES.register("mse")
... def mse(): ...
>>> LOSSES["mse"] is mse
True
"""

from collections.abc import Callable, Mapping
from typing import Generic, TypeVar

T = TypeVar("T")


class Registry(dict[str, T], Generic[T]):
    """A dict whose unknown keys are a ValueError that names the known ones.

    Args:
        what: what its entries are called in messages, e.g. "loss".
        entries: those that are there from the beginning.
    """

    def __init__(self, what: str, entries: Mapping[str, T] = {}) -> None:
        super().__init__(entries)
        self.what = what

    def register(self, name: str) -> Callable[[T], T]:
        """A decorator that adds what it decorates; ValueError where the name is taken by something else."""

        def add(entry: T) -> T:
            if name in self and getattr(self[name], "__qualname__", None) != getattr(entry, "__qualname__", ""):
                raise ValueError(f"there is a {self.what} {name!r} already: {self[name]!r}; choose another name")
            self[name] = entry
            return entry

        return add

    def __missing__(self, name: str) -> T:
        raise ValueError(f"unknown {self.what} {name!r}; known: {', '.join(self)}")
