"""Patterns: inside the grid, at the stated speed, and with noise whose ceiling is known."""

import pytest
import torch
from scipy.stats import chisquare

from fixlib.data import check_sequences, make_patterns


@pytest.mark.parametrize("kind", ["line", "arc", "bounce", "mixed"])
@pytest.mark.parametrize("speed", [0.3, 1.0, 1.9])
def test_inside_with_a_margin_and_valid(kind, speed):
    sequences = make_patterns(kind, n=500, length=20, speed=speed, seed=3)
    check_sequences(sequences, kind)
    assert sequences["coordinates"].shape == (500, 20, 2) and sequences["fixation_mask"].all()
    assert sequences["coordinates"].min() >= 1 - 1e-5 and sequences["coordinates"].max() <= 31 + 1e-5
    assert sequences["meta"]["simulated"] and "not a recording" in sequences["meta"]["label"]


def steps(kind, speed):
    return make_patterns(kind, n=300, length=15, speed=speed, seed=1)["coordinates"].double().diff(dim=1)


def test_line_has_constant_velocity():
    step = steps("line", 2.5)
    assert torch.allclose(step.norm(dim=-1), torch.tensor(2.5).double(), atol=1e-4)
    assert step.diff(dim=1).abs().max() < 1e-4


def test_arc_turns_steadily_at_its_speed():
    step = steps("arc", 1.0)
    velocity = torch.view_as_complex(step.contiguous())
    turn = (velocity[:, 1:] / velocity[:, :-1]).angle()
    assert (turn - turn[:, :1]).abs().max() < 1e-4  # constant curvature
    radius = 1.0 / turn[:, 0].abs()  # speed is measured along the circle
    assert radius.min() > 4 - 1e-2 and radius.max() < 15 + 1e-2
    chord = 2 * radius * torch.sin(0.5 / radius)
    assert torch.allclose(step.norm(dim=-1), chord[:, None].expand(-1, 14), atol=1e-3)
    assert 0.3 < (turn[:, 0] > 0).double().mean() < 0.7  # both ways round


def test_bounce_keeps_speed_between_walls_and_turns_at_them():
    step = steps("bounce", 2.0)
    length = step.norm(dim=-1)
    assert length.max() < 2 + 1e-4  # shorter only in the frame of a bounce
    straight = (length > 2 - 1e-4).double().mean()
    assert 0.7 < straight < 0.99
    full = step.abs().flatten(0, 1)[(length > 2 - 1e-4).flatten()]
    assert torch.allclose(full.norm(dim=-1), torch.tensor(2.0).double(), atol=1e-4)


def test_mixed_has_all_kinds():
    turn = make_patterns("mixed", n=300, length=6, speed=1.0)["coordinates"].double().diff(dim=1).diff(dim=1)
    curved = turn.norm(dim=-1).min(dim=1).values > 0.02
    assert 0.2 < curved.double().mean() < 0.45


def test_full_noise_is_uniform():
    points = make_patterns("line", n=2000, length=10, noise=1.0, seed=2)["coordinates"]
    pixel = (points[..., 1].floor() * 32 + points[..., 0].floor()).long().flatten()
    assert chisquare(torch.bincount(pixel, minlength=1024).numpy()).pvalue > 1e-3


def test_noise_is_the_probability_of_replacement():
    noisy, clean = (make_patterns("arc", 3000, 10, noise=p, seed=4)["coordinates"] for p in (0.3, 0.0))
    assert (noisy != clean).any(dim=-1).double().mean() == pytest.approx(0.3, abs=0.01)
    same_pixel = (noisy.floor() == clean.floor()).all(dim=-1).double().mean()
    assert same_pixel == pytest.approx(0.7 + 0.3 / 1024, abs=0.01)  # the ceiling of any predictor


def test_fast_lines_fit_near_the_diagonal():
    line = make_patterns("line", n=200, length=20, speed=2.0)["coordinates"]  # 38 px of way in 30 px of room
    assert line.min() >= 1 - 1e-4 and line.max() <= 31 + 1e-4


def test_seed_decides():
    first, again, other = (make_patterns("mixed", 5, 5, noise=0.5, seed=s)["coordinates"] for s in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other)


@pytest.mark.parametrize(
    "arguments, message",
    [
        (dict(kind="spiral"), "unknown pattern 'spiral'; known: line, arc, bounce, mixed"),
        (dict(noise=1.5), "noise is a probability"),
        (dict(speed=-1), "speed .* must be 0 or more"),
        (dict(n=0), "at least 1"),
        (dict(speed=3.0), "does not fit"),
        (dict(size=8), "size must be at least"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        make_patterns(**{"kind": "line", "n": 3, "length": 20, **arguments})
