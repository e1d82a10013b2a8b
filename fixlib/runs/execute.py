"""Carrying out one run from its configuration: train, keep the network, score it; or score a baseline."""

import io
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from fixlib import data, metrics
from fixlib.data import Gaze, content_sha256
from fixlib.grid import certain_frames, decode_median, pixel_index, seen_points
from fixlib.losses import SoftmaxCrossEntropy, make_loss
from fixlib.models import BASELINES, NETWORKS, accelerate, count_parameters
from fixlib.runs.config import Config, Data, RunSpec
from fixlib.runs.store import Run, pack, payload_of, weights_file
from fixlib.system import atomic_write, environment, one_thread
from fixlib.theory.forecast import expected_distance, forecast, regret_bits
from fixlib.training import Checkpoint, WindowLoader, best_device, predict, train_model_with_loss

METRICS_VERSION = 3  # of the numbers that `score_network` gives; with another one `fixlib score` is needed
EXAMPLE_WINDOWS, EXAMPLE_HORIZONS = 2, (1, 5, 10)
Windows = dict[str, Gaze]  # train, val, test


@dataclass(frozen=True)
class Attempt:
    """What carrying out a run may use besides its specification."""

    checkpoint: Checkpoint | None = None  # where its training is kept between epochs, if anywhere
    on_epoch: Callable[[dict], None] = lambda entry: None  # is told each epoch's record
    keep: Callable[..., None] = lambda network, stage="": None  # is given the trained network, and the stage's name
    network_of: Callable[[RunSpec], nn.Module] | None = None  # of another run, carried out first where there is none


def experiment_module(name: str) -> ModuleType:
    """The module of an experiment, one a chapter's folder; ValueError naming the known ones otherwise."""
    known = sorted(path.parent.name for path in (Path(__file__).parents[1] / "chapters").glob("*/runs.py"))
    if name not in known:
        raise ValueError(f"unknown experiment {name!r}; choose one of {', '.join(known)}")
    return import_module(f"fixlib.chapters.{name}.runs")


def load_windows(where: Data) -> Windows:
    """The windows that a configuration names, as many as the profile allows or as there are."""
    windows = {}
    framing = (where.source, where.rate_hz, where.size)
    parts = data.open_dataset(*framing) if where.fold is None else data.open_rotated(*framing)[where.fold]
    for part, gaze in parts.items():
        stride = where.train_stride or where.stride if part == "train" else where.stride
        there_are = gaze.windows(where.n_in + where.n_out, stride)
        windows[part] = there_are.drawn(min(getattr(where, part) or len(there_are), len(there_are)))
    return windows


def seen(windows: Windows) -> dict[str, dict]:
    """What a run records of its windows: how many there were in each part, and a hash of them."""
    return dict(
        content_sha256={part: content_sha256(gaze) for part, gaze in windows.items()},
        windows={part: len(gaze) for part, gaze in windows.items()},
    )


def run_predictor(spec: RunSpec, attempt: Attempt) -> dict[str, Any]:
    """Train the network that `spec.config` describes, keep and score it, or score a baseline; what is to be recorded.

    Raises:
        ValueError: a network, baseline or loss that there is not.
    """
    config, windows = spec.config, load_windows(spec.config.data)
    if config.model.kind in BASELINES:
        return score_baseline(config, windows) | seen(windows)
    network = new_network(spec)
    history = fit(network, spec, windows, attempt)
    attempt.keep(network)
    recorded = dict(history=history, parameters=count_parameters(network))
    return recorded | score_network(config, network, windows) | seen(windows)


def build(config: Config) -> nn.Module:
    """The network of a configuration; ValueError naming the known ones where there is none of that kind."""
    where = config.data
    return accelerate(NETWORKS[config.model.kind].for_task(where.n_in, where.n_out, where.size, **config.model.options))


def new_network(spec: RunSpec) -> nn.Module:
    """The network of a run with the seed's initial weights, where it is to be trained."""
    torch.manual_seed(spec.seed)
    return build(spec.config).to(best_device())


def loss_of(config: Config) -> nn.Module:
    """The loss of a configuration; ValueError naming the known ones where there is none of that name."""
    return make_loss(config.loss.name, **config.loss.options)


def fit(network: nn.Module, spec: RunSpec, windows: Windows, attempt: Attempt) -> list[dict]:
    """Train the network on the windows as its configuration says; its history."""
    settings = asdict(spec.config.training)
    del settings["batch_size"], settings["sigma"]
    settings |= dict(checkpoint=attempt.checkpoint, on_epoch=attempt.on_epoch, progress=False, cuda_graphs=True)
    order = dict(shuffle=True, seed=spec.seed, mirror=settings.pop("mirror"), earlier=settings.pop("earlier"))
    train = loader(network, spec.config, windows["train"], **order)
    val = loader(network, spec.config, windows["val"])
    return train_model_with_loss(network, train, val, loss_of(spec.config), **settings)[1]


