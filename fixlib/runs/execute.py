"""Training and scoring one predictor, network or baseline, from its configuration."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from fixlib import data, metrics
from fixlib.data import content_sha256, cut_windows
from fixlib.grid import certain_frames, pixel_index
from fixlib.losses import SoftmaxCrossEntropy, make_loss
from fixlib.models import BASELINES, NETWORKS, accelerate, count_parameters
from fixlib.runs.config import Config, Data, RunSpec
from fixlib.runs.store import pack, payload_of
from fixlib.training import Checkpoint, WindowLoader, best_device, predict, train_model_with_loss

EXAMPLE_WINDOWS, EXAMPLE_HORIZONS = 2, (1, 5, 10)


def load_windows(where: Data) -> dict[str, dict]:
    """The train, val and test windows that a data configuration names.

    Where fewer windows exist than the profile allows, all of them are used.
    """
    windows = {}
    for part, sequences in data.open_dataset(where.source, where.rate_hz, where.size).items():
        length, limit = where.n_in + where.n_out, getattr(where, part)
        every = cut_windows(sequences, length, where.stride)
        limit = min(limit or len(every["coordinates"]), len(every["coordinates"]))
        windows[part] = cut_windows(sequences, length, where.stride, limit=limit)
    return windows


def seen(windows: dict[str, dict]) -> dict:
    """What a run records of its windows: how many there were in each part, and a hash of them."""
    return dict(
        content_sha256={part: content_sha256(windows[part]) for part in windows},
        windows={part: len(windows[part]["coordinates"]) for part in windows},
    )


def run_predictor(spec: RunSpec, checkpoint: Checkpoint | None, on_epoch: Callable[[dict], None]) -> dict:
    """Train what `spec.config` describes, score it on the test windows, and give what is to be recorded.

    The model's kind is "simvp" (frames), "regression" (the hybrid), "gru" or a baseline's name.
    """
    config = spec.config
    windows = load_windows(config.data)
    if config.model.kind in BASELINES:
        recorded, evaluation, probabilities = _run_baseline(config, windows)
    else:
        recorded, evaluation, probabilities = _run_network(config, spec.seed, windows, checkpoint, on_epoch)
    recorded |= payload_of(evaluation) | seen(windows)
    if probabilities is not None:
        recorded["examples"] = _examples(windows["test"], config.data.n_in, probabilities)
    return recorded


def _run_network(config: Config, seed: int, windows: dict, checkpoint: Checkpoint | None, on_epoch) -> tuple:
    n_in, device = config.data.n_in, best_device()
    torch.manual_seed(seed)
    model, inputs, targets, loss = build(config)
    given = dict(inputs=inputs, targets=targets, batch_size=config.training.batch_size, device=device)
    model, history = train_model_with_loss(
        model.to(device),
        WindowLoader(windows["train"], n_in, shuffle=True, seed=seed, **given),
        WindowLoader(windows["val"], n_in, **given),
        loss,
        checkpoint=checkpoint,
        on_epoch=on_epoch,
        progress=False,
        cuda_graphs=True,
        **training_settings(config),
    )
    outputs = predict(model, WindowLoader(windows["test"], n_in, **given))
    recorded = dict(history=history, parameters=count_parameters(model))
    truth = metrics.Truth.of(windows["test"], n_in)
    if targets == "frames":
        target_frames = truth.frames(config.data.size)
        recorded["test_loss"] = float(loss(outputs, target_frames))
        if isinstance(loss, SoftmaxCrossEntropy):  # its maps are densities, not a yes or no a pixel
            log_density = outputs.flatten(-2).log_softmax(-1).view_as(outputs)
            return recorded, metrics.evaluate_density(log_density, truth), log_density.exp()
        return recorded, metrics.evaluate_frames(outputs, truth), torch.sigmoid(outputs)
    points = outputs if targets == "points" else outputs[:, None]
    return recorded, metrics.evaluate_points(points, truth), None


def training_settings(config: Config) -> dict:
    """Of `train_model_with_loss`."""
    settings = config.training.to_json()
    del settings["batch_size"]
    return settings


def build(config: Config) -> tuple[nn.Module, str, str, nn.Module]:
    """The network, the representation of its inputs and targets, and its loss.

    Raises:
        ValueError: an unknown kind of model.
    """
    kind, options, where = config.model.kind, config.model.options, config.data
    n_in, n_out, size = where.n_in, where.n_out, where.size
    network = NETWORKS[kind].for_task(n_in, n_out, size, **options)
    return accelerate(network), network.inputs, network.targets, make_loss(config.loss.name, **config.loss.options)


def _run_baseline(config: Config, windows: dict) -> tuple:
    n_in, n_out, size = config.data.n_in, config.data.n_out, config.data.size
    baseline = BASELINES[config.model.kind](size)
    baseline.fit(windows["train"]["coordinates"], n_in)
    inputs, truth = windows["test"]["coordinates"][:, :n_in], metrics.Truth.of(windows["test"], n_in)
    if not config.model.options["as_frames"]:
        return {}, _evaluate_baseline_points(baseline, inputs, n_out, windows, truth), None
    logits = baseline_logits(baseline, inputs, n_out, size)
    return {}, metrics.evaluate_frames(logits, truth), torch.sigmoid(logits)


def _evaluate_baseline_points(baseline, inputs: Tensor, n_out: int, windows: dict, truth: metrics.Truth):
    if hasattr(baseline, "log_density"):
        reference = BASELINES["centre_bias"](baseline.size)
        reference.fit(windows["train"]["coordinates"], inputs.shape[1])
        return metrics.evaluate_density(
            baseline.log_density(inputs, n_out), truth, reference.log_density(inputs, n_out)
        )
    return metrics.evaluate_points(baseline.predict(inputs, n_out), truth)


def baseline_logits(baseline, inputs: Tensor, n_out: int, size: int) -> Tensor:
    """A baseline as a frame predictor, (N, n_out, 1, size, size).

    A point becomes one certain pixel; a density becomes the logit of each pixel's probability.
    """
    if hasattr(baseline, "log_density"):
        log_p = baseline.log_density(inputs, n_out).unsqueeze(2)
        return log_p - torch.log1p(-log_p.exp().clamp(max=1 - 1e-6))
    return certain_frames(baseline.predict(inputs, n_out), size)


def _examples(windows: dict, n_in: int, probabilities: Tensor) -> dict:
    """A few test windows with their predicted maps, small enough to be recorded with the run."""
    horizons = [h for h in EXAMPLE_HORIZONS if h <= probabilities.shape[1]]
    rows = torch.linspace(0, len(probabilities) - 1, EXAMPLE_WINDOWS + 2).long()[1:-1]
    maps = probabilities[rows][:, [h - 1 for h in horizons], 0]
    peaks = maps.amax((-2, -1), keepdim=True)
    scaled = 8 * (31 * maps / peaks.clamp(min=1e-30)).round()  # 32 shades: enough for a picture, half the size
    return dict(
        horizons=horizons,
        maps=pack(scaled.numpy(), "uint8"),
        peaks=pack(peaks.flatten(2)[..., 0].numpy(), "float32"),
        pixels=pack(pixel_index(windows["coordinates"][rows], maps.shape[-1]).numpy(), "int16"),
        n_in=n_in,
    )
