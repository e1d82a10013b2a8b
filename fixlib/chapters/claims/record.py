"""The recorded runs that claims are judged by, and what the original networks cost, counted."""

from dataclasses import replace
from functools import partial

import torch
from torch.utils.flop_counter import FlopCounterMode

from fixlib.chapters.claims.loss_analysis import IMBALANCES
from fixlib.chapters.claims.verdicts import Record
from fixlib.chapters.hybrid_regression.tables import of_its_size, original_networks, training_memory
from fixlib.chapters.loss_comparison.runs import FURTHER_LOSSES, LOSSES
from fixlib.models import count_parameters
from fixlib.runs.study import facts, if_recorded, recorded

SEEDS = (0, 1, 2)


def read_record(results_dir: str = "") -> Record:
    """The runs that the verdicts rest on, as recorded; what is still to be recorded is None.

    Raises:
        NotRecorded: runs are missing that are part of the book's record.
    """
    read, if_there = partial(recorded, results_dir=results_dir), partial(if_recorded, results_dir=results_dir)
    every = (*LOSSES, *FURTHER_LOSSES)
    tuned = if_there("loss_comparison", "osie", "tuned", SEEDS, losses=every)
    quick = read("loss_comparison", "osie", "quick", losses=every)
    options = if_there("confounds", "osie", "tuned", parts=("options",))  # of seed 0
    usual = [run for run in (tuned.runs if tuned else ()) if run.spec.seed == 0]
    density = if_there("confounds", "osie", "quick", parts=("density",))
    hybrid = read("hybrid_regression", "osie", "paper", SEEDS, networks=("hybrid_l1",))
    squared = if_there("hybrid_regression", "osie", "paper", networks=("hybrid_mse",))
    rivals = [run for run in of_its_size(results_dir).runs if facts(run)["model"] == "simvp"]
    rivals += [run for run in (squared.runs if squared else ()) if run.history]
    return Record(
        losses=[read("loss_comparison", "osie", "paper", SEEDS, losses=every), *([tuned] if tuned else [])],
        ablations=read("loss_ablations", "osie", "quick"),
        control=read("simulated_control", "simulated", "quick", SEEDS),
        imbalance=read("imbalance", "patterns", "quick", grids=IMBALANCES),
        hybrid=replace(hybrid, runs=(*hybrid.runs, *rivals)),
        small=read("hybrid_regression", "osie", "quick"),
        films=read("hybrid_regression", "gazecom", "paper", networks=("hybrid_l1",), framings=("10hz",)),
        description=read("sparsity", "osie", "quick"),
        density=density and replace(density, runs=(*density.runs, *quick.runs)),
        options=options and tuned and replace(options, runs=(*options.runs, *usual)),
        sequence=if_there("how_predictable", "osie", "quick", SEEDS, tasks=("10to10",), networks=("gru",)),
        costs=costs(),
    )


def costs() -> dict[str, dict[str, float]]:
    """What each of `original_networks` costs: parameters of parts; MiB to train it; operations of one forward pass."""
    found = {}
    for name, network in original_networks().items():
        parts = {part: count_parameters(module) for part, module in network.named_children()}
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            network(torch.zeros(1, 4, 1, 32, 32, device="meta"))
        memory = dict(memory=sum(training_memory(network)), operations=counter.get_total_flops())
        found[name] = parts | dict(parameters=count_parameters(network)) | memory
    return found