def loader(network: nn.Module, config: Config, windows: Gaze, **order: Any) -> WindowLoader:
    """Batches of windows as the network wants them."""
    training = config.training
    shape: dict[str, Any] = dict(inputs=network.inputs, targets=network.targets, batch_size=training.batch_size)
    return WindowLoader(windows, config.data.n_in, **shape, **order, sigma=training.sigma, device=best_device())


def score_network(config: Config, network: nn.Module, windows: Windows) -> dict[str, Any]:
    """The metrics of a network on the test windows; where it predicts frames, also its test loss and a few maps.

    Where its maps are no densities, its bits are those of its maps made densities on the validation windows, see
    `fixlib.metrics.Calibration`.
    """
    loss, test, n_in = loss_of(config), windows["test"], config.data.n_in
    truth = metrics.Truth.of(test, n_in)
    outputs = predict(network, loader(network, config, test))
    if network.targets != "frames":
        return payload_of(evaluate(loss, outputs, truth))
    maps = density = log_weights(loss, outputs)
    found: dict[str, Any] = {}
    options: dict[str, Any] = {}
    if getattr(network, "gives_density", False):
        options["kinds"] = metrics.kinds_of_frames(test, n_in)
    else:
        calibration = calibrate(config, network, windows)
        density, found["calibration"] = calibration.log_density(maps), calibration.chosen
    found |= payload_of(evaluate(loss, outputs, truth, calibrated=density, **options)) | regret(config, density, test)
    return found | dict(
        test_loss=float(loss(outputs, truth.frames(config.data.size))),
        examples=_examples(test, n_in, maps.exp().unsqueeze(2)),
    )


def calibrate(config: Config, network: nn.Module, windows: Windows) -> metrics.Calibration:
    """How the maps of a network become densities, from validation windows; the prior is that of training windows."""
    logits = predict(network, loader(network, config, windows["val"]))
    truth = metrics.Truth.of(windows["val"], config.data.n_in)
    return metrics.Calibration(log_weights(loss_of(config), logits), truth, center_bias(config.data, windows))


def center_bias(where: Data, windows: Windows) -> Tensor:
    """The probability of each pixel regardless of history, (H, W), from the training windows."""
    return BASELINES["centre_bias"](where.size).fit(windows["train"].coordinates, where.n_in).probabilities


def log_weights(loss: nn.Module, logits: Tensor) -> Tensor:
    """Log of what a network says of each pixel, (N, T, H, W): its chance to be white, or its share of the frame."""
    if isinstance(loss, SoftmaxCrossEntropy):
        return logits.flatten(-2).log_softmax(-1).view_as(logits).squeeze(2)
    return nn.functional.logsigmoid(logits).squeeze(2)


def evaluate(loss: nn.Module | None, outputs: Tensor, truth: metrics.Truth, **options: Any) -> metrics.Evaluation:
    """Outputs of a network scored as what they are: points (N, 2) or (N, T, 2), or logits (N, T, 1, H, W).

    Those trained for softmax cross-entropy are densities over the frame, not a yes or no a pixel.
    """
    if outputs.dim() < 5:
        return metrics.evaluate_points(outputs.view(len(outputs), -1, 2), truth, **options)
    if isinstance(loss, SoftmaxCrossEntropy):
        return metrics.evaluate_density(log_weights(loss, outputs), truth, **options)
    return metrics.evaluate_frames(outputs, truth, **options)


def score_baseline(config: Config, windows: Windows) -> dict[str, Any]:
    """The metrics of a baseline on the test windows, as points, as a density, or as frames.

    It is given what a frame shows, the centre of each pixel, unless its `inputs` are "points".
    """
    n_in, n_out, size = config.data.n_in, config.data.n_out, config.data.size
    baseline = BASELINES[config.model.kind](size).fit(windows["train"].coordinates, n_in)
    truth, inputs = metrics.Truth.of(windows["test"], n_in), windows["test"].coordinates[:, :n_in]
    if baseline.inputs == "pixels":
        inputs = seen_points(inputs, size)
    log_density: Any = baseline.log_density(inputs, n_out) if hasattr(baseline, "log_density") else None
    if config.model.options["as_frames"]:
        sure = log_density is None  # of one pixel, that of its point
        logits = certain_frames(baseline.predict(inputs, n_out), size) if sure else pixel_logits(log_density)
        examples = _examples(windows["test"], n_in, torch.sigmoid(logits))
        return payload_of(metrics.evaluate_frames(logits, truth, log_density)) | dict(examples=examples)
    if log_density is None:
        return payload_of(metrics.evaluate_points(baseline.predict(inputs, n_out), truth))
    prior, kinds = center_bias(config.data, windows).log().float(), metrics.kinds_of_frames(windows["test"], n_in)
    found = metrics.evaluate_density(log_density, truth, prior, kinds=kinds)
    return payload_of(found) | regret(config, log_density, windows["test"])


