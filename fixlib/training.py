"""One training loop for every model of the book: fit, checkpoint, resume, evaluate.

The settings are those of the original experiment: Adam (learning rate 1e-3, weight decay 1e-5), gradient
clipping, ReduceLROnPlateau, and the weights of the epoch with the lowest validation loss are kept.
"""

from __future__ import annotations

import copy
import hashlib
import math
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from fixlib.checkpoints import Checkpoint, restore, training_state
from fixlib.devices import FLOAT32, OneDevice, Parts, check_precision, fabric_for, use_float32
from fixlib.grid import create_sparse_frames
from fixlib.metrics import white_pixel_counts
from fixlib.system import keep_freed_memory

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
        ValueError: an unknown representation, windows too short to hold a target, or a frame without gaze.
    """

    def __init__(
        self,
        windows: dict,
        n_in: int,
        *,
        inputs: str = "frames",
        targets: str = "frames",
        batch_size: int = 8,
        shuffle: bool = False,
        seed: int = 0,
        device: torch.device | str = "cpu",
    ) -> None:
        for name, value in (("inputs", inputs), ("targets", targets)):
            if value not in REPRESENTATIONS:
                raise ValueError(f"{name}={value!r} is not one of {', '.join(REPRESENTATIONS)}")
        length = windows["coordinates"].shape[1]
        if not 0 < n_in < length:
            raise ValueError(f"n_in={n_in} leaves no target in windows of {length} frames; cut longer windows")
        if not windows["fixation_mask"].all():
            raise ValueError(
                "a frame of these windows holds no gaze; take windows without one from fixlib.data.cut_windows"
            )
        self.coordinates, self.size = windows["coordinates"].to(device), windows["meta"]["size"]
        self.n_in, self.inputs, self.targets = n_in, inputs, targets
        self.batch_size, self.shuffle, self.seed, self.epoch = batch_size, shuffle, seed, 0

    def __len__(self) -> int:
        return -(-len(self.coordinates) // self.batch_size)

    def __repr__(self) -> str:
        """The same for loaders that give the same batches, and only for them."""
        content = hashlib.sha256(self.coordinates.cpu().contiguous().numpy().tobytes()).hexdigest()[:16]
        return (
            f"WindowLoader({len(self.coordinates)} windows {content} on {self.size} px, n_in={self.n_in}, "
            f"inputs={self.inputs}, targets={self.targets}, batch_size={self.batch_size}, shuffle={self.shuffle}, "
            f"seed={self.seed})"
        )

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        order = torch.arange(len(self.coordinates))
        if self.shuffle:
            generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch)
            order = torch.randperm(len(order), generator=generator)
        for rows in order.to(self.coordinates.device).split(self.batch_size):
            yield (
                self._represent(rows, slice(None, self.n_in), self.inputs),
                self._represent(rows, slice(self.n_in, None), self.targets),
            )

    def _represent(self, rows: Tensor, times: slice, representation: str) -> Tensor:
        points = self.coordinates[rows][:, times]
        if representation == "frames":
            return create_sparse_frames(points, torch.ones_like(points[..., 0], dtype=torch.bool), self.size)
        return points if representation == "points" else points[:, 0]


def train_model_with_loss(
    model: nn.Module,
    train_loader: Iterable,
    val_loader: Iterable,
    loss_fn: Callable[[Tensor, Tensor], Tensor],
    epochs: int = 25,
    *,
    learning_rate: float = 1e-3,
    weight_decay: float = 1e-5,
    clip_norm: float = 1.0,
    plateau_patience: int = 5,
    plateau_factor: float = 0.5,
    checkpoint: Checkpoint | Path | str | None = None,
    on_epoch: Callable[[dict], None] | None = None,
    progress: bool = True,
    precision: str = "32-true",
    cuda_graphs: bool = False,
    fabric=None,
    parts: Parts | None = None,
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
        checkpoint: a file to write after every epoch and to go on from if it exists and is of this very
            training: same model, settings, loss and windows (of other loaders and losses than fixlib's only the kind
            is compared; see `fixlib.checkpoints`). An interrupted and resumed training ends with the same numbers as
            an uninterrupted one.
        on_epoch: called with each epoch's record, e.g. to print or log it.
        progress: show a bar over the epochs.
        precision: "32-true"; "tf32" on a GPU; or "bf16-mixed" or "16-mixed" by Lightning Fabric.
        cuda_graphs: on a GPU in 32 bits, launch the model's passes as a whole, for a model that allows it (every one
            of `fixlib.models` does; see `fixlib.devices.Replayed`).
        fabric, parts: of a training by several processes, see `fixlib.devices`: this one's.

    Returns:
        (model, history); history has one dict an epoch: epoch (from 1), train_loss, val_loss, learning_rate,
        seconds.

    Raises:
        TrainingDiverged: a loss or gradient norm is not finite; the message names epoch, batch and the last
            good checkpoint, which is left as it was.
        ValueError: a precision that there is not, or not on this machine, or a checkpoint of more epochs.
    """
    check_precision(precision)
    keep_freed_memory()
    use_float32(precision)
    optimiser = make_optimiser(model, learning_rate, weight_decay, fused=precision != "16-mixed")
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimiser, patience=plateau_patience, factor=plateau_factor)
    if fabric is None:
        fabric = OneDevice(cuda_graphs) if precision in FLOAT32 else fabric_for(precision)
    history: list[dict] = []
    best = copy.deepcopy(model.state_dict())
    if checkpoint and not isinstance(checkpoint, Checkpoint):
        checkpoint = Checkpoint(checkpoint)
    if checkpoint:
        owner = checkpoint.owner(
            model,
            loss=_identity(loss_fn),
            windows=[_identity(loader) for loader in (train_loader, val_loader)],
            settings=dict(
                learning_rate=learning_rate,
                weight_decay=weight_decay,
                clip_norm=clip_norm,
                plateau_patience=plateau_patience,
                plateau_factor=plateau_factor,
                precision=precision,
            ),
        )
        if state := fabric.broadcast(None if fabric.global_rank else checkpoint.load(owner)):
            if len(state["history"]) > epochs:
                raise ValueError(
                    f"the checkpoint {checkpoint.path} is of {len(state['history'])} epochs, and {epochs} "
                    "were asked for: ask for as many or more, or give another file"
                )
            history, best = restore(state, model, optimiser, scheduler, fabric.strategy.precision)
    trained, stepper = fabric.setup(model, optimiser)  # share weights and state with `model` and `optimiser`
    for epoch in tqdm(
        range(len(history) + 1, epochs + 1), disable=not progress, initial=len(history), total=epochs, unit="epoch"
    ):
        start = time.perf_counter()
        try:
            train_loss = _train_epoch(
                trained,
                train_loader,
                loss_fn,
                stepper,
                clip_norm,
                epoch,
                fabric,
                parts,
                may_overflow=precision == "16-mixed",
            )
            val_loss = _finite_validation_loss(trained, val_loader, loss_fn, epoch)
        except TrainingDiverged as error:
            kept = (
                f"the last good checkpoint is {checkpoint.path}, of epoch {epoch - 1}"
                if checkpoint and history
                else "there is no checkpoint yet"
            )
            raise TrainingDiverged(f"{error}; {kept}") from None
        if val_loss < min((h["val_loss"] for h in history), default=float("inf")):
            best = copy.deepcopy(model.state_dict())
        history.append(
            dict(
                epoch=epoch,
                train_loss=train_loss,
                val_loss=val_loss,
                learning_rate=optimiser.param_groups[0]["lr"],
                seconds=time.perf_counter() - start,
            )
        )
        scheduler.step(val_loss)
        if fabric.global_rank:
            continue
        if checkpoint:
            state = training_state(model, optimiser, scheduler, fabric.strategy.precision, history, best)
            checkpoint.save(state, owner)
        if on_epoch:
            on_epoch(history[-1])
    model.load_state_dict(best)
    return model, history


