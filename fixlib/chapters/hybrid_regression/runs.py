"""Chapter 4: regress the next point's (x, y) with a SimVP encoder and an MLP, or predict its frame (4 in, 1 out)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from fixlib import system
from fixlib.checkpoints import Checkpoint
from fixlib.models import BASELINES
from fixlib.runs.execute import data_config, make_spec, run_predictor, training_config
from fixlib.runs.profiles import Profile, get_profile
from fixlib.runs.store import RunSpec
from fixlib.system import atomic_write

NAME = "hybrid_regression"
N_IN, N_OUT = 4, 1
# One fixation a frame (None), or the gaze every 100 ms.
FRAMINGS: dict[str, float | None] = {"fixations": None, "10hz": 10.0}
# How a predicted frame becomes a point: its brightest pixel, its mean, its geometric median.
FRAME_ERRORS = ("error_argmax", "error_mean", "error_median")
COMPOSITE = dict(name="composite", focal_weight=1.0, sparsity_weight=0.8, concentration_weight=1.5)
# Compared with the others where asked for: the hybrid with a translator as narrow as that of frame prediction.
NARROW = "hybrid_l1_narrow"


def network_configs(size: Profile) -> dict[str, dict]:
    """The networks compared: the hybrid with L1 (the claim) and with MSE, frame prediction, and a small GRU."""
    simvp = dict(kind="simvp", **size.simvp)
    hybrid = dict(kind="regression", **{**size.simvp, "hid_T": size.regression_hid_T})
    return {
        "hybrid_l1": dict(model=hybrid, loss=dict(name="l1")),
        "hybrid_mse": dict(model=hybrid, loss=dict(name="l2")),
        "frames_composite": dict(model=simvp, loss=COMPOSITE),
        "frames_weighted_mse": dict(model=simvp, loss=dict(name="weighted_mse", pos_weight=100.0)),
        "frames_mse": dict(model=simvp, loss=dict(name="mse")),
        "gru_l1": dict(model=dict(kind="gru", hidden=64), loss=dict(name="l1")),
    }


def specs(
    dataset: str,
    profile: str,
    seeds: Sequence[int] = (0,),
    framings: Sequence[str] = tuple(FRAMINGS),
    networks: Sequence[str] = (),
) -> list[RunSpec]:
    """One run a network, framing and seed, and one a baseline and framing; variants read NAME.FRAMING.

    `networks`: keys of `network_configs`, or `NARROW`; none for all of the former.

    Raises:
        ValueError: an unknown profile, framing or network.
    """
    size, found = get_profile(profile), []
    every = network_configs(size)
    known = every | {NARROW: dict(model=dict(kind="regression", **size.simvp), loss=dict(name="l1"))}
    if unknown := [name for name in networks if name not in known]:
        raise ValueError(f"unknown network {unknown[0]!r}; choose of {', '.join(known)}")
    for framing in framings:
        if framing not in FRAMINGS:
            raise ValueError(f"unknown framing {framing!r}; choose one of {', '.join(FRAMINGS)}")
        where = data_config(dataset, FRAMINGS[framing], N_IN, N_OUT, stride=N_IN + N_OUT, profile=size)
        for name in networks or every:
            config = dict(data=where, training=training_config(size), **known[name])
            found += [make_spec(NAME, f"{name}.{framing}", size, seed, config) for seed in seeds]
        found += [
            make_spec(NAME, f"{name}.{framing}", size, 0, dict(data=where, model=dict(kind=name, as_frames=False)))
            for name in BASELINES
        ]
    return found


def run(spec: RunSpec, checkpoint: Checkpoint | None, on_epoch: Callable[[dict], None]) -> dict:
    """Carry out one run; see `fixlib.runs.execute.run_predictor`."""
    return run_predictor(spec, checkpoint, on_epoch)


def finish(study) -> None:
    """Write logs/final_results.txt, as the original experiment did: every predictor's error, best first."""
    frame = study.frame()
    errors = frame[frame["metric"].isin(("error", *FRAME_ERRORS))]
    lines = [
        study.notice,
        "",
        "Mean pixel error (L2, px) of the next point on the test windows, with its 95% interval",
        "",
    ]
    lines += [
        f"{row.variant:32s} seed {row.seed}  {row.metric:14s} {row.value:6.2f}  [{row.low:.2f}, {row.high:.2f}]"
        for row in errors.sort_values("value").itertuples()
    ]
    with atomic_write(system.root() / "logs" / "final_results.txt") as file:
        file.write(("\n".join(lines) + "\n").encode())
