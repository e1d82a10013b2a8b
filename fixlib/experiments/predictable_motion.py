"""Chapter 5: the same networks where the answer exists, and noise dialled in until it does not.

Motion on a lattice (`fixlib.experiments.motion_catalogue`): ten frames in, the next one (or ten) out. Two questions are
kept apart. Does a loss *get there*: variants LOSS.scratch, trained from random weights. Does it *want* the pixel:
variants informed.noiseNN, one network trained with BCE, whose p is what it believes, and then a little longer with each
loss in turn.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from fixlib import metrics
from fixlib.data import content_sha256, make_patterns, pixel_index
from fixlib.experiments.bayes import bayes_logits
from fixlib.experiments.loss_comparison import LOSSES
from fixlib.experiments.motion_catalogue import (
    KINDS,
    PATTERNS,
    catalogue_of,
    motion_windows,
    next_pixel_density,
    test_paths,
)
from fixlib.experiments.predictors import build, certain_frames, make_spec, run_predictor, test_truth
from fixlib.experiments.profiles import Profile, get_profile
from fixlib.losses import get_loss_function
from fixlib.models import BASELINES, count_parameters
from fixlib.results import RunSpec
from fixlib.training import WindowLoader, best_device, predict, train_model_with_loss

NAME, DATASET = "predictable_motion", PATTERNS
N_IN, HORIZONS, SPEEDS = 10, 10, (0.5, 1.0, 2.0)
NOISES = (0.0, 0.2, 0.4, 0.6)  # of networks
OPTIMUM_NOISES = tuple(round(0.1 * k, 1) for k in range(11))
INFORMED = ("mse", "focal", "dice", "weighted_mse")  # with noise; without it, and ten frames ahead, see `specs`
POINT_BASELINES = ("constant_velocity", "repeat_last")
SCORES = ("white_pixel_recall", "white_pixel_precision", "f1_score", "average_precision", "max_probability", "error",
          "error_argmax", "error_median", "undershoot", "undershoot_median", "hit_1px")
HIDDEN_SPEEDS = (0.5, 1.0, 1.5, 2.0)  # of `make_patterns`


@dataclass(frozen=True)
class Size:
    """How large the runs of a profile are.

    Attributes:
        grid: side of the frames, px. 16 where minutes must do: one white pixel in 256, not 1,024.
        networks: the network, how it is trained, and how many windows there are.
        after: windows and epochs of the second stage, in which each loss takes over.
        hidden: paths that tell what pixels hide.
    """

    grid: int
    networks: Profile
    after: dict
    hidden: int


SIZES = {
    "smoke": Size(16, Profile("smoke", dict(hid_S=4, hid_T=16, N_S=2, N_T=2), 16, epochs=1, batch_size=8, train=16, val=8,
                              test=24), dict(train=16, epochs=1), hidden=20_000),
    "quick": Size(16, Profile("quick", dict(hid_S=8, hid_T=32, N_S=2, N_T=2), 32, epochs=4, batch_size=8, train=4000,
                              val=200, test=600), dict(train=2000, epochs=1), hidden=400_000),
    "paper": Size(32, Profile("paper", dict(hid_S=64, hid_T=256, N_S=4, N_T=8), 512, epochs=25, batch_size=8,
                              train=8000, val=400, test=2000), dict(train=8000, epochs=5), hidden=1_000_000),
}


def specs(dataset: str, profile: str, seeds: Sequence[int] = (0,)) -> list[RunSpec]:
    """Networks from scratch, informed networks by noise and ten frames ahead, the hybrid, and what is exact.

    Args:
        dataset: not used: the motion is made here.
        profile: "smoke", "quick" or "paper".
        seeds: of the networks.

    Raises:
        ValueError: an unknown profile.
    """
    size = SIZES[get_profile(profile).name]
    simvp = dict(kind="simvp", **size.networks.simvp)
    hybrid = dict(kind="regression", **size.networks.simvp | dict(hid_T=size.networks.regression_hid_T))
    staged = dict(training=_training(size.networks), after=_after(size))
    found = []

    def add(variant: str, noise: float = 0.0, n_out: int = 1, trained: bool = True, **config) -> None:
        where = _data_config(size, noise, n_out)
        found.extend(make_spec(NAME, variant, size.networks, seed, dict(data=where, **config))
                     for seed in (seeds if trained else (0,)))

    for name, options in LOSSES.items():
        loss = dict(name=name, **options)
        add(f"{name}.scratch", model=simvp, loss=loss, then=[loss], **staged)
    for noise in NOISES:
        losses = [dict(name=name, **LOSSES[name]) for name in (INFORMED if noise else LOSSES)]
        add(f"informed.{tag(noise)}", noise, model=simvp, loss=dict(name="bce"), then=losses, **staged)
        add(f"hybrid_l1.{tag(noise)}", noise, model=hybrid, loss=dict(name="l1"), training=_training(size.networks))
    losses = [dict(name=name, **LOSSES[name]) for name in INFORMED]
    add("informed.ten_frames", 0.0, HORIZONS, model=simvp, loss=dict(name="bce"), then=losses, **staged)
    add("exact.ten_frames", 0.0, HORIZONS, False, model=dict(kind="exact"))
    for noise in OPTIMUM_NOISES:
        add(f"exact.{tag(noise)}", noise, 1, False, model=dict(kind="exact"))
    add("hidden_in_pixels", 0.0, 1, False, model=dict(kind="hidden", paths=size.hidden, speeds=list(HIDDEN_SPEEDS)))
    return found


def tag(noise: float) -> str:
    """The part of a variant's name that says how noisy: noise40 for 0.4."""
    return f"noise{round(100 * noise)}"


