"""Chapter 3: the networks where the answer exists, and noise dialled in until it does not.

Lattice motion (`fixlib.data.lattice`): ten frames in, the next one out. Two questions are kept apart.

* scratch.LOSS: without noise, from random weights. Can a network get to the pixel with that loss?
* onwards.LOSS: all from one network that knows the pixel (start.bce, trained longer and from a prior bias); it goes on
  with that loss, first without noise, then with more and more. Does the loss want to be there?

The hybrid goes through the noises too (start.hybrid_l1, onwards.hybrid_l1). Beside them networks that predict ten
frames (ahead.LOSS), and what is exact: the best output under each loss, what knows the path, what knows its last step
(exact.noiseNN, exact.ahead).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fixlib import metrics
from fixlib.chapters.loss_comparison import runs as loss_comparison
from fixlib.data import Gaze, lattice
from fixlib.grid import certain_frames, pixel_center, pixel_index
from fixlib.losses import make_loss
from fixlib.models import BASELINES, count_parameters
from fixlib.registry import Registry
from fixlib.runs.config import PROFILES, Config, Data, Loss, Model, Profile, RunSpec, Training, make_spec
from fixlib.runs.execute import Attempt, evaluate, fit, loader, loss_of, new_network, seen
from fixlib.runs.store import Run
from fixlib.theory.bayes import bayes_logits, expected_loss
from fixlib.training import predict

NAME, DATASET = "predictable_motion", lattice.SOURCE.name
N_IN, AHEAD = 10, 10
LOSSES = {**loss_comparison.LOSSES, "softmax_cross_entropy": {}}
EXACT_LOSSES = {**LOSSES, "bce": {}}
NOISES = (0.0, 0.2, 0.4, 0.6)  # of networks, one after the other
EXACT_NOISES = tuple(round(0.1 * k, 1) for k in range(11))
NOISY = ("mse", "focal", "dice", "weighted_mse", "softmax_cross_entropy")  # the others stop at the first noise
AHEAD_LOSSES = ("dice", "weighted_mse")
POINT_BASELINES = ("constant_velocity", "repeat_last")
KNOWS_PATH = "knows_path"
EXACT = "exact"
FOUND = ("white_pixel_recall", "white_pixel_precision", "f1_score", "average_precision", "max_probability")
SCORES = (*FOUND, "error", "error_argmax", "error_median", "hit_1px", "undershoot")
SCORES_AHEAD = ("white_pixel_recall", "error_argmax", "undershoot")  # kept by horizon
SMALLEST = 1e-30  # a probability of 0 as a logarithm


@dataclass(frozen=True)
class Size:
    """How large the runs of a profile are; training windows and epochs of each kind."""

    grid: int  # side of the frames, px. 16 where minutes must do: one white pixel in 256, not 1,024
    networks: Profile  # and windows of validation and test
    scratch: tuple[int, int]  # from random weights
    start: tuple[int, int]  # of the networks that others start from
    stage: tuple[int, int]  # at each noise
    ahead: tuple[int, int]  # of ten frames


SMALL = dict(hid_S=8, hid_T=32, N_S=2, N_T=2, mlp_ratio=4.0)
SMOKE = replace(PROFILES["smoke"], val=8, test=24)
QUICK = replace(PROFILES["quick"], simvp=SMALL, val=200, test=600)
PAPER = replace(PROFILES["paper"], val=400, test=2000)
SIZES = Registry(
    f"profile for {NAME}",
    {
        "smoke": Size(16, SMOKE, scratch=(16, 1), start=(16, 1), stage=(16, 1), ahead=(16, 1)),
        "quick": Size(16, QUICK, scratch=(4000, 2), start=(4000, 5), stage=(1200, 1), ahead=(6000, 1)),
        "paper": Size(32, PAPER, scratch=(8000, 10), start=(8000, 20), stage=(8000, 4), ahead=(8000, 8)),
    },
)


def specs(dataset: str, profile: str, seeds: Sequence[int] = (0,)) -> list[RunSpec]:
    """Networks from scratch and onwards, the hybrid, ten frames ahead, and what is exact.

    Raises:
        ValueError: a dataset other than `patterns`: no other has known paths.
    """
    if dataset != DATASET:
        raise ValueError(f"motion is known on {DATASET!r} only, not on {dataset!r}")
    size = SIZES[profile]
    found: list[RunSpec] = []
    simvp, hybrid = size.networks.frames, size.networks.hybrid

    def data(train: int, n_out: int = 1) -> Data:
        return Data(DATASET, None, size.grid, N_IN, n_out, train, size.networks.val, size.networks.test, seed=0)

    def network(
        model: Model, loss: str, amount: tuple[int, int], start: Config | None = None, n_out: int = 1
    ) -> Config:
        """Trained without noise, from `start` or from random weights."""
        windows, epochs = amount
        training = Training(epochs, learning_rate=1e-3 if start else 2e-3, plateau_patience=0)
        return Config(data(windows, n_out), model, Loss(loss, LOSSES.get(loss, {})), training, (0.0,), start)

    def add(variant: str, config: Config, which: Sequence[int] = seeds) -> None:
        found.extend(make_spec(NAME, variant, size.networks, seed, config) for seed in which)

    prior = Model("simvp", simvp.options | dict(prior_probability=1 / size.grid**2))
    start, hybrid_start = network(prior, "bce", size.start), network(hybrid, "l1", size.start)
    for config in (start, hybrid_start):
        add(_start_variant(config), config)
    for name in LOSSES:
        add(f"scratch.{name}", network(simvp, name, size.scratch))
    for name in LOSSES:
        onwards = network(simvp, name, size.stage, start)
        add(f"onwards.{name}", replace(onwards, noises=NOISES) if name in NOISY else onwards)
    add("onwards.hybrid_l1", replace(network(hybrid, "l1", size.stage, hybrid_start), noises=NOISES))
    for name in AHEAD_LOSSES:
        add(f"ahead.{name}", network(simvp, name, size.ahead, start, AHEAD))
    for noise in EXACT_NOISES:
        add(f"exact.{tag(noise)}", Config(data(0), Model(EXACT), noises=(noise,)), [0])
    add("exact.ahead", Config(data(0, AHEAD), Model(EXACT), noises=(0.0,)), [0])
    return found


def tag(noise: float) -> str:
    """How variants and stages name a noise: noise40 for 0.4."""
    return f"noise{round(100 * noise)}"


def run(spec: RunSpec, attempt: Attempt) -> dict[str, Any]:
    """Train a network at each noise in turn, from where the one before ended, and score it there; or what is exact.

    Returns:
        For a network: metrics of its first noise, and stages: noise (`tag`) -> history, and scores as of `_scores`. For
        what is exact: exact: predictor -> its scores; the predictors are the best output under each loss (that of
        softmax cross-entropy is the exact probabilities), POINT_BASELINES and KNOWS_PATH.
    """
    config = spec.config
    recorded = seen(_windows(config, config.noises[0]))
    if config.model.kind == EXACT:
        return recorded | dict(metrics={}, exact=_exact(config, config.noises[0]))
    network = new_network(spec)
    stages: dict[str, dict] = {}
    if config.start:
        assert attempt.network_of, "a network that starts from another one needs it"
        start = attempt.network_of(replace(spec, variant=_start_variant(config.start), config=config.start))
        network.load_state_dict(start.state_dict())
    epochs = config.training.epochs
    for noise in config.noises:
        history = fit(network, spec, _windows(config, noise), _of_stage(attempt, tag(noise), len(stages) * epochs))
        attempt.keep(network, _stage(config, noise))
        stages[tag(noise)] = _scores_of_network(config, network, noise) | dict(history=history)
    return recorded | _of_stages(stages) | dict(parameters=count_parameters(network))


def score(run: Run, network_of: Callable[[str], nn.Module]) -> dict[str, Any]:
    """What is recorded of a network's scores, from what its stages were kept as; see `fixlib.runs.execute.rescore`."""
    config, stages = run.spec.config, {}
    for noise in config.noises:
        found = _scores_of_network(config, network_of(_stage(config, noise)), noise)
        stages[tag(noise)] = run.payload["stages"][tag(noise)] | found
    return _of_stages(stages) | seen(_windows(config, config.noises[0]))


