"""The control of chapters 3 and 4: every loss and the hybrid on gaze whose best possible prediction is known.

Four frames in, the next one out, on `simulated`, beside the optimum that its exact density allows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from fixlib.chapters.hybrid_regression.runs import FRAMINGS, N_IN, N_OUT, networks_of
from fixlib.chapters.loss_comparison import runs as loss_comparison
from fixlib.runs.config import Config, Loss, Model, RunSpec, get_profile, make_spec
from fixlib.runs.execute import load_windows, run_predictor
from fixlib.training import Checkpoint

NAME = "simulated_control"
LOSSES = {**loss_comparison.LOSSES, "softmax_cross_entropy": {}}
# Besides the best output under each loss: the exact density (best bits) and the point of least expected distance.
OPTIMA = {**LOSSES, "density": {}, "distance": {}}


def specs(dataset: str, profile: str, seeds: Sequence[int] = (0,)) -> list[RunSpec]:
    """One run a network, framing and seed, and one optimum a loss and framing; variants read NAME.FRAMING.

    Raises:
        ValueError: an unknown profile, or a dataset other than `simulated`: no other has a known density.
    """
    if dataset != "simulated":
        raise ValueError(f"the optimum is known on 'simulated' only, not on {dataset!r}")
    size, found = get_profile(profile), []
    for framing, rate_hz in FRAMINGS.items():
        where = size.data(dataset, rate_hz, N_IN, N_OUT, stride=N_IN + N_OUT)
        compared = {f"frames_{name}": (size.frames, Loss(name, options)) for name, options in LOSSES.items()}
        compared |= {name: network for name, network in networks_of(size).items() if name.startswith("hybrid")}
        for name, network in compared.items():
            config = Config(where, *network, size.training)
            found += [make_spec(NAME, f"{name}.{framing}", size, seed, config) for seed in seeds]
        found += [
            make_spec(NAME, f"optimum_{name}.{framing}", size, 0, Config(where, Model("optimum"), Loss(name, options)))
            for name, options in OPTIMA.items()
        ]
    return found


def run(spec: RunSpec, checkpoint: Checkpoint | None, on_epoch: Callable[[dict], None]) -> dict:
    """Train a network, or compute what the exact density allows."""
    if spec.config.model.kind == "optimum":
        from fixlib.theory.simulated import optimum_payload

        return optimum_payload(spec.config, load_windows(spec.config.data))
    return run_predictor(spec, checkpoint, on_epoch)
