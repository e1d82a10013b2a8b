"""One training loop for every model of the book: fit, checkpoint, resume, evaluate.

The settings are those of the original experiment: Adam (learning rate 1e-3, weight decay 1e-5), gradient
clipping, ReduceLROnPlateau, and the weights of the epoch with the lowest validation loss are kept.
"""

from __future__ import annotations

import copy
import os
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from fixlib.data import create_sparse_frames
from fixlib.memory import keep_freed_memory
from fixlib.metrics import white_pixel_counts

REPRESENTATIONS = ("frames", "points", "next_point")


class TrainingDiverged(RuntimeError):
    """A loss or a gradient was not finite."""


def best_device() -> torch.device:
    """The first GPU where there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


class WindowLoader:
    """Batches of (inputs, targets) from windows of coordinates; frames are drawn batch by batch, never stored.

    Args:
        windows: sequence set of windows (N, n_in + n_out, 2), every frame valid (see `fixlib.data.cut_windows`).
        n_in: how many leading frames are input; the others are the target.
        inputs, targets: "frames" gives (B, T, 1, H, W), "points" (B, T, 2) in px, "next_point" (targets only)
            the first target point alone, (B, 2) in px.
        batch_size: windows a batch; the last batch may be smaller.
        shuffle: whether an epoch visits the windows in a random order. The order follows from `seed` and the
            epoch's number alone, so a resumed run sees the batches that an uninterrupted one would have.
        device: where the coordinates live and the frames are drawn.

    Raises:
        ValueError: an unknown representation, or windows too short to hold a target.
    """

    def __init__(self, windows: dict, n_in: int, *, inputs: str = "frames", targets: str = "frames",
                 batch_size: int = 8, shuffle: bool = False, seed: int = 0,
                 device: torch.device | str = "cpu") -> None:
        for name, value in (("inputs", inputs), ("targets", targets)):
            if value not in REPRESENTATIONS:
                raise ValueError(f"{name}={value!r} is not one of {', '.join(REPRESENTATIONS)}")
        length = windows["coordinates"].shape[1]
        if not 0 < n_in < length:
            raise ValueError(f"n_in={n_in} leaves no target in windows of {length} frames; cut longer windows")
        self.coordinates = windows["coordinates"].to(device)
        self.mask = windows["fixation_mask"].to(device)
        self.size = windows["meta"]["size"]
        self.n_in, self.inputs, self.targets = n_in, inputs, targets
        self.batch_size, self.shuffle, self.seed, self.epoch = batch_size, shuffle, seed, 0

    def __len__(self) -> int:
        return -(-len(self.coordinates) // self.batch_size)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        order = torch.arange(len(self.coordinates))
        if self.shuffle:
            generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch)
            order = torch.randperm(len(order), generator=generator)
        for rows in order.split(self.batch_size):
            points, mask = self.coordinates[rows], self.mask[rows]
            yield (self._represent(points[:, :self.n_in], mask[:, :self.n_in], self.inputs),
                   self._represent(points[:, self.n_in:], mask[:, self.n_in:], self.targets))

    def _represent(self, points: Tensor, mask: Tensor, representation: str) -> Tensor:
        if representation == "frames":
            return create_sparse_frames(points, mask, self.size)
        return points if representation == "points" else points[:, 0]


def train_model_with_loss(
    model: nn.Module, train_loader: Iterable, val_loader: Iterable, loss_fn: Callable[[Tensor, Tensor], Tensor],
    epochs: int = 25, *, learning_rate: float = 1e-3, weight_decay: float = 1e-5, clip_norm: float = 1.0,
    plateau_patience: int = 5, plateau_factor: float = 0.5, checkpoint: Path | str | None = None,
    on_epoch: Callable[[dict], None] | None = None, progress: bool = True,
) -> tuple[nn.Module, list[dict]]:
    """Train `model` and give it back with the weights of its best validation epoch, and its history.

    Args:
        model: any module; it is trained where its parameters lie.
        train_loader, val_loader: iterables of (inputs, targets); a loader with an `epoch` attribute is told
            the epoch's number before each pass.
        loss_fn: maps (model output, targets) to a scalar.
        epochs: passes over `train_loader`.
        learning_rate, weight_decay: Adam's.
        clip_norm: the largest gradient norm; larger ones are scaled down to it.
        plateau_patience, plateau_factor: ReduceLROnPlateau's, on the validation loss.
        checkpoint: a file to write after every epoch and to go on from if it exists. An interrupted and
            resumed training ends with the same numbers as an uninterrupted one.
        on_epoch: called with each epoch's record, e.g. to print or log it.
        progress: show a bar over the epochs.

    Returns:
        (model, history); history has one dict an epoch: epoch (from 1), train_loss, val_loss, learning_rate,
        seconds.

    Raises:
        TrainingDiverged: a loss or gradient norm is not finite; the message names epoch and batch. The last
            checkpoint is left as it was.
    """
    keep_freed_memory()
    optimiser = make_optimiser(model, learning_rate, weight_decay)
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimiser, patience=plateau_patience, factor=plateau_factor)
    history: list[dict] = []
    best = copy.deepcopy(model.state_dict())
    if checkpoint and Path(checkpoint).exists():
        history, best = _load_checkpoint(Path(checkpoint), model, optimiser, scheduler)
    for epoch in tqdm(range(len(history) + 1, epochs + 1), disable=not progress, initial=len(history), total=epochs,
                      unit="epoch"):
        start = time.perf_counter()
        train_loss = _train_epoch(model, train_loader, loss_fn, optimiser, clip_norm, epoch)
        val_loss = mean_loss(model, val_loader, loss_fn)
        if val_loss < min((h["val_loss"] for h in history), default=float("inf")):
            best = copy.deepcopy(model.state_dict())
        history.append(dict(epoch=epoch, train_loss=train_loss, val_loss=val_loss,
                            learning_rate=optimiser.param_groups[0]["lr"], seconds=time.perf_counter() - start))
        scheduler.step(val_loss)
        if checkpoint:
            _save_checkpoint(Path(checkpoint), model, optimiser, scheduler, history, best)
        if on_epoch:
            on_epoch(history[-1])
    model.load_state_dict(best)
    return model, history


def make_optimiser(model: nn.Module, learning_rate: float, weight_decay: float) -> torch.optim.Optimizer:
    """Adam over the model's parameters; on a CPU in one pass over them, three times as fast as PyTorch's default."""
    on_cpu = all(parameter.device.type == "cpu" for parameter in model.parameters())
    return torch.optim.Adam(model.parameters(), lr=learning_rate, weight_decay=weight_decay, fused=on_cpu or None)


def _train_epoch(model, loader, loss_fn, optimiser, clip_norm, epoch) -> float:
    model.train()
    if hasattr(loader, "epoch"):
        loader.epoch = epoch
    losses, norms, counts = [], [], []
    for inputs, targets in loader:
        optimiser.zero_grad(set_to_none=True)
        loss = loss_fn(model(inputs), targets)
        loss.backward()
        norms.append(nn.utils.clip_grad_norm_(model.parameters(), clip_norm).detach())
        optimiser.step()
        losses.append(loss.detach())
        counts.append(len(inputs))
    # Read once an epoch: reading every batch would make a GPU wait for each.
    losses, norms = torch.stack(losses).double().cpu(), torch.stack(norms).cpu()
    bad = torch.nonzero(~(losses.isfinite() & norms.isfinite()))
    if len(bad):
        batch = int(bad[0])
        raise TrainingDiverged(f"epoch {epoch}, batch {batch + 1}: loss {losses[batch]:g}, gradient norm "
                               f"{norms[batch]:g}; lower the learning rate or look at that batch")
    weights = torch.tensor(counts, dtype=torch.float64)
    return float((losses * weights).sum() / weights.sum())


@torch.no_grad()
def mean_loss(model: nn.Module, loader: Iterable, loss_fn: Callable[[Tensor, Tensor], Tensor]) -> float:
    """Mean of `loss_fn` over the samples of `loader`, the model in evaluation mode."""
    model.eval()
    total, count = 0.0, 0
    for inputs, targets in loader:
        total = total + loss_fn(model(inputs), targets).double() * len(inputs)
        count += len(inputs)
    return float(total / count)


@torch.no_grad()
def predict(model: nn.Module, loader: Iterable) -> Tensor:
    """The model's outputs for every sample of `loader`, in order, on the CPU."""
    model.eval()
    return torch.cat([model(inputs).float().cpu() for inputs, _ in loader])


