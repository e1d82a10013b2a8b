"""Training step and inference of SimVP and the hybrid, against the plain reference, on windows of real gaze.

On a GPU where there is one, there in both precisions of 32 bits: with "32-true" the reference computes float32 proper as
well, with "tf32" it runs as PyTorch leaves it, which is TF32 in convolutions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.reference import ReferenceHybrid, ReferenceSimVP, training_step
from benchmarks.turns import Side, paired_ratio, take_turns
from fixlib import data
from fixlib.devices import FLOAT32, OneDevice, use_float32
from fixlib.models import SimVP, SimVP_RegressionHead
from fixlib.system import keep_freed_memory
from fixlib.training import best_device, make_optimiser

TITLE = "Training step and inference, float32"
RATE_HZ, HID_S, N_S, N_T = 10.0, 64, 4, 8
MATRIX = {"cpu": 2048, "cuda": 8192}
NETWORKS = {"simvp": (ReferenceSimVP, SimVP), "hybrid": (ReferenceHybrid, SimVP_RegressionHead)}


def case(
    network: str, work: str, frames: int, hid_T: int, batch: int = 8, size: int = 32, precision: str = "32-true"
) -> dict:
    return dict(network=network, work=work, frames=frames, hid_T=hid_T, batch=batch, size=size, precision=precision)


# The configurations of the models' table, the hybrid, and how the cost grows with batch, grid and width.
CASES = [
    *(
        case(network, work, frames, hid_T)
        for network, frames, hid_T in (
            ("simvp", 10, 256),
            ("hybrid", 4, 512),
            ("simvp", 4, 256),
            ("simvp", 4, 512),
            ("simvp", 10, 512),
        )
        for work in ("train", "infer")
    )
]
GROWTH = [
    *(case("simvp", "train", 4, 64, batch=batch) for batch in (1, 2, 4, 8, 16, 32)),
    *(case("simvp", "train", 4, hid_T) for hid_T in (128, 1024)),
    *(case("simvp", "train", 4, 64, batch=4, size=size) for size in (64, 128)),
]
QUICK = [case("simvp", "train", 10, 256), case("hybrid", "train", 4, 512)]
GPU_TURNS = 50


def run(quick: bool, threads: int, dataset: str) -> Iterator[dict]:
    """A row a case."""
    chosen, turns = (QUICK, 5) if quick else (CASES + GROWTH, 7)
    if best_device().type == "cuda":
        chosen = [
            options | dict(precision=precision)
            for options in (QUICK if quick else CASES)
            for precision in FLOAT32
            if precision == "32-true" or options["work"] == "train"
        ]
        turns = GPU_TURNS
    for options in chosen:
        yield measure(**options, turns=turns, threads=threads, dataset=dataset)


def measure(*, turns: int, threads: int, dataset: str, **options) -> dict:
    """One case: reference, library and a matrix product take turns."""
    frames, _ = _batch(dataset, options["frames"], options["batch"], options["size"])
    timed = take_turns(
        {
            "reference": Side(reference_step, options | dict(dataset=dataset)),
            "library": Side(library_step, options | dict(dataset=dataset)),
            "matrix product": Side(matrix_product, dict(precision=options["precision"])),
        },
        turns,
        threads,
    )
    flops = forward_flops(**options) * (3 if options["work"] == "train" else 1)
    reference, library = timed["reference"], timed["library"]
    ratio, low, high = paired_ratio(reference.seconds, library.seconds)
    return options | dict(
        distinct_frames=len(frames.flatten(0, 1).unique(dim=0)),
        all_frames=frames.shape[0] * frames.shape[1],
        reference_ms=1e3 * reference.median,
        library_ms=1e3 * library.median,
        ratio=ratio,
        ratio_quartiles=[low, high],
        processor_time_ratio=paired_ratio(reference.processor_seconds, library.processor_seconds)[0],
        reference_mb=reference.grown_mb,
        library_mb=library.grown_mb,
        gflop=flops / 1e9,
        reference_gflops=flops / 1e9 / reference.median,
        library_gflops=flops / 1e9 / library.median,
        matrix_product_gflops=2 * MATRIX[best_device().type] ** 3 / 1e9 / timed["matrix product"].median,
        turns=turns,
    )


def table(rows: list[dict]) -> list[dict]:
    """What is printed of the rows."""
    return [
        {
            "case": "{network} {work}, {frames} frames of {size} px, hid_T {hid_T}, batch {batch}".format(**row)
            + (", TF32" if row["precision"] == "tf32" else ""),
            "distinct frames": "{distinct_frames} of {all_frames}".format(**row),
            "reference, ms": f"{row['reference_ms']:.1f}",
            "fixlib, ms": f"{row['library_ms']:.1f}",
            "ratio (quartiles)": "{:.2f} ({:.2f}-{:.2f})".format(row["ratio"], *row["ratio_quartiles"]),
            "in processor time": f"{row['processor_time_ratio']:.2f}",
            "peak MB": f"{row['reference_mb']:.0f} / {row['library_mb']:.0f}",
            "GFLOP/s": f"{row['reference_gflops']:.0f} / {row['library_gflops']:.0f} "
            f"(matrix product {row['matrix_product_gflops']:.0f})",
        }
        for row in rows
    ]


def reference_step(network: str, dataset: str, precision: str, **options) -> Callable[[], object]:
    """The reference with plain Adam."""
    torch.backends.cudnn.allow_tf32 = precision == "tf32"
    model = _network(NETWORKS[network][0], options)
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-3, weight_decay=1e-5)
    return _step(model, optimiser, network, dataset, options)


def library_step(network: str, dataset: str, precision: str, **options) -> Callable[[], object]:
    """The library's network as the library trains it."""
    keep_freed_memory()
    use_float32(precision)
    model = _network(NETWORKS[network][1], options)
    optimiser = make_optimiser(model, learning_rate=1e-3, weight_decay=1e-5)
    return _step(*OneDevice(cuda_graphs=True).setup(model, optimiser), network, dataset, options)