def _of_stages(stages: dict[str, dict]) -> dict[str, Any]:
    return dict(metrics=next(iter(stages.values()))["metrics"], stages=stages)


def _start_variant(config: Config) -> str:
    return f"start.{'hybrid_' if config.model.kind == 'regression' else ''}{config.loss.name}"


def _stage(config: Config, noise: float) -> str:
    """Under which name a network is kept after a noise; the last is what the run ends with."""
    return "" if noise == config.noises[-1] else tag(noise)


def _of_stage(attempt: Attempt, stage: str, done: int) -> Attempt:
    """With a checkpoint of its own, and after so many epochs."""

    def tell(entry: dict) -> None:
        attempt.on_epoch(entry | dict(epoch=done + entry["epoch"]))

    return replace(attempt, checkpoint=attempt.checkpoint and attempt.checkpoint.stage(stage), on_epoch=tell)


def _windows(config: Config, noise: float) -> dict[str, Any]:
    where = config.data
    assert where.seed is not None, "paths are drawn from a seed"
    counts = {part: getattr(where, part) for part in ("train", "val", "test")}
    return lattice.lattice_windows(where.size, N_IN + where.n_out, noise, counts, where.seed)


def _scores_of_network(config: Config, network: nn.Module, noise: float) -> dict[str, Any]:
    """On the test windows of that noise; of frames, also what they cost in expectation, beyond all luck."""
    loss: Any = loss_of(config)
    windows = _windows(config, noise)["test"]
    outputs = predict(network, loader(network, config, windows))
    found = _scores(loss, outputs, windows, config, noise)
    if network.targets == "frames":
        expected = expected_loss(loss, outputs.double(), _log_density(config, noise, windows))
        found["expected_loss"] = float(expected.mean())
    return found


