"""One training loop for every model of the book: fit, checkpoint, resume, evaluate.

The settings are those of the original experiment: Adam (learning rate 1e-3, weight decay 1e-5), gradient
clipping, ReduceLROnPlateau, and the weights of the epoch with the lowest validation loss are kept.
"""

import copy
import hashlib
import io
import itertools
import math
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Adam, Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau
from tqdm.auto import tqdm

from fixlib.grid import create_sparse_frames, gaussian_frames, mirrored_points, seen_points
from fixlib.losses import LossFunction
from fixlib.system import atomic_write, bits, environment

REPRESENTATIONS: dict[str, Callable[[Tensor, int], Tensor]] = dict(  # of points (B, T, 2), see `WindowLoader`
    frames=lambda points, size: create_sparse_frames(points, torch.ones_like(points[..., 0], dtype=torch.bool), size),
    pixels=seen_points,
    points=lambda points, size: points,
    next_point=lambda points, size: points[:, 0],
)
# tf32: float32 whose products are rounded to 19 bits, on a GPU. bf16: bfloat16 where that keeps the accuracy.
PRECISIONS = ("float32", "tf32", "bf16")
NO_BATCH = "the loader gave no batch: it is empty, or an iterator that was used up by an earlier pass"
OLDER_NAMES = {"32-true": "float32", "bf16-mixed": "bf16"}


class TrainingDiverged(RuntimeError):
    """A loss or a gradient was not finite."""