def _data_config(size: Size, noise: float, n_out: int) -> dict:
    windows = {part: getattr(size.networks, part) for part in ("train", "val", "test")}
    return dict(dataset=PATTERNS, kind="mixed", speeds=list(SPEEDS), noise=noise, size=size.grid, n_in=N_IN, n_out=n_out,
                seed=0, **windows)


def _training(networks: Profile) -> dict:
    return dict(epochs=networks.epochs, batch_size=networks.batch_size, learning_rate=3e-3, weight_decay=1e-5,
                clip_norm=1.0, plateau_patience=5, plateau_factor=0.5)


def _after(size: Size) -> dict:
    return dict(_training(size.networks), learning_rate=1e-3, **size.after)


def run(spec: RunSpec, checkpoint: Path, on_epoch: Callable[[dict], None]) -> dict:
    """Train and score networks, or compute what is exact."""
    config = spec.config
    kind = config["model"]["kind"]
    if kind == "hidden":
        model = config["model"]
        return dict(metrics={}, recall={str(speed): recall_from_pixels(speed, model["paths"]) for speed in model["speeds"]})
    if kind == "regression":
        recorded = run_predictor(spec, checkpoint, on_epoch)
        return {name: value for name, value in recorded.items() if name != "per_window"}
    windows = motion_windows(config["data"])
    recorded = _exact(config, windows) if kind == "exact" else _staged(config, spec.seed, windows, checkpoint, on_epoch)
    return recorded | dict(content_sha256={part: content_sha256(windows[part]) for part in windows},
                           windows={part: len(windows[part]["coordinates"]) for part in windows})


def _staged(config: dict, seed: int, windows: dict, checkpoint: Path, on_epoch) -> dict:
    """Train with one loss, then go on from there with each of the losses `then`, at a lower learning rate."""
    device = best_device()
    torch.manual_seed(seed)
    model, _, _, loss = build(config)
    model.to(device)
    history = _fit(model, loss, config["training"], windows, seed, device, checkpoint=checkpoint, on_epoch=on_epoch)
    learnt, then = copy.deepcopy(model.state_dict()), {}
    first = _scores(_outputs(model, windows, config, device), windows["test"], config)
    for options in config["then"]:
        torch.manual_seed(seed + 1)
        model.load_state_dict(learnt)
        options = dict(options)
        name = options.pop("name")
        after = dict(config["after"])
        fewer = dict(windows, train=_first(windows["train"], after.pop("train")))
        more = _fit(model, get_loss_function(name, **options), after, fewer, seed + 1, device)
        then[name] = _scores(_outputs(model, windows, config, device), windows["test"], config) | dict(history=more)
    return first | dict(history=history, parameters=count_parameters(model), then=then)


