"""A training's state between epochs: written whole, and read back only by the training that wrote it."""

from __future__ import annotations

import io
import warnings
from itertools import count
from pathlib import Path
from typing import Any

import torch
from torch import nn

from fixlib.system import atomic_write, bits, environment


class Checkpoint:
    """The file of one training's state.

    A file that belongs to another training (another run, model or setting), that other versions or another kind of
    machine wrote (the numbers would follow from both), or that cannot be read, is set aside under another name with
    a warning, and the training starts anew.

    Args:
        path: the file; it need not exist.
        run: what the state belongs to, besides the model, settings, loss and windows that the loop itself knows: a
            run's key.
    """

    def __init__(self, path: Path | str, run: str = "") -> None:
        self.path, self.run = Path(path), run

    def owner(self, model: nn.Module, **training: Any) -> dict[str, Any]:
        """Whose state this is: everything that has to be the same for going on."""
        shapes = {name: list(value.shape) for name, value in model.state_dict().items()}
        device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
        return dict(run=self.run, **training, shapes=shapes, **bits(environment(device)))

    def save(self, state: dict[str, Any], owner: dict[str, Any]) -> None:
        """Put the state in place of the last one; OSError, with the last one whole, where it cannot be written."""
        with atomic_write(self.path) as file:
            torch.save(dict(state, owner=owner), file)

    def load(self, owner: dict[str, Any]) -> dict[str, Any] | None:
        """The state, on the CPU, if there is one and it is this owner's; otherwise None."""
        if not self.path.exists():
            return None
        content = self.path.read_bytes()
        try:
            state = torch.load(io.BytesIO(content), weights_only=True, map_location="cpu")
            written_by = state.pop("owner")
            different = [name for name in owner if written_by.get(name) != owner[name]]
        except Exception as error:  # torch raises many kinds on damaged files; all mean the same
            return self._set_aside(f"cannot be read ({type(error).__name__})")
        if different:
            return self._set_aside(f"was written by another training or elsewhere (different: {', '.join(different)})")
        return state

    def _set_aside(self, why: str) -> None:
        aside = next(
            path
            for number in count(1)
            if not (path := self.path.with_name(f"{self.path.name}.set-aside-{number}")).exists()
        )
        self.path.rename(aside)
        warnings.warn(
            f"the checkpoint {self.path} {why}: it is now {aside.name}, and the training starts anew", stacklevel=2
        )


def training_state(model, optimiser, scheduler, precision, history: list[dict], best: dict) -> dict[str, Any]:
    """All that a training needs to go on as if nothing had happened; of `precision`, the scale of its losses."""
    state = dict(
        model=model.state_dict(),
        optimiser=optimiser.state_dict(),
        scheduler=scheduler.state_dict(),
        history=history,
        best=best,
        random_state=torch.get_rng_state(),
    )
    if torch.cuda.is_available():
        state["cuda_random_state"] = torch.cuda.get_rng_state()
    if scale := precision.state_dict():
        state["precision"] = scale
    return state


def restore(state: dict[str, Any], model, optimiser, scheduler, precision) -> tuple[list[dict], dict]:
    """Put a state back where it came from; gives history and best weights."""
    model.load_state_dict(state["model"])
    optimiser.load_state_dict(state["optimiser"])
    scheduler.load_state_dict(state["scheduler"])
    torch.set_rng_state(state["random_state"])
    if torch.cuda.is_available() and "cuda_random_state" in state:
        torch.cuda.set_rng_state(state["cuda_random_state"])
    if "precision" in state:
        precision.load_state_dict(state["precision"])
    return state["history"], state["best"]