def _exact(config: Config, noise: float) -> dict[str, dict]:
    """Scores of the best output under each loss, given all that the frames say; and of what sees less, or more."""
    where, windows = config.data, _windows(config, noise)["test"]
    log_density, n_out, size = _log_density(config, noise, windows), where.n_out, where.size
    found = {}
    for name in EXACT_LOSSES if n_out == 1 else AHEAD_LOSSES:
        loss: Any = make_loss(name, **EXACT_LOSSES[name])
        logits = bayes_logits(loss, log_density)
        cost = float(expected_loss(loss, logits, log_density).mean())
        found[name] = _scores(loss, logits.float(), windows, config, noise) | dict(expected_loss=cost)
    points = {name: BASELINES[name](size).predict(windows.coordinates[:, :N_IN], n_out) for name in POINT_BASELINES}
    going_on = lattice.lattice_paths(size, N_IN + n_out).pixels[paths_of_test(where, noise), N_IN:]
    points[KNOWS_PATH] = pixel_center(torch.from_numpy(going_on), size)
    return found | {
        name: _scores(None, certain_frames(there, size), windows, config, noise) for name, there in points.items()
    }


def _log_density(config: Config, noise: float, windows: Gaze) -> Tensor:
    """Of the frames after N_IN, (N, n_out, H, W) float64 nats; a pixel that cannot be white has log SMALLEST."""
    where = config.data
    pixels = pixel_index(windows.coordinates, where.size)[:, :N_IN].numpy()
    possible = lattice.lattice_paths(where.size, N_IN + where.n_out)
    return lattice.lattice_density(possible, pixels, noise).clamp(min=SMALLEST).log()


def _scores(loss: nn.Module | None, outputs: Tensor, windows: Gaze, config: Config, noise: float) -> dict[str, Any]:
    """metrics with their intervals; of several frames also by_horizon: "all" or a kind or speed of motion -> metric."""
    truth = metrics.Truth.of(windows, N_IN)
    evaluation = evaluate(loss, outputs, truth)
    found = dict(metrics=_chosen(evaluation.summary, SCORES))
    if config.data.n_out > 1:
        found["by_horizon"] = dict(all=_chosen(evaluation.by_horizon, SCORES_AHEAD))
        for group, rows in _groups(config.data, noise).items():
            part = evaluate(loss, outputs[rows], truth[rows], n_boot=2)
            found["by_horizon"][group] = _chosen(part.by_horizon, SCORES_AHEAD)
    return found


def _chosen(scores: dict, names: Sequence[str]) -> dict:
    return {name: scores[name] for name in names if name in scores}


def _groups(where: Data, noise: float) -> dict[str, Tensor]:
    """Which test windows are of each kind and of each speed, masks (N,)."""
    possible = lattice.lattice_paths(where.size, N_IN + where.n_out)
    rows = paths_of_test(where, noise)
    masks = {kind: possible.kind[rows] == number for number, kind in enumerate(lattice.KINDS)}
    masks |= {f"speed {speed}": possible.speed[rows] == speed for speed in lattice.SPEEDS}
    return {name: torch.from_numpy(mask) for name, mask in masks.items() if mask.any()}


def paths_of_test(where: Data, noise: float) -> np.ndarray:
    """Which path each test window shows."""
    assert where.test is not None and where.seed is not None, "paths are drawn from a seed"
    return lattice.drawn_paths(where.size, N_IN + where.n_out, noise, where.test, where.seed)