def _fit(model: nn.Module, loss: nn.Module, training: dict, windows: dict, seed: int, device, **hooks) -> list[dict]:
    options = dict(training)
    batch_size = options.pop("batch_size")
    train, val = (WindowLoader(windows[part], N_IN, batch_size=batch_size, shuffle=part == "train", seed=seed, device=device)
                  for part in ("train", "val"))
    return train_model_with_loss(model, train, val, loss, progress=False, **hooks, **options)[1]


def _outputs(model: nn.Module, windows: dict, config: dict, device) -> Tensor:
    batch_size = config["training"]["batch_size"]
    return predict(model, WindowLoader(windows["test"], N_IN, batch_size=batch_size, device=device))


def _first(sequences: dict, count: int) -> dict:
    return {key: value if key == "meta" else value[:count] for key, value in sequences.items()}


def _scores(logits: Tensor, windows: dict, config: dict) -> dict:
    """Scores of predicted frames on the test windows: all, and by kind and speed of motion."""
    truth = test_truth(windows, N_IN)
    evaluation = metrics.evaluate_frames(logits, **truth)
    groups = {}
    for name, rows in _groups(config["data"]).items():
        part = metrics.evaluate_frames(logits[rows], **{key: value[rows] for key, value in truth.items()}, n_boot=2)
        groups[name] = dict(windows=int(rows.sum()), **_kept(part.by_horizon))
    return dict(metrics=_kept(evaluation.summary), by_horizon=_kept(evaluation.by_horizon), groups=groups)


def _kept(scores: dict) -> dict:
    return {name: scores[name] for name in SCORES if name in scores}


def _groups(where: dict) -> dict[str, Tensor]:
    """Which test windows are of each kind, and of each speed: masks (N,)."""
    paths, rows = catalogue_of(where), test_paths(where)
    masks = {kind: paths.kind[rows] == number for number, kind in enumerate(KINDS)}
    masks |= {f"speed {speed:g}": paths.speed[rows] == speed for speed in where["speeds"]}
    return {name: torch.from_numpy(mask) for name, mask in masks.items() if mask.any()}


def _exact(config: dict, windows: dict) -> dict:
    """The best output under each loss, given all that the frames say; and what knows the path, or only its last step."""
    where, test = config["data"], windows["test"]
    paths, seen = catalogue_of(where), pixel_index(test["coordinates"], where["size"])[:, :N_IN].numpy()
    density = next_pixel_density(paths, seen, where["noise"])
    logits = {name: bayes_logits(get_loss_function(name, **options), density.log()) for name, options in LOSSES.items()}
    for name in POINT_BASELINES:
        logits[name] = certain_frames(BASELINES[name](where["size"]).predict(test["coordinates"][:, :N_IN], where["n_out"]),
                                      where["size"])
    going_on = paths.pixels[test_paths(where), N_IN:, None] == np.arange(where["size"]**2)
    logits["exact_continuation"] = 30.0 * (2.0 * torch.from_numpy(going_on).view(density.shape).unsqueeze(2) - 1)
    largest = density.flatten(-2).amax(-1)
    return dict(metrics={}, then={name: _scores(maps.float(), test, config) for name, maps in logits.items()},
                largest=largest.mean(0).tolist(),
                sure={str(eta): float((largest[:, 0] > eta).double().mean()) for eta in (0.5, 0.75)})


def recall_from_pixels(speed: float, n: int, size: int = 32, seed: int = 0) -> float:
    """Share of next pixels that the ten before give away, on straight lines at that speed (px a frame) starting anywhere.

    The best guess after each sequence of pixel steps is its most frequent continuation in one half of `n` lines, tried on
    the other half. Nobody can do better, except by what the walls say.
    """
    lines = make_patterns("line", n, N_IN + 1, speed, seed=seed, size=size)["coordinates"].floor().long()
    steps = lines.diff(dim=1) + 4  # at most 3 px either way, as digits of a number
    digits = (steps[..., 1] * 8 + steps[..., 0]).numpy()
    _, past = np.unique(digits[:, :-1], axis=0, return_inverse=True)
    half, past = n // 2, past.ravel()
    counts = np.zeros((past.max() + 1, 64), np.int32)
    np.add.at(counts, (past[:half], digits[:half, -1]), 1)
    return float((counts.argmax(1)[past[half:]] == digits[half:, -1]).mean())