def regret(config: Config, log_density: Tensor, windows: Gaze) -> dict[str, dict[str, float]]:
    """What a density (N, T, H, W) gives away on simulated gaze against the exact one, in expectation: free of luck.

    In bits, and in px: of its geometric median against that of the exact density.
    """
    if windows.source.name != "simulated":
        return {}
    where = config.data
    known = forecast(windows, where.n_in, where.n_out, where.stride)
    ours, best = (expected_distance(decode_median(d.exp()), known).mean() for d in (log_density, known.log_density()))
    return dict(regret=dict(bits=float(regret_bits(log_density, known).mean()), px=float(ours - best)))


def pixel_logits(log_density: Tensor) -> Tensor:
    """A density (N, T, H, W) as a frame predictor gives it: the logit of each pixel's probability, (N, T, 1, H, W)."""
    log_p = log_density.unsqueeze(2)
    return log_p - torch.log1p(-log_p.exp().clamp(max=1 - 1e-6))


def _examples(windows: Gaze, n_in: int, probabilities: Tensor) -> dict[str, Any]:
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
        pixels=pack(pixel_index(windows.coordinates[rows], maps.shape[-1]).numpy(), "int16"),
        n_in=n_in,
    )


def keep_network(spec: RunSpec, folder: Path | None, network: nn.Module, stage: str = "") -> None:
    """Keep the network's weights under the run's name; `load_network` gives it back."""
    weights = {name: value.cpu() for name, value in network.state_dict().items()}
    with atomic_write(weights_file(spec, stage, folder)) as file:
        torch.save(dict(spec=spec.to_json(), environment=environment(best_device()), weights=weights), file)


def load_network(run: Run | RunSpec, stage: str = "", folder: Path | None = None) -> nn.Module:
    """The network of a run with the weights of its best epoch, in evaluation mode, on the CPU.

    Args:
        run: a recorded one of a network.
        stage: of a run in stages (chapter 3), e.g. "noise20"; by default the last.
        folder: where weights are kept; `build/weights` of the project by default.

    Raises:
        ValueError: a run that trains nothing.
        FileNotFoundError: its weights are not here, as of a run that was recorded on another machine; the message
            says which command trains it again.
    """
    spec = run.spec if isinstance(run, Run) else run
    path = weights_file(spec, stage, folder)
    if not spec.config.epochs:
        raise ValueError(f"{spec.stem} trains no network: there are no weights of it")
    if not path.is_file():
        raise FileNotFoundError(
            f"no weights of {spec.stem} at {path}: it was trained elsewhere, or before networks were kept. To train it "
            f"again and keep its network: fixlib verify {spec.key}"
        )
    network = build(spec.config)
    network.load_state_dict(torch.load(io.BytesIO(path.read_bytes()), weights_only=True)["weights"])
    return network.eval()


def check_data(spec: RunSpec) -> None:
    """Refuses to give a run's name to numbers of other data: a folder's files may change, also during a sweep."""
    if spec.config.data.fingerprint != spec.fingerprint:
        raise ValueError(
            f"the data of {spec.dataset!r} are not those that this run is named after: they were changed. Nothing is "
            "recorded; for runs on the data as they are now repeat the command"
        )


def rescore(run: Run) -> Run:
    """The run with its metrics computed anew, from its kept network; nothing is trained or written.

    Raises:
        FileNotFoundError: its network is not here; see `load_network`.
        ValueError: the data at hand are not those it was scored on.
    """
    module, spec = experiment_module(run.spec.experiment), run.spec
    check_data(spec)
    with one_thread():
        if not spec.config.epochs:
            found = getattr(module, "run", run_predictor)(spec, Attempt())
        elif hasattr(module, "score"):
            found = module.score(run, lambda stage: load_network(spec, stage).to(best_device()))
        else:
            windows = load_windows(spec.config.data)
            network = load_network(spec).to(best_device())
            found = score_network(spec.config, network, windows) | seen(windows)
    if found.get("content_sha256") != run.payload.get("content_sha256"):
        raise ValueError(f"{spec.stem} was scored on other data than those at hand: its network is left as it is")
    return replace(run, payload=run.payload | found | dict(metrics_version=METRICS_VERSION))
