"""The explorers: their formulas are the library's, their numbers its functions', and they move in a browser."""

import math
import re

import pytest
import torch

from fixlib import explorers, losses
from fixlib.theory.outputs import CompositeAtPixel, best_output, painting_threshold

pytest.importorskip("altair", reason="Altair is missing: pip install -c constraints.txt -e '.[book]'")

from fixlib.chapters.sparsity.explorer import RATES_HZ, frame_rate_explorer
from fixlib.chapters.sparsity.runs import describe
from fixlib.chapters.what_each_loss_wants.explorer import AWAY, FORMULAS, loss_explorer
from fixlib.data import simulate_scanpaths
from fixlib.explorers import LEVELS, as_text

SETTINGS = dict(alpha=0.3, gamma=1.5, pos_weight=40.0, lambda_=0.2, smooth=-1.0)


def formula(name, white: bool, p: float, settings=SETTINGS) -> float:
    return eval(FORMULAS[name][not white], dict(pow=pow, log=math.log), dict(p=p, **settings))


def cost(name, white: bool, p: float) -> float:
    """The library's loss of one pixel with the output p; of Dice, of a frame whose other pixel is black."""
    focal = losses.FocalLoss(SETTINGS["alpha"], SETTINGS["gamma"], from_logits=False)
    sparsity = losses.SparsityLoss(SETTINGS["lambda_"], from_logits=False)
    loss = {
        "MSE": losses.MSE(from_logits=False),
        "BCE": losses.BCE(from_logits=False),
        "focal": focal,
        "sparsity (MSE + L1)": sparsity,
        "weighted MSE": losses.WeightedMSE(SETTINGS["pos_weight"], from_logits=False),
        "Dice": losses.DiceLoss(10 ** SETTINGS["smooth"], from_logits=False),
        "composite": lambda p, y: focal(p, y) + 0.8 * sparsity(p, y) + 1.5 * AWAY**2 * ((1 - y) * p).mean(),
    }[name]
    output, target = torch.tensor([[p]], dtype=torch.float64), torch.tensor([[float(white)]], dtype=torch.float64)
    if name == "Dice":
        output, target = (torch.cat(pair, 1) for pair in ((output, 0 * output), (target, 1 - target)))
    return loss(output, target).item()


@pytest.mark.parametrize("name", FORMULAS)
@pytest.mark.parametrize("white", [True, False])
def test_formulas_of_the_loss_explorer_are_those_of_the_losses(name, white):
    for p in (0.001, 0.2, 0.5, 0.93):
        assert formula(name, white, p) == pytest.approx(cost(name, white, p), rel=1e-6)


@pytest.mark.parametrize(
    "name, loss",
    [
        ("MSE", losses.MSE()),
        ("focal", losses.FocalLoss()),
        ("sparsity (MSE + L1)", losses.SparsityLoss()),
        ("weighted MSE", losses.WeightedMSE()),
        ("composite", CompositeAtPixel(AWAY**2)),
    ],
)
def test_the_cheapest_output_of_the_loss_explorer_is_the_best_output(name, loss):
    defaults = {param["name"]: param["value"] for param in loss_explorer().spec["params"]}
    for eta in (0.03, 0.3, 0.8):
        outputs = [step / 1000 for step in range(1, 1000)]
        costs = [
            eta * formula(name, True, p, defaults) + (1 - eta) * formula(name, False, p, defaults) for p in outputs
        ]
        assert outputs[costs.index(min(costs))] == pytest.approx(best_output(loss, eta), abs=0.0011)


def test_dice_of_the_loss_explorer_crosses_where_painting_pays():
    threshold = painting_threshold(losses.DiceLoss(smooth=1.0))
    for eta, pays in ((threshold - 0.01, False), (threshold + 0.01, True)):
        none, white = (
            eta * formula("Dice", True, p, dict(smooth=0)) + (1 - eta) * formula("Dice", False, p, dict(smooth=0))
            for p in (0, 1)
        )
        assert (white < none) == pays


def test_every_control_of_the_loss_explorer_is_used_and_every_name_is_a_control():
    params = {param["name"] for param in loss_explorer().spec["params"]}
    used = set(re.findall(r"[a-z_]+", str([*FORMULAS.values()])))
    assert params - {"loss", "eta"} == used - {"p", "pow", "log"}


def test_the_frame_rate_explorer_shows_what_chapter_1_records():
    scanpaths = simulate_scanpaths(6, 5)
    described = {rate["rate_hz"]: rate for rate in describe(scanpaths)["rates"]}
    datasets = frame_rate_explorer(scanpaths).spec["datasets"].values()
    for name, theirs in (("stays", "same_pixel"), ("error", "repeat_last_error")):
        (rows,) = [rows for rows in datasets if set(rows[0]) == {"rate", name}]
        assert [row["rate"] for row in rows] == list(RATES_HZ)
        for row in rows:
            if row["rate"] in described:
                assert row[name] == pytest.approx(described[row["rate"]][theirs], abs=1e-4)
    (frames,) = [rows for rows in datasets if "moved" in rows[0]]
    gaze = scanpaths.frames(10.0)
    drawn = [[row["x"], row["y"]] for row in frames if row["rate"] == 10]
    assert drawn == gaze.coordinates[0, : len(drawn)].floor().int().tolist()


def test_maps_as_text():
    levels = torch.linspace(0, 1, len(LEVELS)).reshape(1, 2, -1)
    assert as_text(levels) == [LEVELS]


def test_the_script_keeps_its_names_to_itself():
    """Sphinx declares a `_` on every page; a second one at the top would end the page's search and its menu."""
    lines = explorers.script().splitlines()
    assert (lines[0], lines[-1]) == ("(() => {", "})();")
