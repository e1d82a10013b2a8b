"""The density over the coming frames' pixels: what it is made of, and that it learns what its parts are for."""

import math

import pytest
import torch

from fixlib.losses import make_loss
from fixlib.models import NETWORKS, GazeDensity
from fixlib.models.sequence import UNIFORM_SHARE

OPTIONS = [
    dict(core="gru"),
    dict(core="transformer"),
    dict(core="mlp"),
    dict(pointer=False),
    dict(stay=False),
    dict(gaussians=0),
    dict(gaussians=0, pointer=False),
    dict(gaussians=2, hidden=8),
]


def random_pixels(count, frames, size, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(size, (count, frames, 2), generator=generator) + 0.5


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("n_in, n_out, size", [(1, 1, 32), (4, 3, 8), (10, 2, 5)])
def test_is_a_density_with_a_gradient_for_all_that_is_learnt(options, n_in, n_out, size):
    torch.manual_seed(0)
    model = NETWORKS["density"].for_task(n_in, n_out, size, **options)
    points = random_pixels(6, n_in, size)
    points[0] = 0.5  # in a corner, and for good
    log_density = model(points)
    assert log_density.shape == (6, n_out, 1, size, size) and log_density.isfinite().all()
    assert torch.allclose(log_density.exp().sum((-2, -1)), torch.ones(6, n_out, 1), atol=1e-4)
    assert model(points[:, :1]).shape == log_density.shape
    log_density.square().mean().backward()
    assert all(weight.grad is not None and weight.grad.isfinite().all() for weight in model.parameters())


def test_equals_the_mixture_computed_by_hand():
    model = GazeDensity(2, 1, size=8, hidden=4, gaussians=2).eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight.zero_()
        model.weights.bias.copy_(torch.tensor([1.0, 0.5, -0.5]))  # stay, around gaze, around the center
        model.shapes.bias.copy_(torch.tensor([0.125, 0, -1, -2, 0, -0.25, -1.5, -1]))  # in grids
        model.recency.copy_(torch.tensor([[[0.3, -2.0], [0.1, -1.0]]]))
        model.log_widths.copy_(torch.tensor([0.5, 1.5]).log())
        found = model(torch.tensor([[[6.5, 1.5], [2.5, 3.5]]]))[0, 0, 0].exp()

    def gaussian(x, y, width_x, width_y):
        def along(center, width):
            below = torch.tensor([math.erf((edge - center) / width / math.sqrt(2)) for edge in range(9)])
            return below.diff() / (below[-1] - below[0])

        return along(y, width_y)[:, None] * along(x, width_x)

    here = torch.zeros(8, 8)
    here[3, 2] = 1
    parts = [here, gaussian(2.5 + 1, 3.5, 8 / math.e, 8 / math.e**2), gaussian(4, 4 - 2, 8 / math.e**1.5, 8 / math.e)]
    parts += [gaussian(x, y, width, width) for width in (0.5, 1.5) for x, y in ((6.5, 1.5), (2.5, 3.5))]
    weights = torch.tensor([1.0, 0.5, -0.5, 0.3, -2.0, 0.1, -1.0]).softmax(0)
    expected = sum(weight * part for weight, part in zip(weights, parts))
    assert torch.allclose(found, (1 - UNIFORM_SHARE) * expected + UNIFORM_SHARE / 64, atol=1e-6)


def bits_after_training(windows, n_in, steps=150, **options):
    """Bits over uniform on windows of its own after some seconds of training."""
    torch.manual_seed(0)
    model = GazeDensity(n_in, 1, size=16, hidden=16, dropout=0.0, **options)
    loss, optimizer = make_loss("softmax_cross_entropy"), torch.optim.Adam(model.parameters(), lr=1e-2)
    frames = torch.nn.functional.one_hot((windows[:, -1] // 1 @ torch.tensor([1.0, 16.0])).long(), 256).float()
    frames = frames.view(-1, 1, 1, 16, 16)
    for step in range(steps):
        rows = slice(64 * (step % 20), 64 * (step % 20) + 64)
        optimizer.zero_grad()
        loss(model(windows[rows, :n_in]), frames[rows]).backward()
        optimizer.step()
    with torch.no_grad():
        left = loss(model.eval()(windows[1280:, :n_in]), frames[1280:])
    return 8 - left.item() / math.log(2)


def test_pointer_learns_that_gaze_comes_back_and_without_it_that_is_hard():
    seen, which = random_pixels(1600, 6, 16), torch.randint(5, (1600, 1, 1), generator=torch.Generator().manual_seed(1))
    windows = torch.cat([seen, seen.gather(1, which.expand(-1, -1, 2))], dim=1)  # to one of five earlier pixels
    assert bits_after_training(windows, 6) > 5  # of 8 - log2(5) = 5.7
    assert bits_after_training(windows, 6, pointer=False) < 2


def test_stay_learns_how_often_gaze_rests():
    seen, moves = random_pixels(1600, 4, 16), torch.rand(1600, 1, 1, generator=torch.Generator().manual_seed(1)) < 0.5
    windows = torch.cat([seen[:, :3], torch.where(moves, seen[:, 3:], seen[:, 2:3])], dim=1)
    assert bits_after_training(windows, 3, pointer=False) == pytest.approx(3, abs=0.4)  # 8 - (1 + 8 / 2)


def test_clear_errors():
    with pytest.raises(ValueError, match="core='lstm' is not one of gru, transformer, mlp"):
        GazeDensity(4, 1, core="lstm")
    with pytest.raises(ValueError, match="four heads, which share hidden=30"):
        GazeDensity(n_in=4, n_out=1, core="transformer", hidden=30)
    with pytest.raises(ValueError, match="gaussians even, got 4, 1, 32, 64 and 3"):
        GazeDensity(4, 1, gaussians=3)
    with pytest.raises(ValueError, match=r"\(batch, points, 2\)"):
        GazeDensity(4, 1)(torch.ones(2, 3))
