"""Training step and inference of SimVP and the hybrid, against the plain reference, on windows of real gaze."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.reference import ReferenceHybrid, ReferenceSimVP, training_step
from benchmarks.turns import Side, paired_ratio, take_turns
from fixlib import data
from fixlib.memory import keep_freed_memory
from fixlib.models import SimVP, SimVP_RegressionHead
from fixlib.training import make_optimiser

TITLE = "Training step and inference, float32"
RATE_HZ, HID_S, N_S, N_T = 10.0, 64, 4, 8
MATRIX = 2048
NETWORKS = {"simvp": (ReferenceSimVP, SimVP), "hybrid": (ReferenceHybrid, SimVP_RegressionHead)}


def case(network: str, work: str, frames: int, hid_T: int, batch: int = 8, size: int = 32) -> dict:
    return dict(network=network, work=work, frames=frames, hid_T=hid_T, batch=batch, size=size)


# The configurations of the models' table, the hybrid, and how the cost grows with batch, grid and width.
CASES = [
    *(case(network, work, frames, hid_T) for network, frames, hid_T in (
        ("simvp", 10, 256), ("hybrid", 4, 512), ("simvp", 4, 256), ("simvp", 4, 512), ("simvp", 10, 512))
      for work in ("train", "infer")),
]
GROWTH = [
    *(case("simvp", "train", 4, 64, batch=batch) for batch in (1, 2, 4, 8, 16, 32)),
    *(case("simvp", "train", 4, hid_T) for hid_T in (128, 1024)),
    *(case("simvp", "train", 4, 64, batch=4, size=size) for size in (64, 128)),
]
QUICK = [case("simvp", "train", 10, 256), case("hybrid", "train", 4, 512)]


def run(quick: bool, threads: int, dataset: str) -> Iterator[dict]:
    """A row a case."""
    for options in QUICK if quick else CASES + GROWTH:
        yield measure(**options, turns=5 if quick else 7, threads=threads, dataset=dataset)


def measure(*, turns: int, threads: int, dataset: str, **options) -> dict:
    """One case: reference, library and a matrix product take turns."""
    frames, _ = _batch(dataset, options["frames"], options["batch"], options["size"])
    timed = take_turns({
        "reference": Side(reference_step, options | dict(dataset=dataset)),
        "library": Side(library_step, options | dict(dataset=dataset)),
        "matrix product": Side(matrix_product, {}),
    }, turns, threads)
    flops = forward_flops(**options) * (3 if options["work"] == "train" else 1)
    reference, library = timed["reference"], timed["library"]
    ratio, low, high = paired_ratio(reference.seconds, library.seconds)
    return options | dict(
        distinct_frames=len(frames.flatten(0, 1).unique(dim=0)), all_frames=frames.shape[0] * frames.shape[1],
        reference_ms=1e3 * reference.median, library_ms=1e3 * library.median, ratio=ratio, ratio_quartiles=[low, high],
        processor_time_ratio=paired_ratio(reference.processor_seconds, library.processor_seconds)[0],
        reference_mb=reference.grown_mb, library_mb=library.grown_mb, gflop=flops / 1e9,
        reference_gflops=flops / 1e9 / reference.median, library_gflops=flops / 1e9 / library.median,
        matrix_product_gflops=2 * MATRIX**3 / 1e9 / timed["matrix product"].median, turns=turns)


def table(rows: list[dict]) -> list[dict]:
    """What is printed of the rows."""
    return [{
        "case": "{network} {work}, {frames} frames of {size} px, hid_T {hid_T}, batch {batch}".format(**row),
        "distinct frames": "{distinct_frames} of {all_frames}".format(**row),
        "reference, ms": f"{row['reference_ms']:.1f}", "fixlib, ms": f"{row['library_ms']:.1f}",
        "ratio (quartiles)": "{:.2f} ({:.2f}-{:.2f})".format(row["ratio"], *row["ratio_quartiles"]),
        "in processor time": f"{row['processor_time_ratio']:.2f}",
        "peak MB": f"{row['reference_mb']:.0f} / {row['library_mb']:.0f}",
        "GFLOP/s": f"{row['reference_gflops']:.0f} / {row['library_gflops']:.0f} "
                   f"(matrix product {row['matrix_product_gflops']:.0f})",
    } for row in rows]


def reference_step(network: str, dataset: str, **options) -> Callable[[], object]:
    """The reference with plain Adam."""
    model = _network(NETWORKS[network][0], options)
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-3, weight_decay=1e-5)
    return _step(model, optimiser, network, dataset, options)


def library_step(network: str, dataset: str, **options) -> Callable[[], object]:
    """The library's network as the library trains it."""
    keep_freed_memory()
    model = _network(NETWORKS[network][1], options)
    optimiser = make_optimiser(model, learning_rate=1e-3, weight_decay=1e-5)
    return _step(model, optimiser, network, dataset, options)


def matrix_product() -> Callable[[], object]:
    """What this machine can do in float32."""
    a, b = torch.randn(2, MATRIX, MATRIX)
    return partial(torch.mm, a, b)


def forward_flops(network: str, frames: int, hid_T: int, batch: int, size: int, work: str = "") -> int:
    """Of the reference, dense; 3 times as many make a training step (torch overcounts grouped backwards)."""
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        model = NETWORKS[network][0](in_shape=(frames, 1, size, size), hid_S=HID_S, hid_T=hid_T, N_S=N_S, N_T=N_T)
        model.eval()(torch.zeros(batch, frames, 1, size, size))
    return counter.get_total_flops()


def _network(kind, options: dict) -> torch.nn.Module:
    torch.manual_seed(0)
    shape = (options["frames"], 1, options["size"], options["size"])
    return kind(in_shape=shape, hid_S=HID_S, hid_T=options["hid_T"], N_S=N_S, N_T=N_T)


def _step(model, optimiser, network: str, dataset: str, options: dict) -> Callable[[], object]:
    frames, points = _batch(dataset, options["frames"], options["batch"], options["size"])
    if options["work"] == "infer":
        model.eval()
        return torch.no_grad()(partial(model, frames))
    model.train()
    if network == "hybrid":
        return partial(training_step, model, optimiser, torch.nn.functional.l1_loss, frames, points[:, -1])
    target = data.create_sparse_frames(points, torch.ones(points.shape[:2], dtype=torch.bool), options["size"])
    return partial(training_step, model, optimiser, _squared_error, frames, target)


def _squared_error(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    return (torch.sigmoid(logits) - target).square().mean()


def _batch(dataset: str, frames: int, batch: int, size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Input frames and as many target points, of training windows drawn at random from all."""
    sequences = data.open_dataset(dataset, RATE_HZ, size)["train"]
    windows = data.cut_windows(sequences, 2 * frames, 2 * frames, limit=batch)
    points, mask = windows["coordinates"], windows["fixation_mask"]
    return data.create_sparse_frames(points[:, :frames], mask[:, :frames], size), points[:, frames:]
