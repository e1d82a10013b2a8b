"""What makes the step fast changes nothing: outputs and gradients are those of the plain reference in float64."""

import copy
import resource
import subprocess
import sys

import pytest
import torch
from torch import nn

from benchmarks.reference import ReferenceHybrid, ReferenceSimVP
from fixlib.models import SimVP, SimVP_RegressionHead
from fixlib.models.layers import convolve_apart
from fixlib.models.simvp import Encoder, encode_distinct
from fixlib.system import keep_freed_memory
from fixlib.training import make_optimiser

# Maps of 8 x 8, 16 x 16 and 32 x 32.
SIZES = (32, 64, 128)
OUTPUT_ERROR, GRADIENT_ERROR = 1e-5, 1e-4
NETWORKS = {"simvp": (ReferenceSimVP, SimVP), "hybrid": (ReferenceHybrid, SimVP_RegressionHead)}


def pair(network, size, **options):
    """The reference in float64 and the library's network in float32, with the same weights, far from their initial
    values: a branch scaled by 0.01 would hide its errors."""
    reference, ours = NETWORKS[network]
    options = dict(in_shape=(3, 1, size, size), hid_S=8, hid_T=16, N_S=4, N_T=3, drop_path=0.5) | options
    torch.manual_seed(1)
    ours, reference = ours(**options), reference(**options)
    for name, value in ours.state_dict().items():
        if value.is_floating_point():
            value.add_((torch.rand_like(value) - 0.5) * (2.0 if "layer_scale" in name else 0.2))
    reference.load_state_dict(ours.state_dict())
    return reference.double(), ours


def gaze(size, repeated, batch=4, length=3):
    """One white pixel a frame; where `repeated`, the second frame equals the first."""
    torch.manual_seed(2)
    pixels = torch.randperm(size * size)[: batch * length].view(batch, length)
    if repeated:
        pixels[:, 1] = pixels[:, 0]
    return nn.functional.one_hot(pixels, size * size).float().view(batch, length, 1, size, size)


def error(ours, exact):
    ours, exact = ours.detach().double(), exact.detach()
    return float((ours - exact).norm() / exact.norm())


@pytest.mark.parametrize("network", NETWORKS)
def test_the_state_dict_is_the_references(network):
    reference, ours = pair(network, 32)
    assert list(ours.state_dict()) == list(reference.state_dict())


@pytest.mark.parametrize("repeated", [True, False])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("network", NETWORKS)
def test_evaluation_gives_the_references_outputs(network, size, repeated):
    reference, ours = pair(network, size)
    frames = gaze(size, repeated)
    with torch.no_grad():
        assert error(ours.eval()(frames), reference.eval()(frames.double())) < OUTPUT_ERROR


@pytest.mark.parametrize("repeated", [True, False])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("network", NETWORKS)
def test_training_gives_the_references_outputs_and_gradients(network, size, repeated):
    reference, ours = pair(network, size)
    plain = copy.deepcopy(reference).float()
    frames = gaze(size, repeated)
    outputs, gradients = [], []
    for model, inputs in ((reference, frames.double()), (ours, frames), (plain, frames)):
        torch.manual_seed(3)  # the same samples lose their branches
        outputs.append(model.train()(inputs))
        weights = torch.linspace(-1, 1, outputs[-1].numel(), dtype=torch.float64).view_as(outputs[-1])
        (outputs[-1].double().square() * weights).mean().backward()
        gradients.append({name: parameter.grad for name, parameter in model.named_parameters()})
    assert error(outputs[1], outputs[0]) < OUTPUT_ERROR
    exact, found, of_plain_layers = gradients
    for name in exact:
        # Of a bias before a normalisation most of the gradient cancels out, and plain layers reach 1e-4 as well.
        limit = max(GRADIENT_ERROR, 3 * error(of_plain_layers[name], exact[name]))
        assert error(found[name], exact[name]) < limit, name


def test_a_gradient_is_had_for_every_frame_repeated_or_not():
    reference, ours = pair("simvp", 32)
    frames = gaze(32, repeated=True)
    inputs = [frames.double().requires_grad_(), frames.clone().requires_grad_()]
    for model, given in zip((reference, ours), inputs):
        model.eval()(given).square().sum().backward()
    assert error(inputs[1].grad, inputs[0].grad) < GRADIENT_ERROR


def test_batches_of_one_agree_with_larger_ones():
    _, ours = pair("simvp", 32)
    frames = gaze(32, repeated=True)
    with torch.no_grad():
        torch.testing.assert_close(ours.eval()(frames[:1]), ours(frames)[:1])


@pytest.mark.parametrize("size", [32, 64])
def test_bfloat16_and_autocast_still_work(size):
    reference, ours = pair("simvp", size)
    frames = gaze(size, repeated=True)
    with torch.no_grad():
        exact = reference.eval()(frames.double())
        with torch.autocast("cpu", torch.bfloat16):
            assert error(ours.eval()(frames), exact) < 0.05
        assert error(ours.bfloat16()(frames.bfloat16()), exact) < 0.05


