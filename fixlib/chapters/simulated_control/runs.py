"""The control of chapters 4 and 6: every loss and the hybrid on gaze whose best possible prediction is known.

Four frames in, the next one out, on `simulated`, beside the optimum that its exact density allows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fixlib.chapters.hybrid_regression.runs import FRAMINGS, N_IN, N_OUT, networks_of
from fixlib.chapters.loss_comparison import runs as loss_comparison
from fixlib.data import Gaze
from fixlib.losses import SoftmaxCrossEntropy, make_loss
from fixlib.metrics import Truth, evaluate_density, evaluate_frames, evaluate_points
from fixlib.models import BASELINES
from fixlib.runs.config import Config, Loss, Model, RunSpec, get_profile, make_spec
from fixlib.runs.execute import Attempt, load_windows, run_predictor, seen
from fixlib.runs.store import payload_of
from fixlib.theory.bayes import bayes_logits
from fixlib.theory.forecast import best_points, forecast

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
        where = size.data(dataset, rate_hz=rate_hz, n_in=N_IN, n_out=N_OUT, stride=N_IN + N_OUT)
        compared = {f"frames_{name}": (size.frames, Loss(name, options)) for name, options in LOSSES.items()}
        compared |= {name: network for name, network in networks_of(size).items() if name.startswith("hybrid")}
        for name, network in compared.items():
            config = Config(where, *network, size.training)
            found += [make_spec(NAME, f"{name}.{framing}", size, seed, config) for seed in seeds]
        for name, options in OPTIMA.items():
            config = Config(where, Model("optimum"), Loss(name, options))
            found.append(make_spec(NAME, f"optimum_{name}.{framing}", size, 0, config))
    return found


def run(spec: RunSpec, attempt: Attempt) -> dict:
    """Train a network, or compute what the exact density allows."""
    if spec.config.model.kind == "optimum":
        return _optimum(spec.config, load_windows(spec.config.data))
    return run_predictor(spec, attempt)


def _optimum(config: Config, windows: dict[str, Gaze]) -> dict:
    """What is recorded of the optimum on the test windows; its information gain is over the centre bias of train."""
    where, name, test = config.data, config.loss.name, windows["test"]
    truth, known = Truth.of(test, where.n_in), forecast(test, where.n_in, where.n_out, where.stride)
    log_density = known.log_density()
    if name == "distance":
        return payload_of(evaluate_points(best_points(known), truth)) | seen(windows)
    if name == "density":
        centre_bias = BASELINES["centre_bias"](where.size)
        centre_bias.fit(windows["train"].coordinates, where.n_in)
        reference = centre_bias.log_density(test.coordinates[:, : where.n_in], where.n_out)
        return payload_of(evaluate_density(log_density, truth, reference_log_density=reference)) | seen(windows)
    loss: Any = make_loss(name, **config.loss.options)
    logits = bayes_logits(loss, log_density)
    density = isinstance(loss, SoftmaxCrossEntropy)  # its best output is the density itself, and is scored as one
    scored = evaluate_density(log_density, truth) if density else evaluate_frames(logits.float(), truth)
    return payload_of(scored) | dict(test_loss=float(loss(logits, truth.frames(where.size).double()))) | seen(windows)
