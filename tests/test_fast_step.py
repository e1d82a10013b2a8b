"""What makes the step fast changes nothing: outputs and gradients are those of the plain network in float64."""

import copy
import resource
import subprocess
import sys

import pytest
import torch
from torch import nn

from fixlib.models import SimVP, SimVP_RegressionHead, accelerate
from fixlib.models.fast import WideDepthwise
from fixlib.system import keep_freed_memory

# Maps of 8 x 8, 16 x 16 and 32 x 32.
SIZES = (32, 64, 128)
OUTPUT_ERROR, GRADIENT_ERROR = 1e-5, 1e-4
NETWORKS = {"simvp": SimVP, "hybrid": SimVP_RegressionHead}


def pair(network, size, **options):
    """The plain network and the accelerated one, with the same weights, far from their initial values: a branch scaled
    by 0.01 would hide its errors."""
    torch.manual_seed(1)
    plain = NETWORKS[network](in_shape=(3, 1, size, size), hid_S=8, hid_T=16, N_S=4, N_T=3, drop_path=0.5, **options)
    for name, value in plain.state_dict().items():
        if value.is_floating_point():
            value.add_((torch.rand_like(value) - 0.5) * (2.0 if "layer_scale" in name else 0.2))
    return plain, accelerate(copy.deepcopy(plain))


def gaze(size, repeated=True, batch=4, length=3):
    """One white pixel a frame; where `repeated`, the second frame equals the first."""
    torch.manual_seed(2)
    pixels = torch.randperm(size * size)[: batch * length].view(batch, length)
    if repeated:
        pixels[:, 1] = pixels[:, 0]
    return nn.functional.one_hot(pixels, size * size).float().view(batch, length, 1, size, size)


def error(found, exact):
    found, exact = found.detach().double(), exact.detach()
    return float((found - exact).norm() / exact.norm())


def test_weights_and_their_names_stay():
    plain, fast = pair("simvp", 32)
    assert list(fast.state_dict()) == list(plain.state_dict())
    assert repr(plain) != repr(fast)


@pytest.mark.parametrize("network, option", [("simvp", dict(skip="newest")), ("hybrid", dict(target="displacement"))])
def test_other_options_give_the_plain_outputs(network, option):
    plain, fast = pair(network, 32, **option)
    with torch.no_grad():
        exact = plain.double().eval()(gaze(32).double())
        assert error(fast.eval()(gaze(32)), exact) < OUTPUT_ERROR


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("network", NETWORKS)
def test_evaluation_gives_the_plain_outputs(network, size):
    plain, fast = pair(network, size)
    with torch.no_grad():
        exact = plain.double().eval()(gaze(size).double())
        assert error(fast.eval()(gaze(size)), exact) < OUTPUT_ERROR


@pytest.mark.parametrize("repeated", [True, False])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("network", NETWORKS)
def test_training_gives_the_plain_outputs_and_gradients(network, size, repeated):
    plain, fast = pair(network, size)
    frames = gaze(size, repeated)
    outputs, gradients = [], []
    for model, inputs in ((copy.deepcopy(plain).double(), frames.double()), (fast, frames), (plain, frames)):
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


def test_a_gradient_is_had_for_every_frame():
    plain, fast = pair("simvp", 32)
    inputs = [gaze(32).double().requires_grad_(), gaze(32).requires_grad_()]
    for model, given in zip((plain.double(), fast), inputs):
        model.eval()(given).square().sum().backward()
    assert error(inputs[1].grad, inputs[0].grad) < GRADIENT_ERROR


@pytest.mark.parametrize("size", [32, 64])
@pytest.mark.parametrize("network", NETWORKS)
def test_in_bfloat16_it_is_as_near_as_the_plain_network(network, size):
    plain, fast = pair(network, size)
    exact, errors = copy.deepcopy(plain).double().eval()(gaze(size).double()), []
    for model in (plain, fast):
        with torch.autocast("cpu", torch.bfloat16):
            output = model.eval()(gaze(size))
        errors.append(error(output, exact))
        with torch.autocast("cpu", torch.bfloat16):
            output = model.train()(gaze(size))
        output.float().square().mean().backward()
        assert all(parameter.grad.isfinite().all() for parameter in model.parameters())
    assert errors[1] < max(0.02, 1.5 * errors[0])


@pytest.mark.parametrize("kernel, dilation, size", [(7, 3, (8, 8)), (7, 3, (5, 9)), (3, 2, (1, 1)), (3, 2, (20, 23))])
def test_a_convolution_of_positions_apart_is_the_convolution(kernel, dilation, size):
    torch.manual_seed(0)
    convolution = nn.Conv2d(2, 2, kernel, padding=dilation * (kernel // 2), dilation=dilation, groups=2).double()
    fast = accelerate(copy.deepcopy(convolution))
    assert type(fast) is WideDepthwise
    x = torch.randn(2, 2, *size, dtype=torch.float64, requires_grad=True)
    torch.testing.assert_close(fast(x), convolution(x))

    def of(x, weight, bias):
        return torch.func.functional_call(fast, dict(weight=weight, bias=bias), x)

    assert torch.autograd.gradcheck(of, (x, fast.weight, fast.bias))


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(4, 6, 1, stride=2),
        nn.Conv2d(4, 6, 1, padding=1),
        nn.Conv2d(4, 6, 1, bias=False),
        nn.Conv2d(4, 4, 3, dilation=2, groups=4),
        nn.Conv2d(4, 4, 3, dilation=(2, 3), padding=(2, 3), groups=4),
        nn.Conv2d(4, 4, 3, dilation=2, padding=2, groups=4, padding_mode="circular"),
        nn.Conv2d(4, 4, 3, dilation=2, padding=2, groups=4, bias=False),
        nn.Conv2d(4, 8, 3, padding=1, groups=4),
        nn.Conv2d(4, 4, 4, padding="same", groups=4),
        nn.BatchNorm2d(4, affine=False, track_running_stats=False),
        nn.PixelShuffle(2),
    ],
)
@pytest.mark.parametrize("bfloat16", [False, True])
def test_layers_of_other_networks_give_what_they_gave(layer, bfloat16):
    x = torch.randn(2, 4, 8, 8)
    with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
        plain, fast = layer(x), accelerate(copy.deepcopy(layer))(x)
    torch.testing.assert_close(fast, plain)


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