class WindowLoader:
    """Batches of (inputs, targets) from windows of coordinates; frames are drawn batch by batch, never stored.

    Args:
        windows: gaze (N, n_in + n_out, 2) of which every frame is valid (see `fixlib.data.cut_windows`).
        n_in: how many leading frames are input; the others are the target.
        inputs, targets: "frames" gives (B, T, 1, H, W), "pixels" their white pixels' centres (B, T, 2) px, "points" the
            points as recorded (B, T, 2) px, "next_point" the first of them alone, (B, 2).
        batch_size: windows a batch; the last batch may be smaller.
        shuffle: whether an epoch visits the windows in a random order, which follows from `seed` and the epoch's number
            alone: a resumed run sees the batches that an uninterrupted one would have.
        mirror: whether each window is mirrored left to right half of the time, drawn like the order.
        earlier: whether half of the batches end what is seen at a random earlier frame, drawn likewise, and ask for the
            frames after that: more to learn from, for networks that read histories of any length.
        sigma: draws target frames as Gaussians of so many px around the white pixel, 1 at their highest.
        device: where the coordinates live and the frames are drawn.

    Raises:
        ValueError: an unknown representation, windows too short to hold a target, a frame without gaze, or a sigma for
            targets that are no frames.
    """

    def __init__(
        self,
        windows,
        n_in: int,
        *,
        inputs: str = "frames",
        targets: str = "frames",
        batch_size: int = 8,
        shuffle: bool = False,
        seed: int = 0,
        mirror: bool = False,
        earlier: bool = False,
        sigma: float | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        for name, value in dict(inputs=inputs, targets=targets).items():
            if value not in REPRESENTATIONS:
                raise ValueError(f"{name}={value!r} is not one of {', '.join(REPRESENTATIONS)}")
        length = windows["coordinates"].shape[1]
        if not 0 < n_in < length:
            raise ValueError(f"n_in={n_in} leaves no target in windows of {length} frames; cut longer windows")
        if not windows["fixation_mask"].all():
            raise ValueError("a frame of these windows holds no gaze; fixlib.data.cut_windows gives windows without")
        if sigma is not None and targets != "frames":
            raise ValueError(f"sigma={sigma} is for targets that are frames, not for {targets!r}")
        self.coordinates, self.size = windows["coordinates"].to(device), windows["meta"]["size"]
        self.n_in, self.inputs, self.targets = n_in, inputs, targets
        self.batch_size, self.shuffle, self.seed, self.epoch = batch_size, shuffle, seed, 0
        self.mirror, self.earlier, self.sigma = mirror, earlier, sigma

    def __len__(self) -> int:
        return -(-len(self.coordinates) // self.batch_size)

    def __repr__(self) -> str:
        """The same for loaders that give the same batches, and only for them."""
        content = hashlib.sha256(self.coordinates.cpu().contiguous().numpy().tobytes()).hexdigest()[:16]
        names = ("n_in", "inputs", "targets", "batch_size", "shuffle", "seed", "mirror", "earlier", "sigma")
        settings = ", ".join(f"{name}={getattr(self, name)}" for name in names)
        return f"WindowLoader({len(self.coordinates)} windows {content} on {self.size} px, {settings})"

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch)
        order, points = torch.arange(len(self.coordinates)), self.coordinates
        if self.shuffle:
            order = torch.randperm(len(order), generator=generator)
        if self.mirror:
            mirrored = torch.rand(len(points), 1, 1, generator=generator) < 0.5
            points = torch.where(mirrored.to(points.device), mirrored_points(points, self.size), points)
        for rows in order.to(points.device).split(self.batch_size):
            now, ahead = self.n_in, points.shape[1] - self.n_in
            if self.earlier and torch.rand((), generator=generator) < 0.5:
                now = int(torch.randint(1, self.n_in + 1, (), generator=generator))
            observed, to_come = points[rows, : now + ahead].split([now, ahead], dim=1)
            yield REPRESENTATIONS[self.inputs](observed, self.size), self._target(to_come)

    def _target(self, points: Tensor) -> Tensor:
        if self.sigma is not None:
            return gaussian_frames(points, self.sigma, self.size)
        return REPRESENTATIONS[self.targets](points, self.size)


def train_model_with_loss(
    model: nn.Module,
    train_loader: Iterable,
    val_loader: Iterable,
    loss_fn: LossFunction,
    epochs: int = 25,
    *,
    learning_rate: float = 1e-3,
    weight_decay: float = 1e-5,
    clip_norm: float | None = 1.0,
    plateau_patience: int = 5,
    plateau_factor: float = 0.5,
    patience: int | None = None,
    precision: str = "float32",
    checkpoint: "Checkpoint | Path | str | None" = None,
    on_epoch: Callable[[dict], None] | None = None,
    progress: bool = True,
    cuda_graphs: bool = False,
) -> tuple[nn.Module, list[dict]]:
    """Train `model` and give it back with the weights of its best validation epoch, and its history.

    Changes nothing of the process but its random state, which training draws from.

    Args:
        model: any module; it is trained where its parameters lie.
        train_loader, val_loader: iterables of (inputs, targets). An `epoch` attribute is set to the epoch's number.
        loss_fn: maps (model output, targets) to a scalar.
        epochs: passes over `train_loader`, at most.
        learning_rate, weight_decay: Adam's.
        clip_norm: the largest gradient norm; larger ones are scaled down to it. None for any norm.
        plateau_patience, plateau_factor: ReduceLROnPlateau's, on the validation loss.
        patience: stop after that many epochs without a lower validation loss; None or 0 for all epochs.
        precision: "float32"; "bf16" by `torch.autocast`; "tf32" on a GPU.
        checkpoint: a file to write after every epoch and to go on from if it is of this very training: same model,
            settings, loss and windows (of other loaders and losses than fixlib's only the kind is compared). A resumed
            training ends with the same numbers as an uninterrupted one.
        on_epoch: called with each epoch's record.
        progress: show a bar over the epochs.
        cuda_graphs: on a GPU in 32 bits, launch the passes as a whole, as every model of fixlib allows; see `Replayed`.

    Returns:
        (model, history), one dict an epoch: epoch (from 1), train_loss, val_loss, learning_rate, seconds.

    Raises:
        TrainingDiverged: a loss or gradient norm is not finite; names the last good checkpoint, left as it was.
        ValueError: a precision that there is not, or not on this machine, or a checkpoint of more epochs.
    """
    precision = check_precision(precision)
    optimizer = Adam(model.parameters(), lr=learning_rate, weight_decay=weight_decay, fused=True)
    scheduler = ReduceLROnPlateau(optimizer, patience=plateau_patience, factor=plateau_factor)
    parts: dict[str, Any] = dict(model=model, optimizer=optimizer, scheduler=scheduler)
    history: list[dict] = []
    best = copy.deepcopy(model.state_dict())
    kept = Checkpoint(checkpoint) if isinstance(checkpoint, Path | str) else checkpoint
    settings: dict[str, Any] = dict(learning_rate=learning_rate, weight_decay=weight_decay, clip_norm=clip_norm)
    settings |= dict(plateau_patience=plateau_patience, plateau_factor=plateau_factor, precision=precision)
    owner = _owner(kept.run, model, loss_fn, [train_loader, val_loader], settings) if kept else {}
    if kept and (state := kept.load(owner, epochs)):
        history, best = state["history"], state["best"]
        for name, part in parts.items():
            part.load_state_dict(state[name])
    passes = _passes(model, precision, cuda_graphs)
    left = range(len(history) + 1, epochs + 1)
    for epoch in tqdm(left, disable=not progress, initial=len(history), total=epochs, unit="epoch"):
        if patience and history and len(history) - min(history, key=lambda past: past["val_loss"])["epoch"] >= patience:
            break
        start = time.perf_counter()
        if hasattr(train_loader, "epoch"):
            train_loader.epoch = epoch
        try:
            with numerics(precision):
                train_loss = _train_epoch(passes, train_loader, loss_fn, optimizer, clip_norm)
                val_loss = mean_loss(passes, val_loader, loss_fn)
            if not math.isfinite(val_loss):
                raise TrainingDiverged(f"validation: loss {val_loss:g}; lower the learning rate")
        except TrainingDiverged as error:
            good = f"the last good checkpoint is {kept.path}, of epoch {epoch - 1}" if kept and history else ""
            raise TrainingDiverged(f"epoch {epoch}, {error}; {good or 'there is no checkpoint yet'}") from None
        if val_loss < min((h["val_loss"] for h in history), default=math.inf):
            best = copy.deepcopy(model.state_dict())
        rate, seconds = optimizer.param_groups[0]["lr"], time.perf_counter() - start
        history.append(dict(epoch=epoch, train_loss=train_loss, val_loss=val_loss, learning_rate=rate, seconds=seconds))
        scheduler.step(val_loss)
        if kept:
            states = {name: part.state_dict() for name, part in parts.items()}
            kept.save(states | dict(history=history, best=best), owner)
        if on_epoch:
            on_epoch(history[-1])
    model.load_state_dict(best)
    return model, history


def _passes(model: nn.Module, precision: str, cuda_graphs: bool) -> nn.Module:
    """The model as its passes are carried out in training."""
    if precision == "bf16":
        return InBfloat16(model)
    on_gpu = all(parameter.is_cuda for parameter in model.parameters())
    return Replayed(model) if cuda_graphs and on_gpu else model


def _owner(run: str, model: nn.Module, loss: LossFunction, loaders: list[Iterable], settings: dict) -> dict[str, Any]:
    """Whose a checkpoint is: everything that has to be the same for going on, the number of threads included."""
    shapes = {name: list(value.shape) for name, value in model.state_dict().items()}
    device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))

    def identity(part: Callable | Iterable) -> str:
        """What is known of a loss or loader that another process can compare."""
        ours = isinstance(part, nn.Module | WindowLoader)
        return repr(part) if ours else getattr(part, "__qualname__", type(part).__qualname__)

    windows = [identity(loader) for loader in loaders]
    owner = dict(run=run, loss=identity(loss), windows=windows, settings=settings, shapes=shapes)
    return owner | bits(environment(device))