@torch.no_grad()
def evaluate_model(model: nn.Module, test_loader: Iterable, loss_fn: Callable[[Tensor, Tensor], Tensor],
                   threshold: float = 0.5) -> dict[str, float]:
    """The original experiment's metrics of a frame predictor.

    Args:
        model: gives logits of the targets' shape (B, T, 1, H, W).
        test_loader: iterable of (inputs, target frames).
        loss_fn: gives `test_loss`.
        threshold: a pixel counts as predicted white where sigmoid(logit) > threshold.

    Returns:
        white_pixel_recall, white_pixel_precision, f1_score (each 0 where it is undefined), test_loss.
    """
    model.eval()
    counts = torch.zeros(3, dtype=torch.float64)
    for inputs, targets in test_loader:
        found = white_pixel_counts(torch.sigmoid(model(inputs).float()), targets, threshold)
        counts += torch.tensor([float(f) for f in found], dtype=torch.float64)
    true_positive, false_positive, false_negative = counts.tolist()
    return dict(
        white_pixel_recall=_ratio(true_positive, true_positive + false_negative),
        white_pixel_precision=_ratio(true_positive, true_positive + false_positive),
        f1_score=_ratio(2 * true_positive, 2 * true_positive + false_positive + false_negative),
        test_loss=mean_loss(model, test_loader, loss_fn))


def _ratio(numerator: float, denominator: float) -> float:
    return numerator / denominator if denominator else 0.0


def _save_checkpoint(path: Path, model, optimiser, scheduler, history, best) -> None:
    state = dict(model=model.state_dict(), optimiser=optimiser.state_dict(), scheduler=scheduler.state_dict(),
                 history=history, best=best, random_state=torch.get_rng_state())
    if torch.cuda.is_available():
        state["cuda_random_state"] = torch.cuda.get_rng_state()
    path.parent.mkdir(parents=True, exist_ok=True)
    # Under another name first, so that a kill while writing leaves the last whole checkpoint.
    unfinished = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    with open(unfinished, "wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(unfinished, path)


def _load_checkpoint(path: Path, model, optimiser, scheduler) -> tuple[list[dict], dict]:
    state = torch.load(path, weights_only=True, map_location=next(model.parameters()).device)
    model.load_state_dict(state["model"])
    optimiser.load_state_dict(state["optimiser"])
    scheduler.load_state_dict(state["scheduler"])
    torch.set_rng_state(state["random_state"].cpu())
    if torch.cuda.is_available() and "cuda_random_state" in state:
        torch.cuda.set_rng_state(state["cuda_random_state"].cpu())
    return state["history"], state["best"]
