"""Training steps of every registered network: plain PyTorch, accelerated, and in bfloat16, by turns in one run.

"plain" is the network as published, trained as textbooks have it: ordinary Adam, freed memory given back.
"""

from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import nn

from benchmarks.turns import against, take_turns
from fixlib import data
from fixlib.losses import get_loss_function
from fixlib.models import NETWORKS, accelerate
from fixlib.system import keep_freed_memory
from fixlib.training import InBfloat16, Replayed, WindowLoader, best_device, numerics

RATE_HZ, SIZE, BATCH = 10.0, 32, 8
ORIGINAL = dict(hid_S=64, N_S=4, N_T=8)
# Frames in and out, and options of a case; a network that is not named here is measured as it is by default.
CASES = {
    "simvp": [(10, 10, ORIGINAL | dict(hid_T=256)), (4, 4, ORIGINAL | dict(hid_T=512))],
    "regression": [(4, 1, ORIGINAL | dict(hid_T=512))],
}
NARROW = (10, 10, dict(hid_S=8, hid_T=32, N_S=4, N_T=2))  # as of `quick` runs
# Accelerated or not, precision, and whether memory is kept and Adam fused.
SIDES = {
    "plain": (False, "float32", False),
    "plain, kept, fused": (False, "float32", True),
    "accelerated": (True, "float32", True),
    "plain bf16": (False, "bf16", True),
    "accelerated bf16": (True, "bf16", True),
}


def cases(quick: bool) -> list[tuple[str, int, int, dict]]:
    """Network, frames in and out, options."""
    return [(name, *case) for name in NETWORKS for case in CASES.get(name, [(10, 10, {})])[: 1 if quick else None]]


def run(quick: bool, threads: int, dataset: str) -> Iterator[dict]:
    """A row a case and side."""
    for network, n_in, n_out, options in [*cases(quick), ("simvp", *NARROW)]:
        turns = 20 if options == NARROW[-1] else 3 if quick else 9
        task = NETWORKS[network], n_in, n_out, options, dataset
        timed = take_turns({side: partial(training_step, side, *task) for side in SIDES}, turns, threads)
        width = "".join(f", {name} {value}" for name, value in options.items() if name.startswith("hid"))
        for side, found in timed.items():
            what = {"network": f"{network}, {n_in} frames{width}", "threads": threads, "side": side}
            yield what | {"ms": 1e3 * found.median, "peak MB": found.grown_mb} | against(timed["plain"], found)


def training_step(
    side: str, network: type, n_in: int, n_out: int, options: dict, dataset: str
) -> Callable[[], torch.Tensor]:
    """A step on windows of real gaze, as the library's loop takes it."""
    fast, precision, kept = SIDES[side]
    if kept:
        keep_freed_memory()
    torch.manual_seed(0)
    model = network.for_task(n_in, n_out, SIZE, **options).to(best_device()).train()
    inputs, targets = batch(model, n_in, n_out, dataset)
    loss_fn = get_loss_function("mse") if model.targets == "frames" else nn.L1Loss()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, weight_decay=1e-5, fused=kept)
    passes = accelerate(model) if fast else model
    if precision == "bf16":
        passes = InBfloat16(passes)
    elif fast and best_device().type == "cuda":
        passes = Replayed(passes)

    @numerics("float32")
    def step() -> torch.Tensor:
        optimizer.zero_grad(set_to_none=True)
        loss = loss_fn(passes(inputs), targets)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        return loss.detach().cpu()  # waits for a GPU

    return step


def batch(model: nn.Module, n_in: int, n_out: int, dataset: str) -> tuple[torch.Tensor, torch.Tensor]:
    """The first training windows of a dataset as that network is fed."""
    sequences = data.open_dataset(dataset, RATE_HZ, SIZE)["train"]
    windows = data.cut_windows(sequences, n_in + n_out, n_in + n_out, limit=BATCH)
    loader = WindowLoader(
        windows, n_in, inputs=model.inputs, targets=model.targets, batch_size=BATCH, device=best_device()
    )
    return next(iter(loader))