def _identity(part: Callable | Iterable) -> str:
    """What is known of a loss or loader that another process can compare."""
    if isinstance(part, nn.Module | WindowLoader):
        return repr(part)
    return getattr(part, "__qualname__", type(part).__qualname__)


def make_optimiser(
    model: nn.Module, learning_rate: float, weight_decay: float, fused: bool = True
) -> torch.optim.Optimizer:
    """Adam over the model's parameters, in one pass over them: on a CPU three times as fast as PyTorch's default.

    Not `fused` where gradients are scaled (16-mixed): a fused Adam unscales them itself, after they were clipped.
    """
    return torch.optim.Adam(model.parameters(), lr=learning_rate, weight_decay=weight_decay, fused=fused)


def _train_epoch(model, loader, loss_fn, optimiser, clip_norm, epoch, fabric, parts, may_overflow) -> float:
    model.train()
    if hasattr(loader, "epoch"):
        loader.epoch = epoch
    losses, norms, counts = [], [], []
    for inputs, targets in loader:
        optimiser.zero_grad(set_to_none=True)
        loss = loss_fn(model(inputs), targets)
        fabric.backward(loss * parts.weight if parts else loss)
        norms.append(fabric.clip_gradients(model, optimiser, max_norm=clip_norm, error_if_nonfinite=False).detach())
        optimiser.step()
        losses.append(loss.detach())
        counts.append(len(inputs))
    _refuse_no_batches(len(losses))
    # Read once an epoch: reading every batch would make a GPU wait for each.
    losses, norms = torch.stack(losses).double(), torch.stack(norms).cpu()
    counts = torch.tensor(counts, dtype=torch.float64, device=losses.device)
    sums, counts = (fabric.all_reduce(each, reduce_op="sum").cpu() for each in (losses * counts, counts))
    # In 16 bits a gradient may overflow: that batch is skipped, and the scale lowered.
    bad = torch.nonzero(~(sums.isfinite() & (norms.isfinite() | may_overflow)))
    if len(bad):
        batch = int(bad[0])
        raise TrainingDiverged(
            f"epoch {epoch}, batch {batch + 1}: loss {sums[batch] / counts[batch]:g}, gradient norm "
            f"{norms[batch]:g}; lower the learning rate or look at that batch"
        )
    return float(sums.sum() / counts.sum())


