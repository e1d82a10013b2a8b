"""How a training runs: on which device, in which precision, and over how many processes.

Half precision and several processes are Lightning Fabric's work. Fabric takes seconds to import and is imported only
where it is asked for: the loop's default is `OneDevice`, which has the same methods.

Several processes give what one gives with the same batches (to rounding): each takes its part of every batch, batch
normalisation sees the whole batch, stochastic depth draws for the whole batch, and the gradients are weighted by the
parts' sizes.
"""

from __future__ import annotations

import copy
import tempfile
import warnings
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
import torch.distributed
from torch import Tensor, nn

from fixlib.models.simvp import StochasticDepth

FLOAT32 = ("32-true", "tf32")  # numbers of 32 bits; tf32: products of those rounded to 19, on a GPU
PRECISIONS = (*FLOAT32, "bf16-mixed", "16-mixed")


class FullPrecision:
    """32 bits, which need no scale of the losses: nothing to keep."""

    def state_dict(self) -> dict[str, Any]:
        return {}


class OneDevice:
    """Training in 32 bits by this process alone; a model on a GPU as `Replayed` where `cuda_graphs`."""

    global_rank = 0
    strategy = SimpleNamespace(precision=FullPrecision())

    def __init__(self, cuda_graphs: bool = False) -> None:
        self.cuda_graphs = cuda_graphs

    def setup(self, model: nn.Module, optimiser) -> tuple[nn.Module, Any]:
        on_gpu = all(parameter.is_cuda for parameter in model.parameters())
        return Replayed(model) if self.cuda_graphs and on_gpu else model, optimiser

    def broadcast(self, value: Any) -> Any:
        return value

    def all_reduce(self, value: Tensor, reduce_op: str) -> Tensor:
        return value

    def backward(self, loss: Tensor) -> None:
        loss.backward()

    def clip_gradients(self, model: nn.Module, optimiser, max_norm: float, error_if_nonfinite: bool) -> Tensor:
        return nn.utils.clip_grad_norm_(model.parameters(), max_norm, error_if_nonfinite=error_if_nonfinite)