def _train_epoch(
    model: nn.Module, loader: Iterable, loss_fn: LossFunction, optimizer: Optimizer, clip_norm: float | None
) -> float:
    model.train()
    losses, norms, counts = [], [], []
    for inputs, targets in loader:
        optimizer.zero_grad(set_to_none=True)
        loss = loss_fn(model(inputs), targets)
        loss.backward()
        norms.append(nn.utils.clip_grad_norm_(model.parameters(), clip_norm or math.inf))
        optimizer.step()
        losses.append(loss.detach())
        counts.append(len(inputs))
    if not losses:
        raise ValueError(NO_BATCH)
    # Read once an epoch: reading every batch would make a GPU wait for each.
    found, norm = torch.stack(losses).double().cpu(), torch.stack(norms).cpu()
    bad = torch.nonzero(~(found.isfinite() & norm.isfinite()))
    if len(bad):
        batch = int(bad[0])
        what = f"batch {batch + 1}: loss {found[batch]:g}, gradient norm {norm[batch]:g}"
        raise TrainingDiverged(f"{what}; lower the learning rate or look at that batch")
    return float(found @ torch.tensor(counts, dtype=torch.float64)) / sum(counts)


@torch.no_grad()
def mean_loss(model: nn.Module, loader: Iterable, loss_fn: LossFunction) -> float:
    """Mean of `loss_fn` over the samples of `loader`, the model in evaluation mode."""
    model.eval()
    total, count = torch.zeros((), dtype=torch.float64), 0
    for inputs, targets in loader:
        total = total + loss_fn(model(inputs), targets).double() * len(inputs)
        count += len(inputs)
    if not count:
        raise ValueError(NO_BATCH)
    return float(total / count)