@pytest.mark.parametrize("size", [32, 64])
@pytest.mark.parametrize("network", NETWORKS)
def test_training_under_autocast_still_works(network, size):
    _, ours = pair(network, size)
    with torch.autocast("cpu", torch.bfloat16):
        output = ours.train()(gaze(size, repeated=True))
    output.float().square().mean().backward()
    assert all(parameter.grad.isfinite().all() for parameter in ours.parameters())


def test_several_networks_still_run_at_once_under_vmap():
    _, ours = pair("simvp", 32)
    _, other = pair("simvp", 32)
    other.load_state_dict({name: value * 0.9 for name, value in other.state_dict().items()})
    frames = gaze(32, repeated=True)
    weights = {
        name: torch.stack([value, other.state_dict()[name]])
        for name, value in ours.state_dict().items()
        if value.is_floating_point()
    }
    with torch.no_grad():
        both = torch.func.vmap(lambda state: torch.func.functional_call(ours.eval(), state, (frames,)))(weights)
        torch.testing.assert_close(both, torch.stack([ours(frames), other.eval()(frames)]), rtol=1e-4, atol=1e-4)


def test_gradients_of_several_networks_are_had_at_once():
    _, ours = pair("simvp", 32)
    frames = gaze(32, repeated=False)
    several = {name: torch.stack([value, 0.9 * value]).detach() for name, value in ours.named_parameters()}

    def loss(parameters):
        return torch.func.functional_call(ours.eval(), parameters, (frames,)).square().mean()

    together = torch.func.vmap(torch.func.grad(loss))(several)
    one_by_one = torch.func.grad(loss)({name: values[1] for name, values in several.items()})
    for name, gradient in one_by_one.items():
        torch.testing.assert_close(together[name][1], gradient, rtol=1e-3, atol=1e-4 * float(gradient.abs().max()))


# ---- the parts ----


@pytest.mark.parametrize(
    "kernel, dilation, size", [(7, 3, (8, 8)), (7, 3, (5, 9)), (5, 1, (4, 3)), (3, 2, (1, 1)), (3, 1, (9, 12))]
)
def test_a_convolution_of_positions_apart_is_the_convolution(kernel, dilation, size):
    torch.manual_seed(0)
    convolution = nn.Conv2d(2, 2, kernel, padding=dilation * (kernel // 2), dilation=dilation, groups=2).double()
    x = torch.randn(2, 2, *size, dtype=torch.float64, requires_grad=True)
    torch.testing.assert_close(convolve_apart(convolution, x), convolution(x))

    def of(x, weight, bias):
        return torch.func.functional_call(Apart(convolution), dict(weight=weight, bias=bias), x)

    assert torch.autograd.gradcheck(of, (x, convolution.weight, convolution.bias))


class Apart(nn.Conv2d):
    """A convolution whose forward is `convolve_apart`."""

    def __init__(self, like):
        super().__init__(
            like.in_channels,
            like.out_channels,
            like.kernel_size,
            padding=like.padding,
            dilation=like.dilation,
            groups=like.groups,
            dtype=torch.float64,
        )

    def forward(self, x):
        return convolve_apart(self, x)


@pytest.mark.parametrize("repeated, encoded", [(True, 8), (False, 12)])
def test_every_distinct_frame_is_encoded_once(repeated, encoded):
    torch.manual_seed(0)
    encoder, frames = Encoder(1, 4, 2, 3), gaze(16, repeated)
    latent, skip, which = encode_distinct(encoder, frames)
    every_latent, every_skip = encoder(frames.flatten(0, 1))
    assert len(skip) == encoded
    torch.testing.assert_close(latent.flatten(0, 1), every_latent)
    torch.testing.assert_close(skip[which.flatten()] if repeated else skip, every_skip)
    assert (which is not None) == repeated


def test_the_optimiser_is_adam():
    torch.manual_seed(0)
    ours, plain = nn.Linear(5, 3), nn.Linear(5, 3)
    plain.load_state_dict(ours.state_dict())
    optimisers = (make_optimiser(ours, 1e-2, 1e-1), torch.optim.Adam(plain.parameters(), lr=1e-2, weight_decay=1e-1))
    for step in range(20):
        for model, optimiser in zip((ours, plain), optimisers):
            optimiser.zero_grad()
            model(torch.ones(2, 5) * step).square().sum().backward()
            optimiser.step()
    torch.testing.assert_close(ours.state_dict(), plain.state_dict())


# Tensors that the C library maps and unmaps one by one unless told otherwise: it always does above 32 MB.
TENSORS, TENSOR_MB, STEPS = 2, 40, 10
STEPS_OF_LARGE_TENSORS = f"""
import resource, torch
from fixlib.system import keep_freed_memory
def step():
    return [torch.ones({TENSOR_MB} * 2**18) for _ in range({TENSORS})]
FIRST
for _ in range(20):
    step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range({STEPS}):
    step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(not keep_freed_memory(), reason="the C library is not glibc")
def test_freed_memory_is_used_again_without_page_faults():
    def faults(first):
        script = STEPS_OF_LARGE_TENSORS.replace("FIRST", first)
        found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
        return int(found.stdout)

    pages = STEPS * TENSORS * TENSOR_MB * 2**20 // resource.getpagesize()
    assert faults("keep_freed_memory()") < pages / 100 < faults("")