class Replayed(nn.Module):
    """A model on a GPU whose forward and backward pass in training are recorded once, and launched as a whole after.

    A step of the original configuration is 1,200 small kernels, and launching them one by one takes the processor
    twice as long as the work takes the GPU (benchmarks/README.md). The numbers are the model's own, bit for bit.
    Evaluation and batches of another shape, such as the last of an epoch, go through the model as it is.

    The model must not look at a value on its way (as by .item()), nor take another way from batch to batch.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model, self.recorded, self.shape = model, nn.Sequential(model), None

    def forward(self, inputs: Tensor) -> Tensor:
        if self.training and self.shape is None:
            self._record(inputs)
        replayed = self.training and inputs.shape == self.shape
        return self.recorded(inputs) if replayed else self.model(inputs)

    def _record(self, inputs: Tensor) -> None:
        # The gradients' kernels were recorded on another stream, as it says; they are launched with the others.
        warnings.filterwarnings("ignore", message="The AccumulateGrad node's stream does not match")
        # Recording tries the model out, which changes batch statistics and draws random numbers.
        state, random_state = copy.deepcopy(self.model.state_dict()), torch.cuda.get_rng_state()
        torch.cuda.make_graphed_callables(self.recorded, (inputs.clone(),))
        self.model.load_state_dict(state)
        torch.cuda.set_rng_state(random_state)
        self.shape = inputs.shape


def use_float32(precision: str) -> None:
    """Have GPUs compute float32 as `precision` says, by algorithms that repeat bit for bit.

    Left alone, PyTorch's convolutions are in TF32 on a GPU, and some of their gradients differ from run to run.
    """
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"


def check_precision(precision: str) -> None:
    """Raises ValueError for an unknown precision, or one that this machine cannot train in."""
    if precision not in PRECISIONS:
        raise ValueError(f"unknown precision {precision!r}; choose one of {', '.join(PRECISIONS)}")
    if precision in ("tf32", "16-mixed") and not torch.cuda.is_available():
        raise ValueError(f"precision {precision} needs a GPU; on a processor use 32-true or bf16-mixed")


def fabric_for(precision: str, devices: int = 1):
    """Fabric for one process in that precision, or for several.

    Raises:
        ValueError: an unknown precision, fewer than one device, or more than this machine's GPUs where it has any.
        RuntimeError: Fabric is not installed; the message says how to install it.
    """
    check_precision(precision)
    if devices < 1:
        raise ValueError(f"devices must be at least 1, not {devices}")
    try:
        from lightning_fabric import Fabric
    except ImportError as error:
        raise RuntimeError(
            "other precisions and several devices need Lightning Fabric: pip install -c constraints.txt -e '.[scale]'"
        ) from error
    accelerator = "cuda" if torch.cuda.is_available() else "cpu"
    if accelerator == "cuda" and devices > torch.cuda.device_count():
        raise ValueError(
            f"{devices} devices were asked for, but this machine has GPUs: {torch.cuda.device_count()}; "
            "ask for no more, or hide them (CUDA_VISIBLE_DEVICES=) for as many processes without one"
        )
    return Fabric(
        accelerator=accelerator,
        devices=devices,
        precision="32-true" if precision in FLOAT32 else precision,
        strategy="auto" if devices == 1 else "ddp_spawn",
    )


def launch(function: Callable, precision: str, devices: int, *arguments) -> Any:
    """function(fabric, *arguments) in so many processes; what the first of them gives.

    Function and arguments have to be picklable, and the result to hold tensors and plain values only.
    """
    # Through a file: tensors that a process hands back live in memory that ends with it.
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "result.pt"
        fabric_for(precision, devices).launch(_in_group, result, function, *arguments)
        return torch.load(result, weights_only=True)


def _in_group(fabric, result: Path, function: Callable, *arguments) -> None:
    try:
        found = function(fabric, *arguments)
        if fabric.global_rank == 0:
            torch.save(found, result)
    finally:
        torch.distributed.destroy_process_group()


class Parts:
    """Which part of the present batch is this process's."""

    def __init__(self, rank: int, processes: int) -> None:
        self.rank, self.processes, self.size, self.rows = rank, processes, 0, slice(0)

    def of(self, loader: Iterable) -> PartLoader:
        """The loader's batches, of each only this process's part."""
        return PartLoader(loader, self)

    def take(self, size: int) -> slice:
        """This process's rows of a batch of `size`: parts of equal size, or one row more.

        Raises:
            ValueError: a batch too small to give each process a row.
        """
        if size < self.processes:
            raise ValueError(
                f"a batch of {size} cannot be shared by {self.processes} devices: use fewer, or a batch "
                "size that leaves no such rest"
            )
        bounds = [size * rank // self.processes for rank in (self.rank, self.rank + 1)]
        self.size, self.rows = size, slice(*bounds)
        return self.rows

    @property
    def weight(self) -> float:
        """How much a mean over this part weighs where the processes' gradients are averaged."""
        return (self.rows.stop - self.rows.start) * self.processes / self.size


class PartLoader:
    """See `Parts.of`."""

    def __init__(self, loader: Iterable, parts: Parts) -> None:
        self.loader, self.parts, self.epoch = loader, parts, 0

    def __iter__(self) -> Iterator:
        self.loader.epoch = self.epoch
        for inputs, targets in self.loader:
            rows = self.parts.take(len(inputs))
            yield inputs[rows], targets[rows]


def share(model: nn.Module, parts: Parts) -> nn.Module:
    """Have the model's layers see the whole batch where they look beyond one sample.

    Raises:
        ValueError: the model has dropout, whose draws depend on the parts.
    """
    for module in model.modules():
        if isinstance(module, nn.Dropout) and module.p:
            raise ValueError("dropout draws other numbers on several devices than on one: set drop=0")
        if isinstance(module, nn.BatchNorm2d):
            module.__class__, module.parts = WholeBatchNorm, parts
        if isinstance(module, StochasticDepth):
            module.__class__, module.parts = WholeBatchDepth, parts
    return model


class Summed(torch.autograd.Function):
    """The sum over all processes; each gets the gradients of all."""

    @staticmethod
    def forward(_, x: Tensor) -> Tensor:
        total = x.clone()
        torch.distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(_, gradient: Tensor) -> Tensor:
        return Summed.forward(_, gradient)


class WholeBatchNorm(nn.BatchNorm2d):
    """Batch normalisation over the parts of all processes (torch's SyncBatchNorm is for GPUs only)."""

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return super().forward(x)
        count = self.parts.size * x[0, 0].numel()
        mean = Summed.apply(x.sum((0, 2, 3))) / count
        centred = x - mean[:, None, None]
        variance = Summed.apply(centred.square().sum((0, 2, 3))) / count
        with torch.no_grad():
            self.num_batches_tracked += 1
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * (count / (count - 1)), self.momentum)
        scale = self.weight * (variance + self.eps).rsqrt()
        return centred * scale[:, None, None] + self.bias[:, None, None]


class WholeBatchDepth(StochasticDepth):
    """Stochastic depth that draws for the whole batch, as one process would, and uses this process's part."""

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.probability == 0:
            return x
        keep = 1 - self.probability
        return x * x.new_empty(self.parts.size, 1, 1, 1).bernoulli_(keep).div_(keep)[self.parts.rows]
