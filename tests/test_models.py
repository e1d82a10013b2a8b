"""SimVP and the hybrid: the published layout, counts and outputs, and what is ours beyond them."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from benchmarks import steps
from fixlib.chapters.loss_comparison.runs import specs
from fixlib.models import NETWORKS, SimVP, SimVP_RegressionHead, count_parameters, create_model
from fixlib.models.simvp import Decoder, DropPath
from fixlib.runs.config import Model
from fixlib.runs.execute import Attempt, run_predictor

PUBLISHED = json.loads((Path(__file__).parent / "data" / "simvp_state_dict.json").read_text())
SMALL = dict(in_shape=(10, 1, 32, 32), hid_S=16, hid_T=64, N_S=4, N_T=4)
TINY = dict(in_shape=(3, 1, 16, 16), hid_S=4, hid_T=8, N_S=2, N_T=2, mlp_ratio=2.0)


def on_meta(make):
    """Build without memory or initialisation, for counting."""
    with torch.device("meta"):
        return make()


def tiny(**options):
    torch.manual_seed(0)
    return SimVP(**(TINY | options))


def frames_for(model, batch=2, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return (torch.rand(batch, *model.in_shape, generator=generator) < 0.01).float()


def scramble(model, seed=0):
    """Weights far from initialisation: a branch scaled by 0.01 or a variance of 1 would hide errors."""
    generator = torch.Generator().manual_seed(seed)
    for name, value in model.state_dict().items():
        noise = torch.rand(value.shape, generator=generator)
        if name.endswith("running_var"):
            value.copy_(0.5 + noise)
        elif value.is_floating_point():
            value.add_((noise - 0.5) * (2.0 if "layer_scale" in name else 0.2))
    return model.eval()


# ---- an independent, plain computation from the state dict ----


def plain_spatial(state, prefix, x, down=False, up=False):
    first = f"{prefix}.conv.conv.0" if up else f"{prefix}.conv.conv"
    weight = state[f"{first}.weight"]
    x = F.conv2d(x, weight, state[f"{first}.bias"], stride=2 if down else 1, padding=weight.shape[-1] // 2)
    if up:
        n, c, h, w = x.shape
        x = x.reshape(n, c // 4, 2, 2, h, w).permute(0, 1, 4, 2, 5, 3).reshape(n, c // 4, 2 * h, 2 * w)
    x = F.group_norm(x, 2, state[f"{prefix}.conv.norm.weight"], state[f"{prefix}.conv.norm.bias"])
    return x * torch.sigmoid(x)


def plain_block(state, prefix, x):
    def conv(name, value, **options):
        weight = state[f"{prefix}.{name}.weight"]
        groups = value.shape[1] if weight.shape[1] == 1 else 1
        return F.conv2d(value, weight, state[f"{prefix}.{name}.bias"], groups=groups, **options)

    def norm(name, value):
        mean, var, weight, bias = (
            state[f"{prefix}.{name}.{part}"].view(-1, 1, 1)
            for part in ("running_mean", "running_var", "weight", "bias")
        )
        return (value - mean) / torch.sqrt(var + 1e-5) * weight + bias

    def gelu(value):
        return value * 0.5 * (1 + torch.erf(value / math.sqrt(2)))

    normed = norm("norm1", x)
    gate = conv("attn.spatial_gating_unit.conv0", gelu(conv("attn.proj_1", normed)), padding=2)
    gate = conv("attn.spatial_gating_unit.conv_spatial", gate, padding=9, dilation=3)
    gate = conv("attn.spatial_gating_unit.conv1", gate)
    half = gate.shape[1] // 2
    gated = gate[:, :half] * torch.sigmoid(gate[:, half:])
    x = x + state[f"{prefix}.layer_scale_1"].view(-1, 1, 1) * (conv("attn.proj_2", gated) + normed)
    wide = conv("mlp.dwconv.dwconv", conv("mlp.fc1", norm("norm2", x)), padding=1)
    return x + state[f"{prefix}.layer_scale_2"].view(-1, 1, 1) * conv("mlp.fc2", gelu(wide))


def plain_translate(state, latent):
    """(B, T, C, h, w) -> the same."""
    x = latent.reshape(latent.shape[0], -1, *latent.shape[-2:])
    index = 0
    while f"hid.enc.{index}.block.layer_scale_1" in state:
        x = plain_block(state, f"hid.enc.{index}.block", x)
        if f"hid.enc.{index}.reduction.weight" in state:
            name = f"hid.enc.{index}.reduction"
            x = F.conv2d(x, state[f"{name}.weight"], state[f"{name}.bias"])
        index += 1
    return x.reshape(latent.shape)


def plain_encode(state, frames, N_S):
    """One frame at a time: latents and skips (B, T, ...)."""
    latents, skips = [], []
    for t in range(frames.shape[1]):
        x = plain_spatial(state, "enc.enc.0", frames[:, t])
        skips.append(x)
        for i in range(1, N_S):
            x = plain_spatial(state, f"enc.enc.{i}", x, down=i in (1, 3, 5))
        latents.append(x)
    return torch.stack(latents, 1), torch.stack(skips, 1)


def plain_simvp(state, frames, N_S, newest=False):
    latent, skip = plain_encode(state, frames, N_S)
    translated = plain_translate(state, latent)
    decoded = []
    for t in range(frames.shape[1]):
        x = translated[:, t]
        for i in range(N_S):
            x = x + skip[:, -1 if newest else t] if i == N_S - 1 else x
            x = plain_spatial(state, f"dec.dec.{i}", x, up=i in (0, 2, 4))
        decoded.append(F.conv2d(x, state["dec.readout.weight"], state["dec.readout.bias"]))
    return torch.stack(decoded, 1)


# ---- layout ----


@pytest.mark.parametrize("name", PUBLISHED)
def test_keys_order_and_shapes_are_the_published_ones(name):
    published = PUBLISHED[name]
    model = on_meta(lambda: SimVP(published["in_shape"], **published["options"]))
    layout = {key: list(value.shape) for key, value in model.state_dict().items()}
    assert list(layout.items()) == list(published["state_dict"].items())
    assert count_parameters(model) == published["parameters"]


@pytest.mark.parametrize(
    "frames, hid_T, translator, total",
    [
        (10, 256, 18_121_216, 18_603_009),
        (10, 512, 46_287_872, 46_769_665),
        (4, 256, 10_844_160, 11_325_953),
        (4, 512, 38_945_792, 39_427_585),
    ],
)
def test_parameter_counts(frames, hid_T, translator, total):
    model = on_meta(lambda: create_model(in_shape=(frames, 1, 32, 32), hid_T=hid_T))
    counts = [count_parameters(part) for part in (model.enc, model.hid, model.dec, model)]
    assert counts == [111_936, translator, 369_857, total]


def test_create_model_defaults_are_the_missions():
    model = on_meta(create_model)
    assert model.in_shape == (10, 1, 32, 32)
    assert count_parameters(model) == 18_603_009


def test_create_model_refuses_an_unknown_option_and_names_the_known_ones():
    with pytest.raises(TypeError, match=r"no option hidT; options are .*hid_T"):
        create_model(hidT=64)


def test_hybrid_counts():
    hybrid = on_meta(SimVP_RegressionHead)
    decoder = on_meta(lambda: Decoder(64, 1, 4, 3))
    assert count_parameters(hybrid.head) == 2_229_506
    assert count_parameters(hybrid) + count_parameters(decoder) == 41_657_091


def test_count_parameters_leaves_out_the_frozen_ones():
    layer = nn.Linear(3, 2)
    layer.bias.requires_grad_(False)
    assert count_parameters(layer) == 6


# ---- outputs ----


@pytest.mark.parametrize(
    "options",
    [
        SMALL,
        dict(in_shape=(4, 1, 32, 32), hid_S=8, hid_T=32, N_S=4, N_T=3),  # no reduction
        dict(in_shape=(3, 2, 24, 16), hid_S=4, hid_T=8, N_S=6, N_T=2, mlp_ratio=2.0,
             spatio_kernel_enc=5, spatio_kernel_dec=7),
    ],
)  # fmt: skip
def test_agrees_with_a_plain_computation(options):
    torch.manual_seed(0)
    model = scramble(SimVP(**options))
    frames = torch.rand(2, *model.in_shape)
    with torch.no_grad():
        expected = plain_simvp(model.state_dict(), frames, options["N_S"])
        assert expected.std() > 0.05
        torch.testing.assert_close(model(frames), expected, atol=1e-5, rtol=1e-5)


def test_newest_skip_agrees_with_a_plain_computation():
    same, newest = scramble(tiny()), scramble(tiny(skip="newest"))
    frames = torch.rand(2, *same.in_shape)
    with torch.no_grad():
        expected = plain_simvp(same.state_dict(), frames, 2, newest=True)
        torch.testing.assert_close(newest(frames), expected, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(newest(frames)[:, -1], same(frames)[:, -1])  # whose own skip is the newest
        assert (newest(frames) - same(frames))[:, :-1].abs().amax((2, 3, 4)).min() > 1e-3
    assert list(newest.state_dict()) == list(same.state_dict())


def test_hybrid_agrees_with_a_plain_computation():
    torch.manual_seed(0)
    model = scramble(SimVP_RegressionHead((4, 1, 16, 32), hid_S=4, hid_T=8, N_S=4, N_T=2))
    frames = torch.rand(3, *model.in_shape)
    state = model.state_dict()
    with torch.no_grad():
        x = plain_translate(state, plain_encode(state, frames, 4)[0])[:, -1].reshape(3, -1)
        for layer in (0, 2, 4):
            x = x @ state[f"head.{layer}.weight"].T + state[f"head.{layer}.bias"]
            x = x.clamp_min(0) if layer < 4 else x
        expected = torch.stack([32 * (0.5 + x[:, 0] / 2), 16 * (0.5 + x[:, 1] / 2)], dim=1)
        torch.testing.assert_close(model(frames), expected, atol=1e-4, rtol=1e-5)


@pytest.mark.skipif(not torch.__version__.startswith("2.13"), reason="torch 2.13 draws these weights, 2.10 others")
def test_a_known_output_and_known_first_weights():
    """Of what is stored, computed by version 0.3: a change of the plain network or of its initialisation is noticed."""
    known = json.loads((Path(__file__).parent / "data" / "simvp_known_output.json").read_text())
    torch.manual_seed(0)
    model = SimVP(**TINY | dict(N_T=3))
    first = [value.flatten()[0].item() for value in model.parameters()]
    assert first == pytest.approx(known["first_weights"], rel=1e-5, abs=1e-7)
    with torch.no_grad():
        output = scramble(model)(frames_for(model))
    assert output[:, :, 0, ::7, ::7].flatten().tolist() == pytest.approx(known["output"], rel=1e-4, abs=1e-5)


def test_soft_argmax_is_the_mean_position_under_the_softmax_of_each_frame():
    options = dict(hid_S=4, hid_T=8, N_S=2, N_T=2)
    simvp, points = scramble(SimVP((3, 1, 8, 8), **options)), NETWORKS["soft_argmax"].for_task(3, 3, 8, **options)
    points.load_state_dict(simvp.state_dict())
    frames = torch.rand(2, 3, 1, 8, 8)
    with torch.no_grad():
        p = simvp.eval()(frames).flatten(-2).softmax(-1).view(2, 3, 8, 8)
        places = torch.arange(8) + 0.5
        expected = torch.stack([(p.sum(-2) * places).sum(-1), (p.sum(-1) * places).sum(-1)], dim=-1)
        torch.testing.assert_close(points.eval()(frames), expected)
    with pytest.raises(ValueError, match="a frame of one channel, not 3"):
        NETWORKS["soft_argmax"]((3, 3, 8, 8), **options)


def test_a_mixture_is_the_hybrid_with_a_density_for_an_answer():
    """By hand: the mass of each Gaussian in each pixel, weighed, and a little for every pixel."""
    options = dict(hid_S=4, hid_T=8, N_S=2, N_T=2, target="displacement")
    model = scramble(NETWORKS["mixture"].for_task(3, 2, 8, gaussians=3, **options)).eval()
    hybrid = SimVP_RegressionHead((3, 1, 8, 8), **options).eval()
    own = model.state_dict()
    hybrid.load_state_dict({name: value for name, value in own.items() if "head.4" not in name}, strict=False)
    hybrid.head[-1] = nn.Identity()
    frames = torch.zeros(1, 3, 1, 8, 8)
    frames[0, range(3), 0, 2, (1, 2, 5)] = 1  # the last white pixel's center: 5.5, 2.5
    with torch.no_grad():
        found = model(frames)
        latent, _ = hybrid.enc(frames[0])
        steps = hybrid.hid(latent[None])[0].flatten(1)  # (frames, features)
        edges = torch.arange(9.0)
        for frame in range(2):
            told = model.head[-1](hybrid.head(steps[frame])).view(3, 5)
            expected = torch.full((8, 8), 1e-4 / 64)
            for weight, (x, y, width_x, width_y) in zip(told[:, 0].softmax(0), told[:, 1:]):
                sides = []
                for origin, shift, width in ((5.5, x, width_x), (2.5, y, width_y)):
                    center = (origin + 4 * shift).clamp(0, 8)
                    normal = torch.distributions.Normal(center, width.exp().clamp(0.1, 32))
                    mass = normal.cdf(edges).diff()
                    sides.append(mass / mass.sum())
                expected += (1 - 1e-4) * weight * sides[1][:, None] * sides[0]
            torch.testing.assert_close(found[0, frame, 0].exp(), expected, rtol=1e-4, atol=1e-7)
    assert found.shape == (1, 2, 1, 8, 8)
    torch.testing.assert_close(found.exp().sum((-2, -1)), torch.ones(1, 2, 1))


def test_hybrid_takes_the_weights_of_a_simvp():
    options = dict(in_shape=(4, 1, 16, 16), hid_S=4, hid_T=8, N_S=2, N_T=2)
    simvp, hybrid = SimVP(**options), SimVP_RegressionHead(**options)
    missing, unexpected = hybrid.load_state_dict(simvp.state_dict(), strict=False)
    assert all(key.startswith("head.") for key in missing)
    assert all(key.startswith("dec.") for key in unexpected)
    assert torch.equal(hybrid.enc.state_dict()["enc.0.conv.conv.weight"], simvp.enc.enc[0].conv.conv.weight)


def test_hybrid_starts_near_the_centre():
    torch.manual_seed(0)
    model = SimVP_RegressionHead(hid_S=8, hid_T=16, N_T=2).eval()
    points = model(frames_for(model, batch=8))
    assert points.shape == (8, 2)
    assert (points - 16).abs().max() < 4


def test_a_hybrid_that_predicts_no_displacement_repeats_the_last_pixel():
    model = SimVP_RegressionHead((2, 1, 16, 32), hid_S=4, hid_T=8, N_S=2, N_T=2, target="displacement").eval()
    nn.init.zeros_(model.head[-1].weight)
    nn.init.zeros_(model.head[-1].bias)
    frames = torch.zeros(1, *model.in_shape)
    frames[0, 0, 0, 2, 3] = frames[0, 1, 0, 5, 30] = 1  # [y, x]
    assert model(frames).tolist() == [[30.5, 5.5]]
    nn.init.constant_(model.head[-1].bias, 0.5)  # half of the way from the center to the edges
    assert model(frames).tolist() == [[38.5, 9.5]]


@pytest.mark.parametrize("channels", [1, 3])
def test_shapes(channels):
    model = tiny(in_shape=(3, channels, 16, 24))
    assert model(frames_for(model)).shape == (2, 3, channels, 16, 24)


def test_other_number_of_output_channels():
    model = tiny(out_channels=5, out_frames=2)
    assert model(frames_for(model)).shape == (2, 2, 5, 16, 16)


def test_fewer_output_frames_are_the_first_of_all():
    every, first = scramble(tiny()), scramble(tiny(out_frames=2))
    frames = frames_for(every)
    assert first(frames).shape == (2, 2, 1, 16, 16)
    torch.testing.assert_close(first(frames), every(frames)[:, :2])


def test_as_many_output_frames_as_input_frames_is_the_default():
    frames = frames_for(tiny())
    torch.testing.assert_close(scramble(tiny(out_frames=3))(frames), scramble(tiny())(frames))


@pytest.mark.parametrize("out_frames", [4, 6, 8])
def test_more_output_frames_feed_the_probabilities_back(out_frames):
    once, longer = scramble(tiny()), scramble(tiny(out_frames=out_frames))
    frames = frames_for(once)
    expected = [once(frames)]
    while 3 * len(expected) < out_frames:
        expected.append(once(torch.sigmoid(expected[-1])))
    torch.testing.assert_close(longer(frames), torch.cat(expected, dim=1)[:, :out_frames])


def test_evaluation_is_deterministic_and_sample_by_sample():
    model = scramble(tiny(drop=0.3, drop_path=0.5))
    frames = frames_for(model, batch=4)
    first = model(frames)
    assert torch.equal(first, model(frames))
    torch.testing.assert_close(first[1:2], model(frames[1:2]))


def test_training_repeats_from_its_seed():
    model = tiny(drop=0.3, drop_path=0.5).train()
    frames = frames_for(model, batch=4)
    outputs = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        outputs.append(model(frames))
    assert torch.equal(outputs[0], outputs[1])
    assert not torch.equal(outputs[0], outputs[2])


@pytest.mark.parametrize("out_frames", [2, 3, 5])
def test_gradients_reach_every_parameter(out_frames):
    model = tiny(out_frames=out_frames).train()
    model(frames_for(model)).square().mean().backward()
    without = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert without == []


def test_gradients_reach_every_parameter_of_the_hybrid():
    torch.manual_seed(0)
    model = SimVP_RegressionHead((4, 1, 16, 16), hid_S=4, hid_T=8, N_S=2, N_T=2).train()
    model(frames_for(model, batch=8)).sub(3).abs().mean().backward()
    without = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert without == []


# ---- initialisation ----


def test_initialisation():
    torch.manual_seed(0)
    model = SimVP(**SMALL)
    for name, module in model.named_modules():
        if not isinstance(module, torch.nn.Conv2d) or "reduction" in name or "readout" in name:
            continue
        fan_out = math.prod(module.kernel_size) * module.out_channels / module.groups
        expected = math.sqrt(2 / fan_out) if name.startswith("hid") else 0.02
        error = 4 / math.sqrt(2 * module.weight.numel())  # 4 standard errors of a standard deviation
        assert module.weight.std().item() == pytest.approx(expected, rel=error), name
        assert not module.bias.any(), name
    assert all((p == 0.01).all() for name, p in model.named_parameters() if "layer_scale" in name)


@pytest.mark.parametrize("drop_path, expected", [(0.0, [0.01, 0.005, 0.0]), (0.3, [0.01, 0.155, 0.3])])
def test_stochastic_depth_goes_from_one_percent_to_drop_path(drop_path, expected):
    model = tiny(N_T=3, drop_path=drop_path)
    drops = [m.probability for m in model.modules() if isinstance(m, DropPath)]
    assert drops == pytest.approx(expected)


def test_stochastic_depth_drops_whole_samples_and_keeps_the_mean():
    torch.manual_seed(0)
    layer = DropPath(0.25).train()
    out = layer(torch.ones(4000, 2, 3, 3))
    assert torch.equal(out, out[:, :1, :1, :1].expand_as(out))
    assert out.unique().tolist() == pytest.approx([0, 4 / 3])
    assert out.mean().item() == pytest.approx(1, abs=0.04)
    assert torch.equal(layer.eval()(out), out)


@pytest.mark.parametrize("prior", [1 / 1024, 0.3])
def test_prior_probability_is_the_readouts_bias(prior):
    model = tiny(prior_probability=prior)
    assert torch.sigmoid(model.dec.readout.bias).item() == pytest.approx(prior, rel=1e-5)
    plain = tiny()
    difference = model.dec.readout.bias - plain.dec.readout.bias
    frames = frames_for(plain)
    torch.testing.assert_close(model.eval()(frames), plain.eval()(frames) + difference)


# ---- a network of one's own ----


class Nearby(nn.Module):
    inputs, targets = "frames", "frames"

    def __init__(self, n_out, width):
        super().__init__()
        self.mix = nn.Conv2d(1, n_out, width, padding=width // 2)

    @classmethod
    def for_task(cls, n_in, n_out, size, width=5):
        return cls(n_out, width)

    def forward(self, frames):
        return self.mix(frames[:, -1]).unsqueeze(2)


def test_an_own_network_is_trained_like_any_other_and_found_by_the_benchmarks(monkeypatch, project, dataset):
    monkeypatch.setitem(NETWORKS, "nearby", Nearby)  # taken out again at the end
    NETWORKS.register("nearby")(Nearby)
    (spec,) = [spec for spec in specs(dataset, "smoke", losses=["weighted_mse"]) if spec.config.epochs]
    spec = replace(spec, config=replace(spec.config, model=Model("nearby", dict(width=3))))
    recorded = run_predictor(spec, Attempt())
    first, last = recorded["history"][0], recorded["history"][-1]
    assert recorded["parameters"] == 10 * 9 + 10 and last["train_loss"] < first["train_loss"]
    assert 0 < recorded["metrics"]["average_precision"]["value"] < 1
    (case,) = [case for case in steps.cases(quick=True) if case[0] == "nearby"]
    step = steps.training_step("accelerated bf16", NETWORKS["nearby"], *case[1:4], dataset)
    assert float(step()) > float(step()) > 0


def test_an_unknown_network_is_refused_by_name():
    with pytest.raises(ValueError, match="unknown network 'simvip'; known: simvp, soft_argmax, regression"):
        NETWORKS["simvip"]


# ---- errors ----


@pytest.mark.parametrize("options", [dict(in_shape=(3, 1, 16, 32)), dict(gaussians=0), dict(out_frames=4)])
def test_a_mixture_that_cannot_be_is_refused(options):
    with pytest.raises(ValueError, match="frames must be square, gaussians at least 1, and out_frames from 1 to 3"):
        NETWORKS["mixture"](**dict(in_shape=(3, 1, 32, 32), hid_S=4, hid_T=8, N_T=2) | options)


@pytest.mark.parametrize(
    "options, message",
    [
        (dict(model_type="tau"), "model_type 'tau' is not available, only 'gSTA'"),
        (dict(N_S=3), "N_S must be even"),
        (dict(N_S=0), "N_S must be even and at least 2"),
        (dict(N_T=1), "N_T must be at least 2"),
        (dict(in_shape=(3, 1, 30, 32), N_S=4), "30 x 32 cannot be halved 2 times.*multiples of 4"),
        (dict(in_shape=(3, 1, 32)), "in_shape must be"),
        (dict(in_shape=(0, 1, 32, 32)), "in_shape must be"),
        (dict(hid_S=5), "hid_S must be even"),
        (dict(hid_T=0), "hid_T must be at least 1"),
        (dict(spatio_kernel_enc=4), "kernels must be odd"),
        (dict(drop_path=1.0), "drop_path must lie in"),
        (dict(out_frames=0), "out_frames and out_channels must be at least 1"),
        (dict(out_frames=4, out_channels=2), "out_frames=4 exceeds the 3 input frames"),
        (dict(prior_probability=1.0), "prior_probability must lie between 0 and 1"),
        (dict(skip="last"), "skip must be one of same, newest, got 'last'"),
    ],
)
def test_options_that_do_not_fit(options, message):
    with pytest.raises(ValueError, match=message):
        tiny(**options)


@pytest.mark.parametrize("shape", [(2, 4, 1, 16, 16), (2, 3, 1, 16, 32), (2, 3, 2, 16, 16), (2, 3, 16, 16)])
def test_frames_that_do_not_fit(shape):
    with pytest.raises(ValueError, match=r"expected frames of shape \(batch, 3, 1, 16, 16\)"):
        tiny()(torch.zeros(shape))


def test_hybrid_refuses_what_does_not_fit():
    with pytest.raises(ValueError, match="N_S must be even"):
        SimVP_RegressionHead(N_S=3)
    with pytest.raises(ValueError, match="target must be one of position, displacement, got 'points'"):
        SimVP_RegressionHead(target="points")
    model = SimVP_RegressionHead((4, 1, 16, 16), hid_S=4, hid_T=8, N_S=2, N_T=2)
    with pytest.raises(ValueError, match="expected frames of shape"):
        model(torch.zeros(2, 10, 1, 16, 16))