def best_device() -> torch.device:
    """The first GPU where there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def known_precision(precision: str) -> str:
    """The precision by its present name; ValueError for an unknown one."""
    precision = OLDER_NAMES.get(precision, precision)
    if precision not in PRECISIONS:
        raise ValueError(f"unknown precision {precision!r}; choose one of {', '.join(PRECISIONS)}")
    return precision


def check_precision(precision: str) -> str:
    """As `known_precision`; ValueError, too, for one that this machine cannot train in."""
    precision = known_precision(precision)
    if precision == "tf32" and not torch.cuda.is_available():
        raise ValueError("precision tf32 needs a GPU; on a processor use float32 or bf16")
    return precision


@contextmanager
def numerics(precision: str = "float32") -> Iterator[None]:
    """Have GPUs compute float32 as `precision` says, by algorithms that repeat bit for bit; afterwards as before.

    Left alone, PyTorch's convolutions are in TF32 on a GPU, and some of their gradients differ from run to run.
    """
    convolutions, products = torch.backends.cudnn, torch.backends.cuda.matmul
    before = convolutions.deterministic, convolutions.allow_tf32, products.allow_tf32
    convolutions.deterministic = True
    convolutions.allow_tf32 = products.allow_tf32 = precision == "tf32"
    try:
        with warnings.catch_warnings():
            # The gradients' kernels of `Replayed` were recorded on another stream; they are launched with the others.
            warnings.filterwarnings("ignore", message="The AccumulateGrad node's stream does not match")
            yield
    finally:
        convolutions.deterministic, convolutions.allow_tf32, products.allow_tf32 = before


class InBfloat16(nn.Module):
    """A model whose passes are in bfloat16 where that keeps the accuracy; weights and outputs stay float32."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, inputs: Tensor) -> Tensor:
        with torch.autocast(inputs.device.type, torch.bfloat16):
            return self.model(inputs).float()


