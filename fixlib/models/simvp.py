"""SimVP with the gSTA translator, laid out as published so that checkpoints load both ways.

Sources: Gao et al. 2022 (SimVP, CVPR) for encoder and decoder; Tan et al. 2022 (arXiv 2211.12509) for the
gated spatiotemporal attention of the translator; OpenSTL for parameter names and initialisation.

    model = SimVP(in_shape=(10, 1, 32, 32), hid_S=16, hid_T=64)
    logits = model(frames)                    # (B, 10, 1, 32, 32) -> (B, 10, 1, 32, 32)
"""

import inspect
import math

import torch
from torch import Tensor, nn

from fixlib.models.layers import ShuffleOut, channels_last, convolve_apart, mix_channels, normalise

MISSION = dict(in_shape=(10, 1, 32, 32), hid_S=64, hid_T=256, N_S=4, N_T=8)

# The attention's 21 x 21 field of view: a 5 x 5 depthwise convolution, then 7 x 7 spread out by 3.
LOCAL_KERNEL, WIDE_KERNEL, WIDE_DILATION = 5, 7, 3
FIRST_DROP_PATH = 0.01
LAYER_SCALE = 0.01


class ConvNormSiLU(nn.Module):
    """3x3 convolution (after which pixels are shuffled out where `up`), GroupNorm of 2 groups, SiLU."""

    def __init__(self, channels_in: int, channels_out: int, kernel: int, down=False, up=False):
        super().__init__()
        convolution = nn.Conv2d(
            channels_in, channels_out * (4 if up else 1), kernel, stride=2 if down else 1, padding=kernel // 2
        )
        nn.init.trunc_normal_(convolution.weight, std=0.02)
        nn.init.zeros_(convolution.bias)
        self.conv = nn.Sequential(convolution, ShuffleOut()) if up else convolution
        self.norm = nn.GroupNorm(2, channels_out)

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.silu(self.norm(self.conv(x)))


class SpatialBlock(nn.Module):
    """One step of encoder or decoder. Adds nothing but the level `conv` of the published parameter names."""

    def __init__(self, *args, **options):
        super().__init__()
        self.conv = ConvNormSiLU(*args, **options)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)