def _finite_validation_loss(model, loader, loss_fn, epoch) -> float:
    found = mean_loss(model, loader, loss_fn)
    if not math.isfinite(found):
        raise TrainingDiverged(f"epoch {epoch}, validation: loss {found:g}; lower the learning rate")
    return found


@torch.no_grad()
def mean_loss(model: nn.Module, loader: Iterable, loss_fn: Callable[[Tensor, Tensor], Tensor]) -> float:
    """Mean of `loss_fn` over the samples of `loader`, the model in evaluation mode."""
    model.eval()
    total, count = 0.0, 0
    for inputs, targets in loader:
        total = total + loss_fn(model(inputs), targets).double() * len(inputs)
        count += len(inputs)
    _refuse_no_batches(count)
    return float(total / count)


def _refuse_no_batches(found: int) -> None:
    if not found:
        raise ValueError("the loader gave no batch: it is empty, or an iterator that was used up by an earlier pass")


@torch.no_grad()
def predict(model: nn.Module, loader: Iterable) -> Tensor:
    """The model's outputs for every sample of `loader`, in order, on the CPU."""
    model.eval()
    return torch.cat([model(inputs).float().cpu() for inputs, _ in loader])


@torch.no_grad()
def evaluate_model(
    model: nn.Module, test_loader: Iterable, loss_fn: Callable[[Tensor, Tensor], Tensor], threshold: float = 0.5
) -> dict[str, float]:
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
        test_loss=mean_loss(model, test_loader, loss_fn),
    )


def _ratio(numerator: float, denominator: float) -> float:
    return numerator / denominator if denominator else 0.0
