"""Chapter 5: how well the next position can be predicted at all, from where gaze has been.

In bits, of models that give a density over the pixels: from the centre bias to sequence models, and on simulated gaze
up to the exact optimum. Every predictor sees the same pixels, and is scored on the windows of the other chapters.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor

from fixlib import data
from fixlib.chapters.how_predictable.other_viewers import estimate
from fixlib.chapters.simulated_control import runs as simulated_control
from fixlib.grid import seen_points
from fixlib.models import BASELINES as BASELINE_CLASSES
from fixlib.registry import Registry
from fixlib.runs.config import Config, Data, Loss, Model, RunSpec, get_profile, make_spec
from fixlib.runs.execute import Attempt, Windows, load_windows, seen

NAME = "how_predictable"
TASKS = simulated_control.TASKS
# Each of the last five knows one thing more than the one before it.
BASELINES = (
    *("repeat_last", "hold_then_prior"),
    *("centre_bias", "transition_table", "displacement_table", "dwell_table", "return_table"),
)
# How many other viewers of the picture the estimate of what it would add is given; the most also beside a history.
OTHERS, VIEWERS, HISTORY = "other_viewers", (1, 2, 4, 7, 14), "return_table"
# The sequence model, by the options of `GazeDensity`; then with another core, and with one part less, on the windows of
# ABLATED alone.
NETWORKS: dict[str, dict[str, Any]] = {"gru": dict(core="gru")}
ABLATIONS: dict[str, dict[str, Any]] = {
    "transformer": dict(core="transformer"),
    "no_recurrence": dict(core="mlp"),
    "no_pointer": dict(core="gru", pointer=False),
    "no_stay": dict(core="gru", stay=False),
    "no_gaussians": dict(core="gru", gaussians=0, pointer=False),
    "no_mirror": dict(core="gru"),
}
ABLATED = ("osie", "10to10")
# Chosen by the bits of validation windows of ABLATED, and the same for every network, task and dataset; epochs at most.
TRAINING: dict[str, Any] = dict(epochs=40, batch_size=128, learning_rate=4e-3, plateau_patience=2, patience=10)
TRAINING |= dict(mirror=True, earlier=True)


def specs(
    dataset: str, profile: str, seeds: Sequence[int] = (0,), tasks: Sequence[str] = (), networks: Sequence[str] = ()
) -> list[RunSpec]:
    """One run a network, task and seed, and one a baseline and task; variants read NAME.TASK.

    From the size `quick` on all training windows are used: of networks every one that there is, however much they
    overlap, of tables those that are cut as everywhere else. A network's best epoch is that of all validation windows.

    Args:
        tasks: of `TASKS`; none for all that the dataset has frames for.
        networks: of `NETWORKS` and `ABLATIONS`; none for the former, with the latter (of two seeds) on `ABLATED`.
    """
    size, found = get_profile(profile), []
    smoke, known = size.name == "smoke", Registry("network", NETWORKS | ABLATIONS)
    for task in tasks or tasks_of(dataset):
        tables = (size if smoke else replace(size, train=None)).data(dataset, **TASKS[task])
        windows = replace(tables, train_stride=1, val=tables.val if smoke else None)
        for name in networks or (known if (dataset, task) == ABLATED else NETWORKS):
            training = replace(size.training, **TRAINING)
            training = replace(training, mirror=False) if name == "no_mirror" else training
            training = replace(training, epochs=size.epochs) if smoke else training
            config = Config(windows, Model("density", known[name]), Loss("softmax_cross_entropy"), training)
            repeated = seeds[:2] if name in ABLATIONS else seeds
            found += [make_spec(NAME, f"{name}.{task}", size, seed, config) for seed in repeated]
        configs = {name: Config(tables, Model(name, dict(as_frames=False))) for name in BASELINES}
        if dataset == "simulated":
            configs["optimum"] = Config(tables, Model("optimum"), Loss("density"))
        elif dataset in data.DATASETS and data.DATASETS[dataset].has_fixations and not smoke:
            asked = {f"others_{count}": dict(viewers=count, history="") for count in VIEWERS}
            asked["others_and_history"] = dict(viewers=VIEWERS[-1], history=HISTORY)
            configs |= {name: Config(tables, Model(OTHERS, options)) for name, options in asked.items()}
        found += [make_spec(NAME, f"{name}.{task}", size, 0, config) for name, config in configs.items()]
    return found


def run(spec: RunSpec, attempt: Attempt) -> dict[str, Any]:
    """Train a network, score a table or the optimum, or estimate what the picture would add."""
    where, model = spec.config.data, spec.config.model
    if model.kind != OTHERS:
        return simulated_control.run(spec, attempt)
    windows = load_windows(where)
    history = _history(model.options["history"], where, windows) if model.options["history"] else None
    return estimate(where, windows, model.options["viewers"], history) | seen(windows)


def _history(name: str, where: Data, windows: Windows) -> dict[str, Tensor]:
    """Log densities (N, T, H, W) of a table on validation and test windows."""
    table = BASELINE_CLASSES[name](where.size).fit(windows["train"].coordinates, where.n_in)
    given = {part: seen_points(windows[part].coordinates[:, : where.n_in], where.size) for part in ("val", "test")}
    return {part: table.log_density(points, where.n_out) for part, points in given.items()}


def tasks_of(dataset: str) -> list[str]:
    """The tasks that a dataset has frames for; all of them for a folder."""
    fixations = dataset not in data.DATASETS or data.DATASETS[dataset].has_fixations
    return [name for name, task in TASKS.items() if fixations or task["rate_hz"] is not None]