class Replayed(nn.Module):
    """A model on a GPU whose forward and backward pass in training are recorded once, and launched as a whole after.

    A step of the original configuration is 1,200 small kernels, and launching them one by one takes the processor
    twice as long as the work takes the GPU (benchmarks/README.md). The numbers are the model's own, bit for bit.
    Evaluation and batches of another shape, such as the last of an epoch, go through the model as it is.

    The model must not look at a value on its way (as by .item()), nor take another way from batch to batch.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model, self.recorded = model, nn.Sequential(model)
        self.shape: torch.Size | None = None

    def forward(self, inputs: Tensor) -> Tensor:
        if self.training and self.shape is None:
            self._record(inputs)
        replayed = self.training and inputs.shape == self.shape
        return self.recorded(inputs) if replayed else self.model(inputs)

    def _record(self, inputs: Tensor) -> None:
        # Recording tries the model out, which changes batch statistics and draws random numbers.
        state, random_state = copy.deepcopy(self.model.state_dict()), torch.cuda.get_rng_state()
        torch.cuda.make_graphed_callables(self.recorded, (inputs.clone(),))
        self.model.load_state_dict(state)
        torch.cuda.set_rng_state(random_state)
        self.shape = inputs.shape


class Checkpoint:
    """The file of one training's state, of the run of that key.

    A file that belongs to another training (another run, model or setting), that other versions or another kind of
    machine wrote (the numbers would follow from both), or that cannot be read, is set aside under another name with
    a warning, and the training starts anew.
    """

    def __init__(self, path: Path | str, run: str = "") -> None:
        self.path, self.run = Path(path), run

    def stage(self, name: str) -> "Checkpoint":
        """That of one stage of a training in several."""
        return Checkpoint(f"{self.path}.{name}", self.run)

    def save(self, state: dict[str, Any], owner: dict[str, Any]) -> None:
        """Put the state, and the random state of now, in place of the last one.

        OSError, with the last one whole, where it cannot be written.
        """
        random = dict(random_state=torch.get_rng_state(), cuda_random_state=torch.cuda.get_rng_state_all())
        with atomic_write(self.path) as file:
            torch.save(state | random | dict(owner=owner), file)

    def load(self, owner: dict[str, Any], epochs: int) -> dict[str, Any] | None:
        """The state, on the CPU, with the random state put back, if there is one and it is this owner's; else None.

        ValueError where it is of more epochs; nothing is put back then.
        """
        if not self.path.exists():
            return None
        content = self.path.read_bytes()
        try:
            state = torch.load(io.BytesIO(content), weights_only=True, map_location="cpu")
            written_by, done = state.pop("owner"), len(state["history"])
            random_state, of_gpus = state["random_state"], state["cuda_random_state"]
            different = ", ".join(name for name in owner if written_by.get(name) != owner[name])
        except Exception as error:  # torch raises many kinds on damaged files; all mean the same
            self._set_aside(f"cannot be read ({type(error).__name__})")
            return None
        if different:
            self._set_aside(f"was written by another training or elsewhere (different: {different})")
            return None
        if done > epochs:
            found = f"the checkpoint {self.path} is of {done} epochs, and {epochs} were asked for"
            raise ValueError(f"{found}: ask for as many or more, or give another file")
        torch.set_rng_state(random_state)
        torch.cuda.set_rng_state_all(of_gpus)
        return state

    def _set_aside(self, why: str) -> None:
        names = (f"{self.path.name}.set-aside-{number}" for number in itertools.count(1))
        aside = next(path for path in map(self.path.with_name, names) if not path.exists())
        self.path.rename(aside)
        told = f"the checkpoint {self.path} {why}: it is now {aside.name}, and the training starts anew"
        warnings.warn(told, stacklevel=3)


@numerics("float32")
@torch.no_grad()
def predict(model: nn.Module, loader: Iterable) -> Tensor:
    """The model's outputs for every sample of `loader`, in order, on the CPU; in float32 however it was trained."""
    model.eval()
    return torch.cat([model(inputs).float().cpu() for inputs, _ in loader])


@numerics("float32")
@torch.no_grad()
def evaluate_model(
    model: nn.Module, test_loader: Iterable, loss_fn: LossFunction, threshold: float = 0.5
) -> dict[str, float]:
    """The original experiment's metrics of a model that gives logits of the target frames (B, T, 1, H, W).

    They are white_pixel_recall, white_pixel_precision and f1_score (each 0 where it is undefined), of pixels where
    sigmoid(logit) > `threshold`, and test_loss, of `loss_fn`.
    """
    model.eval()
    batches, total = [], torch.zeros((), dtype=torch.float64)
    for inputs, targets in test_loader:
        outputs = model(inputs)
        total = total + loss_fn(outputs, targets).double() * len(inputs)
        batches.append((outputs.float().cpu(), targets.cpu()))
    if not batches:
        raise ValueError(NO_BATCH)
    logits, frames = map(torch.cat, zip(*batches))
    called, white = torch.sigmoid(logits) > threshold, frames > 0.5
    found = int((called & white).sum())
    in_vain, missed = int(called.sum()) - found, int(white.sum()) - found
    return dict(
        white_pixel_recall=found / max(found + missed, 1),
        white_pixel_precision=found / max(found + in_vain, 1),
        f1_score=2 * found / max(2 * found + in_vain + missed, 1),
        test_loss=float(total / len(frames)),
    )
