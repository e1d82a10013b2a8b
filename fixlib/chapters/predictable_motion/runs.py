"""Chapter 5: the same networks where the answer exists, and noise dialled in until it does not.

Lattice motion (`fixlib.data.lattice`): ten frames in, the next one out. Two questions are kept apart.

* scratch.LOSS: without noise, from random weights. Can a network get to the pixel with that loss?
* onwards.LOSS: all from one network that knows the pixel (start.bce, trained longer and from a prior bias); it goes on
  with that loss, first without noise, then with more and more. Does the loss want to be there?

The hybrid goes through the noises too (start.hybrid_l1, onwards.hybrid_l1). Beside them networks that predict ten
frames (ahead.LOSS), and what is exact: the best output under each loss, what knows the path, what knows its last step
(exact.noiseNN, exact.ahead).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from fixlib import metrics, system
from fixlib.chapters.loss_comparison import runs as loss_comparison
from fixlib.data import lattice
from fixlib.grid import certain_frames, pixel_center, pixel_index
from fixlib.losses import Loss as LossFunction
from fixlib.losses import SoftmaxCrossEntropy, make_loss
from fixlib.models import BASELINES, count_parameters
from fixlib.runs.config import Config, Data, Loss, Model, Profile, RunSpec, Training, get_profile, make_spec
from fixlib.runs.execute import build, seen, training_settings
from fixlib.theory.bayes import bayes_logits, expected_loss
from fixlib.training import Checkpoint, WindowLoader, best_device, predict, train_model_with_loss

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
SCORES = (
    "white_pixel_recall",
    "white_pixel_precision",
    "f1_score",
    "average_precision",
    "max_probability",
    "error",
    "error_argmax",
    "error_median",
    "hit_1px",
    "undershoot",
)
SCORES_AHEAD = ("white_pixel_recall", "error_argmax", "undershoot")  # kept by horizon
SMALLEST = 1e-30  # a probability of 0 as a logarithm


@dataclass(frozen=True)
class Size:
    """How large the runs of a profile are.

    Attributes:
        grid: side of the frames, px. 16 where minutes must do: one white pixel in 256, not 1,024.
        networks: the network, batch size, and windows of validation and test.
        scratch, start, stage, ahead: training windows and epochs from random weights, of the networks that others start
            from, at each noise, and of ten frames.
    """

    grid: int
    networks: Profile
    scratch: tuple[int, int]
    start: tuple[int, int]
    stage: tuple[int, int]
    ahead: tuple[int, int]


SIZES = {
    "smoke": Size(
        16,
        Profile("smoke", dict(hid_S=4, hid_T=16, N_S=2, N_T=2), 16, epochs=1, batch_size=8, train=None, val=8, test=24),
        scratch=(16, 1),
        start=(16, 1),
        stage=(16, 1),
        ahead=(16, 1),
    ),
    "quick": Size(
        16,
        Profile(
            "quick",
            dict(hid_S=8, hid_T=32, N_S=2, N_T=2, mlp_ratio=4.0),
            32,
            epochs=1,
            batch_size=8,
            train=None,
            val=200,
            test=600,
        ),
        scratch=(4000, 2),
        start=(4000, 5),
        stage=(1200, 1),
        ahead=(6000, 1),
    ),
    "paper": Size(
        32,
        Profile(
            "paper",
            dict(hid_S=64, hid_T=256, N_S=4, N_T=8),
            512,
            epochs=1,
            batch_size=8,
            train=None,
            val=400,
            test=2000,
        ),
        scratch=(8000, 10),
        start=(8000, 20),
        stage=(8000, 4),
        ahead=(8000, 8),
    ),
}


def specs(dataset: str, profile: str, seeds: Sequence[int] = (0,)) -> list[RunSpec]:
    """Networks from scratch and onwards, the hybrid, ten frames ahead, and what is exact.

    Raises:
        ValueError: an unknown profile, or a dataset other than `patterns`: no other has known paths.
    """
    if dataset != DATASET:
        raise ValueError(f"motion is known on {DATASET!r} only, not on {dataset!r}")
    size, found = SIZES[get_profile(profile).name], []
    simvp, hybrid = size.networks.frames, size.networks.hybrid
    prior = Model("simvp", simvp.options | dict(prior_probability=1 / size.grid**2))
    start = _network(size, prior, "bce", size.start)
    hybrid_start = _network(size, hybrid, "l1", size.start)

    def add(variant: str, config: Config, which: Sequence[int] = seeds) -> None:
        found.extend(make_spec(NAME, variant, size.networks, seed, config) for seed in which)

    add("start.bce", start)
    add("start.hybrid_l1", hybrid_start)
    for name in LOSSES:
        add(f"scratch.{name}", _network(size, simvp, name, size.scratch))
    for name in LOSSES:
        add(f"onwards.{name}", _network(size, simvp, name, size.stage, start, NOISES if name in NOISY else NOISES[:1]))
    add("onwards.hybrid_l1", _network(size, hybrid, "l1", size.stage, hybrid_start, NOISES))
    for name in AHEAD_LOSSES:
        add(f"ahead.{name}", _network(size, simvp, name, size.ahead, start, n_out=AHEAD))
    for noise in EXACT_NOISES:
        add(f"exact.{tag(noise)}", Config(_data(size, 0, 1), Model("exact"), noises=(noise,)), [0])
    add("exact.ahead", Config(_data(size, 0, AHEAD), Model("exact"), noises=(0.0,)), [0])
    return found


def tag(noise: float) -> str:
    """How variants and stages name a noise: noise40 for 0.4."""
    return f"noise{round(100 * noise)}"


def _data(size: Size, train: int, n_out: int) -> Data:
    return Data(DATASET, None, size.grid, N_IN, n_out, train, size.networks.val, size.networks.test, seed=0)


def _network(
    size: Size,
    model: Model,
    loss: str,
    amount: tuple[int, int],
    start: Config | None = None,
    noises: Sequence[float] = (0.0,),
    n_out: int = 1,
) -> Config:
    """The configuration of a network trained at each of the noises in turn, from `start` or from random weights."""
    windows, epochs = amount
    training = Training(epochs, size.networks.batch_size, learning_rate=1e-3 if start else 2e-3, plateau_patience=0)
    where = _data(size, windows, n_out)
    return Config(where, model, Loss(loss, LOSSES.get(loss, {})), training, tuple(noises), start)


def run(spec: RunSpec, checkpoint: Checkpoint | None, on_epoch: Callable[[dict], None]) -> dict:
    """Train and score a network, or compute what is exact.

    Returns:
        For a network: metrics of its first noise, and stages: noise (`tag`) -> history, and scores as of `_scores`. For
        what is exact: exact: predictor -> its scores; the predictors are the best output under each loss (that of
        softmax cross-entropy is the exact probabilities), POINT_BASELINES and KNOWS_PATH.
    """
    config = spec.config
    recorded = seen(_windows(config, config.noises[0]))
    if config.model.kind == "exact":
        return recorded | dict(metrics={}, exact=_exact(config, config.noises[0]))
    model, stages = _through_noises(spec, checkpoint, on_epoch)
    return recorded | dict(
        metrics=stages[tag(config.noises[0])]["metrics"], parameters=count_parameters(model), stages=stages
    )


def _through_noises(spec: RunSpec, checkpoint: Checkpoint | None, on_epoch) -> tuple[nn.Module, dict]:
    """Train at each noise in turn, from where the one before ended, and score at that noise."""
    config, seed = spec.config, spec.seed
    network, stages, states = _Network.new(config, seed), {}, []
    others_start_here = spec.variant.startswith("start.")
    if config.start:
        start = _Network.new(config.start, seed)
        start.fit(0.0, checkpoint and _kept(start), on_epoch)
        network.model.load_state_dict(start.model.state_dict())
    for noise in config.noises:
        owner = checkpoint and (_kept(network) if others_start_here else checkpoint).run
        states.append(checkpoint and Checkpoint(f"{checkpoint.path}.{tag(noise)}", owner))
        history = network.fit(noise, states[-1], on_epoch)
        stages[tag(noise)] = network.scores(noise) | dict(history=history)
    for state in filter(None, states):  # only now, so that an interrupted run goes on where it was
        if others_start_here:
            _kept(network).path.parent.mkdir(parents=True, exist_ok=True)
            state.path.replace(_kept(network).path)
        else:
            state.path.unlink(missing_ok=True)
    return network.model, stages


def _kept(network: _Network) -> Checkpoint:
    """The state of a network that others start from, kept so that it is trained once."""
    key = hashlib.sha256(json.dumps([network.config.to_json(), network.seed], sort_keys=True).encode()).hexdigest()[:10]
    return Checkpoint(system.root() / "build" / "networks" / f"{NAME}-{key}.pt", key)


def _windows(config: Config, noise: float) -> dict[str, dict]:
    where = config.data
    counts = dict(train=where.train, val=where.val, test=where.test)
    return lattice.lattice_windows(where.size, N_IN + where.n_out, noise, counts, where.seed)


@dataclass
class _Network:
    """A network of a configuration, what it is fed, and how it is trained."""

    config: Config
    seed: int
    model: nn.Module
    inputs: str
    targets: str
    loss: nn.Module

    @classmethod
    def new(cls, config: Config, seed: int) -> _Network:
        torch.manual_seed(seed)
        model, *others = build(config)
        return cls(config, seed, model.to(best_device()), *others)

    def fit(self, noise: float, checkpoint: Checkpoint | None, on_epoch) -> list[dict]:
        windows, batch_size = _windows(self.config, noise), self.config.training.batch_size
        train, val = (self._loader(windows[part], batch_size, shuffle=part == "train") for part in ("train", "val"))
        return train_model_with_loss(
            self.model,
            train,
            val,
            self.loss,
            checkpoint=checkpoint,
            on_epoch=on_epoch,
            progress=False,
            cuda_graphs=True,
            **training_settings(self.config),
        )[1]

    def scores(self, noise: float) -> dict:
        """On the test windows of that noise; of frames, also what they cost in expectation, beyond all luck."""
        windows = _windows(self.config, noise)["test"]
        outputs = predict(self.model, self._loader(windows, self.config.training.batch_size))
        if self.targets == "next_point":
            return _scores(metrics.evaluate_points, outputs[:, None], windows, self.config, noise)
        expected = expected_loss(self.loss, outputs.double(), _log_density(self.config, noise, windows))
        found = _scores_of_frames(self.loss, outputs, windows, self.config, noise)
        return found | dict(expected_loss=float(expected.mean()))

    def _loader(self, windows: dict, batch_size: int, shuffle: bool = False) -> WindowLoader:
        return WindowLoader(
            windows,
            N_IN,
            inputs=self.inputs,
            targets=self.targets,
            batch_size=batch_size,
            shuffle=shuffle,
            seed=self.seed,
            device=best_device(),
        )


def _exact(config: Config, noise: float) -> dict[str, dict]:
    """Scores of the best output under each loss, given all that the frames say; and of what sees less, or more."""
    where, windows = config.data, _windows(config, noise)["test"]
    log_density, n_out, size = _log_density(config, noise, windows), where.n_out, where.size
    found = {}
    for name in EXACT_LOSSES if n_out == 1 else AHEAD_LOSSES:
        loss = make_loss(name, **EXACT_LOSSES[name])
        logits = bayes_logits(loss, log_density)
        cost = float(expected_loss(loss, logits, log_density).mean())
        found[name] = _scores_of_frames(loss, logits.float(), windows, config, noise) | dict(expected_loss=cost)
    points = {name: BASELINES[name](size).predict(windows["coordinates"][:, :N_IN], n_out) for name in POINT_BASELINES}
    going_on = lattice.lattice_paths(size, N_IN + n_out).pixels[_test_paths(where, noise), N_IN:]
    points[KNOWS_PATH] = pixel_center(torch.from_numpy(going_on), size)
    return found | {
        name: _scores_of_frames(None, certain_frames(there, size), windows, config, noise)
        for name, there in points.items()
    }


def _log_density(config: Config, noise: float, windows: dict) -> Tensor:
    """Of the frames after N_IN, (N, n_out, H, W) float64 nats; a pixel that cannot be white has log SMALLEST."""
    where = config.data
    pixels = pixel_index(windows["coordinates"], where.size)[:, :N_IN].numpy()
    possible = lattice.lattice_paths(where.size, N_IN + where.n_out)
    return lattice.lattice_density(possible, pixels, noise).clamp(min=SMALLEST).log()


def _scores_of_frames(loss: LossFunction | None, logits: Tensor, windows: dict, config: Config, noise: float) -> dict:
    if isinstance(loss, SoftmaxCrossEntropy):  # its maps are densities, not a yes or no a pixel
        log_density = logits.flatten(-2).log_softmax(-1).view_as(logits)
        return _scores(metrics.evaluate_density, log_density, windows, config, noise)
    return _scores(metrics.evaluate_frames, logits, windows, config, noise)


def _scores(evaluate: Callable, outputs: Tensor, windows: dict, config: Config, noise: float) -> dict:
    """metrics with their intervals; of several frames also by_horizon: "all" or a kind or speed of motion -> metric."""
    truth = metrics.Truth.of(windows, N_IN)
    evaluation = evaluate(outputs, truth)
    found = dict(metrics=_chosen(evaluation.summary, SCORES))
    if config.data.n_out > 1:
        found["by_horizon"] = dict(all=_chosen(evaluation.by_horizon, SCORES_AHEAD))
        for group, rows in _groups(config.data, noise).items():
            part = evaluate(outputs[rows], truth[rows], n_boot=2)
            found["by_horizon"][group] = _chosen(part.by_horizon, SCORES_AHEAD)
    return found


def _chosen(scores: dict, names: Sequence[str]) -> dict:
    return {name: scores[name] for name in names if name in scores}


def _groups(where: Data, noise: float) -> dict[str, Tensor]:
    """Which test windows are of each kind and of each speed, masks (N,)."""
    possible = lattice.lattice_paths(where.size, N_IN + where.n_out)
    rows = _test_paths(where, noise)
    masks = {kind: possible.kind[rows] == number for number, kind in enumerate(lattice.KINDS)}
    masks |= {f"speed {speed}": possible.speed[rows] == speed for speed in lattice.SPEEDS}
    return {name: torch.from_numpy(mask) for name, mask in masks.items() if mask.any()}


def _test_paths(where: Data, noise: float) -> np.ndarray:
    return lattice.drawn_paths(where.size, N_IN + where.n_out, noise, where.test, where.seed)