class Encoder(nn.Module):
    """Frames one by one, (N, C, H, W) -> latent (N, hid_S, h, w) and skip (N, hid_S, H, W)."""

    def __init__(self, channels: int, hid_S: int, N_S: int, kernel: int):
        super().__init__()
        widths = [channels] + [hid_S] * (N_S - 1)
        self.enc = nn.Sequential(
            *(SpatialBlock(width, hid_S, kernel, down=i % 2 == 1) for i, width in enumerate(widths))
        )

    def forward(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        skip = self.enc[0](frames)
        return self.enc[1:](skip), skip


def encode_distinct(encoder: Encoder, frames: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
    """Encode each distinct frame of (B, T, C, H, W) once: latent (B, T, hid_S, h, w), skip (N, hid_S, H, W), and which
    skip (B, T) is whose (None: one each, in order).

    Gaze rests: of frames 100 ms apart more than half equal the one before. Repetitions are not looked for on a GPU,
    which would have to wait for the answer, nor where a gradient is wanted for every frame.
    """
    B, T = frames.shape[:2]
    frames, which = frames.flatten(0, 1), None
    if frames.device.type == "cpu" and not frames.requires_grad:
        distinct, found = frames.unique(dim=0, return_inverse=True)
        if len(distinct) < len(frames):
            frames, which = distinct, found
    latent, skip = encoder(frames)
    if which is None:
        return latent.unflatten(0, (B, T)), skip, None
    return latent.index_select(0, which).unflatten(0, (B, T)), skip, which.view(B, T)


class Decoder(nn.Module):
    """The encoder's mirror image, latents (N, hid_S, h, w) and skips -> logits (N, out_channels, H, W).

    `which` (N) says which of the skips belongs to each latent, where there are fewer.
    """

    def __init__(self, hid_S: int, out_channels: int, N_S: int, kernel: int):
        super().__init__()
        self.dec = nn.Sequential(*(SpatialBlock(hid_S, hid_S, kernel, up=i % 2 == 0) for i in range(N_S)))
        self.readout = nn.Conv2d(hid_S, out_channels, 1)

    def forward(self, latent: Tensor, skip: Tensor, which: Tensor | None = None) -> Tensor:
        x = self.dec[:-1](latent)
        # Repeated only here, so that the copies do not wait in memory.
        x = x + (skip if which is None else skip.index_select(0, which))
        return self.readout(self.dec[-1](x))


class StochasticDepth(nn.Module):
    """In training, drops the branch of a whole sample with `probability` and scales up the others."""

    def __init__(self, probability: float):
        super().__init__()
        self.probability = probability

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.probability == 0:
            return x
        keep = 1 - self.probability
        return x * x.new_empty(len(x), 1, 1, 1).bernoulli_(keep).div_(keep)


class Gate(nn.Module):
    """f * sigmoid(g), both looking at 21 x 21 positions of their own channel and then mixing channels."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv0 = nn.Conv2d(channels, channels, LOCAL_KERNEL, padding=LOCAL_KERNEL // 2, groups=channels)
        self.conv_spatial = nn.Conv2d(
            channels,
            channels,
            WIDE_KERNEL,
            padding=WIDE_DILATION * (WIDE_KERNEL // 2),
            dilation=WIDE_DILATION,
            groups=channels,
        )
        self.conv1 = nn.Conv2d(channels, 2 * channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        f, g = mix_channels(self.conv1, self._look_wide(self.conv0(x))).chunk(2, dim=1)
        return f * torch.sigmoid(g)

    def _look_wide(self, x: Tensor) -> Tensor:
        if x.device.type == "cpu":  # where PyTorch's dilated depthwise convolutions are slow
            return convolve_apart(self.conv_spatial, x)
        return channels_last(self.conv_spatial(x.contiguous()))


class GatedAttention(nn.Module):
    """1x1, GELU, gate, 1x1, plus its own input."""

    def __init__(self, channels: int):
        super().__init__()
        self.proj_1 = nn.Conv2d(channels, channels, 1)
        self.spatial_gating_unit = Gate(channels)
        self.proj_2 = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        gated = self.spatial_gating_unit(nn.functional.gelu(mix_channels(self.proj_1, x)))
        return x + mix_channels(self.proj_2, gated)


class DepthwiseConv(nn.Module):
    """3x3 within each channel. Adds nothing but the level `dwconv` of the published parameter names."""

    def __init__(self, channels: int):
        super().__init__()
        self.dwconv = nn.Conv2d(channels, channels, 3, padding=1, groups=channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.dwconv(x)


class ConvMLP(nn.Module):
    """1x1 to the wide layer, 3x3 depthwise, GELU, 1x1 back; dropout after either."""

    def __init__(self, channels: int, wide: int, drop: float):
        super().__init__()
        self.fc1 = nn.Conv2d(channels, wide, 1)
        self.dwconv = DepthwiseConv(wide)
        self.fc2 = nn.Conv2d(wide, channels, 1)
        self.drop = nn.Dropout(drop)

    def forward(self, x: Tensor) -> Tensor:
        wide = self.drop(nn.functional.gelu(self.dwconv(mix_channels(self.fc1, x))))
        return self.drop(mix_channels(self.fc2, wide))


class GatedBlock(nn.Module):
    """x + scale_1 * attention(BatchNorm(x)), then x + scale_2 * MLP(BatchNorm(x))."""

    def __init__(self, channels: int, mlp_ratio: float, drop: float, drop_path: float):
        super().__init__()
        self.layer_scale_1 = nn.Parameter(torch.full((channels,), LAYER_SCALE))
        self.layer_scale_2 = nn.Parameter(torch.full((channels,), LAYER_SCALE))
        self.norm1 = nn.BatchNorm2d(channels)
        self.attn = GatedAttention(channels)
        self.norm2 = nn.BatchNorm2d(channels)
        self.mlp = ConvMLP(channels, int(channels * mlp_ratio), drop)
        self.drop_path = StochasticDepth(drop_path)
        self.apply(_normal_by_fan_out)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.drop_path(self.layer_scale_1[:, None, None] * self.attn(normalise(self.norm1, x)))
        return x + self.drop_path(self.layer_scale_2[:, None, None] * self.mlp(normalise(self.norm2, x)))


def _normal_by_fan_out(module: nn.Module) -> None:
    """Variance 2 / fan-out (He et al. 2015), the fan-out of a grouped convolution being that of one group."""
    if isinstance(module, nn.Conv2d):
        fan_out = math.prod(module.kernel_size) * module.out_channels // module.groups
        nn.init.normal_(module.weight, std=math.sqrt(2 / fan_out))
        nn.init.zeros_(module.bias)


class TranslatorBlock(nn.Module):
    """A gated block and, where the two widths differ, a 1x1 convolution from one to the other."""

    def __init__(self, channels_in: int, channels_out: int, mlp_ratio: float, drop: float, drop_path: float):
        super().__init__()
        self.block = GatedBlock(channels_in, mlp_ratio, drop, drop_path)
        self.has_reduction = channels_in != channels_out
        if self.has_reduction:
            self.reduction = nn.Conv2d(channels_in, channels_out, 1)

    def forward(self, x: Tensor, outputs: slice = slice(None)) -> Tensor:
        x = self.block(x)
        return mix_channels(self.reduction, x, outputs) if self.has_reduction else x[:, outputs]


class Translator(nn.Module):
    """Mixes time: (B, T, hid_S, h, w) -> the same shape, frames stacked as T * hid_S channels in between.

    Of the T time steps of the output only `steps` are computed where not all are wanted.
    """

    def __init__(self, channels: int, hid_T: int, N_T: int, mlp_ratio: float, drop: float, drop_path: float):
        super().__init__()
        widths = [channels] + [hid_T] * (N_T - 1) + [channels]
        # Not zero at the first block even for drop_path = 0: so published, so kept.
        drops = [FIRST_DROP_PATH + (drop_path - FIRST_DROP_PATH) * i / (N_T - 1) for i in range(N_T)]
        self.enc = nn.Sequential(
            *(TranslatorBlock(a, b, mlp_ratio, drop, p) for a, b, p in zip(widths, widths[1:], drops))
        )

    def forward(self, latent: Tensor, steps: slice = slice(None)) -> Tensor:
        T, hid_S = latent.shape[1:3]
        first, last, _ = steps.indices(T)
        stacked = channels_last(latent.flatten(1, 2))  # as `mix_channels` wants it
        translated = self.enc[-1](self.enc[:-1](stacked), slice(first * hid_S, last * hid_S))
        return translated.unflatten(1, (last - first, hid_S))


class SimVP(nn.Module):
    """Video prediction: the frames that follow, as logits (p = sigmoid(logit)).

    `in_shape` is (T, C, H, W). The first nine options mean what they mean in OpenSTL's `SimVP_Model`, whose
    state_dict keys and shapes these are. Beyond it:

    out_frames: frames wanted, T by default. Fewer: the translator runs once and the first `out_frames` alone
        are decoded (the skip of output frame k is that of input frame k). More: the probabilities of all T
        predicted frames are fed back as input until there are enough.
    out_channels: channels of the output, C by default; feeding back needs them equal.
    prior_probability: pi in (0, 1); the readout's bias starts at logit(pi), so that a rare white pixel is
        expected to be rare from the first step (Lin et al. 2017, section 4.1).

    Initialisation is the published one: translator blocks normal with variance 2 / fan-out, encoder and
    decoder truncated normal with std 0.02, biases 0; the readout and the translator's 1x1 reductions keep
    PyTorch's default. Training draws random numbers (stochastic depth), evaluation none.

    Raises ValueError for an option that does not fit, and in `forward` for frames of another shape.
    """

    def __init__(
        self,
        in_shape: tuple[int, int, int, int],
        hid_S: int = 16,
        hid_T: int = 256,
        N_S: int = 4,
        N_T: int = 4,
        model_type: str = "gSTA",
        mlp_ratio: float = 8.0,
        drop: float = 0.0,
        drop_path: float = 0.0,
        spatio_kernel_enc: int = 3,
        spatio_kernel_dec: int = 3,
        out_frames: int | None = None,
        out_channels: int | None = None,
        prior_probability: float | None = None,
    ):
        super().__init__()
        kernels = spatio_kernel_enc, spatio_kernel_dec
        check_architecture(in_shape, hid_S, hid_T, N_S, N_T, model_type, drop, drop_path, *kernels)
        T, C = in_shape[:2]
        self.in_shape = tuple(in_shape)
        self.out_frames = T if out_frames is None else out_frames
        self.out_channels = C if out_channels is None else out_channels
        self._check_output(prior_probability)
        self.enc = Encoder(C, hid_S, N_S, spatio_kernel_enc)
        self.dec = Decoder(hid_S, self.out_channels, N_S, spatio_kernel_dec)
        self.hid = Translator(T * hid_S, hid_T, N_T, mlp_ratio, drop, drop_path)
        if prior_probability is not None:
            nn.init.constant_(self.dec.readout.bias, math.log(prior_probability / (1 - prior_probability)))

    def _check_output(self, prior_probability: float | None) -> None:
        T, C = self.in_shape[:2]
        if self.out_frames < 1 or self.out_channels < 1:
            raise ValueError(
                f"out_frames and out_channels must be at least 1, got {self.out_frames} and {self.out_channels}"
            )
        if self.out_frames > T and self.out_channels != C:
            raise ValueError(
                f"out_frames={self.out_frames} exceeds the {T} input frames, so predictions are fed back as "
                f"input, which needs out_channels equal to the input's {C}, got {self.out_channels}"
            )
        if prior_probability is not None and not 0 < prior_probability < 1:
            raise ValueError(f"prior_probability must lie between 0 and 1, got {prior_probability}")

    def forward(self, frames: Tensor) -> Tensor:
        """(B, T, C, H, W) -> logits (B, out_frames, out_channels, H, W)."""
        check_frames(frames, self.in_shape)
        T = self.in_shape[0]
        predicted = [self._predict(frames, min(self.out_frames, T))]
        for done in range(T, self.out_frames, T):
            frames = torch.sigmoid(predicted[-1])
            predicted.append(self._predict(frames, min(self.out_frames - done, T)))
        return torch.cat(predicted, dim=1)

    def _predict(self, frames: Tensor, count: int) -> Tensor:
        """The first `count` of the T frames that follow `frames`."""
        B, T = frames.shape[:2]
        latent, skip, which = encode_distinct(self.enc, frames)
        translated = self.hid(latent, slice(count)).flatten(0, 1)
        if which is None:
            logits = self.dec(translated, skip.unflatten(0, (B, T))[:, :count].flatten(0, 1))
        else:
            logits = self.dec(translated, skip, which[:, :count].flatten())
        return logits.unflatten(0, (B, count))


def check_architecture(in_shape, hid_S, hid_T, N_S, N_T, model_type, drop, drop_path, *kernels) -> None:
    """ValueError naming the first option that cannot be built, and what would do."""
    if len(in_shape) != 4 or min(in_shape) < 1:
        raise ValueError(f"in_shape must be (frames, channels, height, width), each at least 1, got {in_shape}")
    if not isinstance(model_type, str) or model_type.lower() != "gsta":
        raise ValueError(f"model_type {model_type!r} is not available, only 'gSTA' is")
    if N_S < 2 or N_S % 2:
        raise ValueError(f"N_S must be even and at least 2 (every second block halves the size), got {N_S}")
    if N_T < 2:
        raise ValueError(f"N_T must be at least 2 (one block in, one block out), got {N_T}")
    if hid_S < 2 or hid_S % 2:
        raise ValueError(f"hid_S must be even and at least 2 (GroupNorm has two groups), got {hid_S}")
    if not 0 <= drop_path < 1 or not 0 <= drop < 1:
        raise ValueError(f"drop and drop_path must lie in [0, 1), got {drop} and {drop_path}")
    if hid_T < 1:
        raise ValueError(f"hid_T must be at least 1, got {hid_T}")
    if any(kernel < 1 or kernel % 2 == 0 for kernel in kernels):
        raise ValueError(f"spatial kernels must be odd so that they keep the size, got {kernels}")
    shrink = 2 ** (N_S // 2)
    height, width = in_shape[2:]
    if height % shrink or width % shrink:
        raise ValueError(
            f"frames of {height} x {width} cannot be halved {N_S // 2} times: with N_S={N_S}, height and "
            f"width must be multiples of {shrink}"
        )


def check_frames(frames: Tensor, in_shape: tuple[int, ...]) -> None:
    """ValueError unless `frames` is (B, *in_shape)."""
    if frames.dim() != 5 or tuple(frames.shape[1:]) != in_shape:
        expected = ", ".join(map(str, in_shape))
        raise ValueError(
            f"expected frames of shape (batch, {expected}) = (batch, frames, channels, height, width), "
            f"got {tuple(frames.shape)}; cut the windows to {in_shape[0]} input frames or build the model "
            f"with in_shape={tuple(frames.shape[1:])}"
        )


def create_model(**options) -> SimVP:
    """The mission's SimVP, (B, 10, 1, 32, 32) -> logits of the same shape; `options` override its settings.

    Raises TypeError for an option that SimVP does not have, naming those that it has.
    """
    known = list(inspect.signature(SimVP).parameters)
    unknown = [name for name in options if name not in known]
    if unknown:
        raise TypeError(f"create_model() has no option {', '.join(unknown)}; options are {', '.join(known)}")
    return SimVP(**(MISSION | options))


def count_parameters(module: nn.Module) -> int:
    """Number of trainable values in `module`."""
    return sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)