def matrix_product(precision: str) -> Callable[[], object]:
    """What this machine can do in that precision."""
    use_float32(precision)
    device = best_device()
    a, b = torch.randn(2, MATRIX[device.type], MATRIX[device.type], device=device)
    return _finished(partial(torch.mm, a, b))


def forward_flops(network: str, frames: int, hid_T: int, batch: int, size: int, **_) -> int:
    """Of the reference, dense; 3 times as many make a training step (torch overcounts grouped backwards)."""
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        model = NETWORKS[network][0](in_shape=(frames, 1, size, size), hid_S=HID_S, hid_T=hid_T, N_S=N_S, N_T=N_T)
        model.eval()(torch.zeros(batch, frames, 1, size, size))
    return counter.get_total_flops()


def _network(kind, options: dict) -> torch.nn.Module:
    torch.manual_seed(0)
    shape = (options["frames"], 1, options["size"], options["size"])
    return kind(in_shape=shape, hid_S=HID_S, hid_T=options["hid_T"], N_S=N_S, N_T=N_T).to(best_device())


def _step(model, optimiser, network: str, dataset: str, options: dict) -> Callable[[], object]:
    frames, points = (
        tensor.to(best_device()) for tensor in _batch(dataset, options["frames"], options["batch"], options["size"])
    )
    if options["work"] == "infer":
        model.eval()
        return _finished(torch.no_grad()(partial(model, frames)))
    model.train()
    if network == "hybrid":
        target, loss = points[:, -1], torch.nn.functional.l1_loss
    else:
        present = torch.ones(points.shape[:2], dtype=torch.bool, device=points.device)
        target, loss = data.create_sparse_frames(points, present, options["size"]), _squared_error
    return _finished(partial(training_step, model, optimiser, loss, frames, target))


def _finished(step: Callable[[], object]) -> Callable[[], object]:
    """The step with the end of its work on a GPU, where it is done there: it is timed by the clock."""

    def finished() -> None:
        step()
        torch.cuda.synchronize()

    return finished if best_device().type == "cuda" else step


def _squared_error(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    return (torch.sigmoid(logits) - target).square().mean()


def _batch(dataset: str, frames: int, batch: int, size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Input frames and as many target points, of training windows drawn at random from all."""
    sequences = data.open_dataset(dataset, RATE_HZ, size)["train"]
    windows = data.cut_windows(sequences, 2 * frames, 2 * frames, limit=batch)
    points, mask = windows["coordinates"], windows["fixation_mask"]
    return data.create_sparse_frames(points[:, :frames], mask[:, :frames], size), points[:, frames:]
