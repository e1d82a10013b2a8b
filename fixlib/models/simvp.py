"""SimVP with the gSTA translator, and the hybrid that regresses a point, as published and in plain PyTorch.

Sources: Gao et al. 2022 (SimVP, CVPR) for encoder and decoder; Tan et al. 2022 (arXiv 2211.12509) for the gated
spatiotemporal attention of the translator; OpenSTL for parameter names and initialisation, so that checkpoints load
both ways. `fixlib.models.accelerate` makes the same networks fast.

    model = SimVP(in_shape=(10, 1, 32, 32), hid_S=16, hid_T=64)
    logits = model(frames)                    # (B, 10, 1, 32, 32) -> (B, 10, 1, 32, 32)
"""

import inspect
import math
from collections import OrderedDict
from typing import Any, Self

import torch
from torch import Tensor, nn

from fixlib.grid import pixel_center
from fixlib.models.registry import NETWORKS

Shape = tuple[int, int, int, int]  # frames, channels, height, width

MISSION: dict[str, Any] = dict(in_shape=(10, 1, 32, 32), hid_S=64, hid_T=256, N_S=4, N_T=8)


def named(**layers: nn.Module) -> nn.Sequential:
    """One layer after the other, under these names: levels of the published parameter names."""
    return nn.Sequential(OrderedDict(layers))


class ConvNormSiLU(nn.Module):
    """3x3 convolution (of stride 2 to halve the map, followed by a pixel shuffle to double it), GroupNorm, SiLU."""

    def __init__(self, channels_in: int, channels_out: int, kernel: int, down: bool = False, up: bool = False):
        super().__init__()
        if kernel < 1 or kernel % 2 == 0:
            raise ValueError(f"spatial kernels must be odd so that they keep the size, got {kernel}")
        wide = channels_out * 4 if up else channels_out
        convolution = nn.Conv2d(channels_in, wide, kernel, stride=2 if down else 1, padding=kernel // 2)
        nn.init.trunc_normal_(convolution.weight, std=0.02)
        nn.init.zeros_(convolution.get_parameter("bias"))
        self.conv = nn.Sequential(convolution, nn.PixelShuffle(2)) if up else convolution
        self.norm = nn.GroupNorm(2, channels_out)
        self.act = nn.SiLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.norm(self.conv(x)))


class Encoder(nn.Module):
    """Frames one by one; every second block halves the map."""

    def __init__(self, channels: int, hid_S: int, N_S: int, kernel: int):
        super().__init__()
        if hid_S < 2 or hid_S % 2:
            raise ValueError(f"hid_S must be even and at least 2 (GroupNorm has two groups), got {hid_S}")
        widths = [channels] + [hid_S] * (N_S - 1)
        blocks = (ConvNormSiLU(width, hid_S, kernel, down=i % 2 == 1) for i, width in enumerate(widths))
        self.enc = nn.Sequential(*(named(conv=block) for block in blocks))

    def forward(self, frames: Tensor) -> tuple[Tensor, Tensor]:  # (N, C, H, W)
        skip = self.enc[0](frames)  # (N, hid_S, H, W)
        return self.enc[1:](skip), skip  # (N, hid_S, H/4, W/4) for N_S = 4


class Decoder(nn.Module):
    """The encoder's mirror image; the first block's map is added before the last block."""

    def __init__(self, hid_S: int, out_channels: int, N_S: int, kernel: int):
        super().__init__()
        blocks = (ConvNormSiLU(hid_S, hid_S, kernel, up=i % 2 == 0) for i in range(N_S))
        self.dec = nn.Sequential(*(named(conv=block) for block in blocks))
        self.readout = nn.Conv2d(hid_S, out_channels, 1)

    def forward(self, latent: Tensor, skip: Tensor) -> Tensor:  # (N, hid_S, H/4, W/4), (N, hid_S, H, W)
        x = self.dec[:-1](latent) + skip  # (N, hid_S, H, W)
        return self.readout(self.dec[-1](x))  # (N, out_channels, H, W)


class DropPath(nn.Module):
    """Stochastic depth: in training, drops the branch of a whole sample with `probability`, scales up the others."""

    def __init__(self, probability: float):
        super().__init__()
        self.probability = probability

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.probability == 0:
            return x
        keep = 1 - self.probability
        return x * x.new_empty(len(x), 1, 1, 1).bernoulli_(keep).div_(keep)


class SpatialGatingUnit(nn.Module):
    """f * sigmoid(g), both looking at 21 x 21 positions of their channel (5x5, then 7x7 spread by 3), then mixing."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv0 = nn.Conv2d(channels, channels, 5, padding=2, groups=channels)
        self.conv_spatial = nn.Conv2d(channels, channels, 7, padding=9, dilation=3, groups=channels)
        self.conv1 = nn.Conv2d(channels, 2 * channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        f, g = self.conv1(self.conv_spatial(self.conv0(x))).chunk(2, dim=1)
        return f * torch.sigmoid(g)


class Attention(nn.Module):
    """1x1, GELU, gate, 1x1, plus its own input."""

    def __init__(self, channels: int):
        super().__init__()
        self.proj_1 = nn.Conv2d(channels, channels, 1)
        self.activation = nn.GELU()
        self.spatial_gating_unit = SpatialGatingUnit(channels)
        self.proj_2 = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.proj_2(self.spatial_gating_unit(self.activation(self.proj_1(x))))


class MixMlp(nn.Module):
    """1x1 to the wide layer, 3x3 depthwise, GELU, 1x1 back; dropout after either."""

    def __init__(self, channels: int, wide: int, drop: float):
        super().__init__()
        self.fc1 = nn.Conv2d(channels, wide, 1)
        self.dwconv = named(dwconv=nn.Conv2d(wide, wide, 3, padding=1, groups=wide))
        self.act = nn.GELU()
        self.fc2 = nn.Conv2d(wide, channels, 1)
        self.drop = nn.Dropout(drop)

    def forward(self, x: Tensor) -> Tensor:
        x = self.drop(self.act(self.dwconv(self.fc1(x))))
        return self.drop(self.fc2(x))


class GASubBlock(nn.Module):
    """x + scale_1 * attention(BatchNorm(x)), then x + scale_2 * MLP(BatchNorm(x))."""

    def __init__(self, channels: int, mlp_ratio: float, drop: float, drop_path: float):
        super().__init__()
        self.layer_scale_1 = nn.Parameter(torch.full((channels,), 0.01))
        self.layer_scale_2 = nn.Parameter(torch.full((channels,), 0.01))
        self.norm1 = nn.BatchNorm2d(channels)
        self.attn = Attention(channels)
        self.norm2 = nn.BatchNorm2d(channels)
        self.mlp = MixMlp(channels, int(channels * mlp_ratio), drop)
        self.drop_path = DropPath(drop_path)
        self.apply(_normal_by_fan_out)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.drop_path(self.layer_scale_1[:, None, None] * self.attn(self.norm1(x)))
        return x + self.drop_path(self.layer_scale_2[:, None, None] * self.mlp(self.norm2(x)))


def _normal_by_fan_out(module: nn.Module) -> None:
    """Variance 2 / fan-out (He et al. 2015), the fan-out of a grouped convolution being that of one group."""
    if isinstance(module, nn.Conv2d):
        fan_out = math.prod(module.kernel_size) * module.out_channels // module.groups
        nn.init.normal_(module.weight, std=math.sqrt(2 / fan_out))
        nn.init.zeros_(module.get_parameter("bias"))


def meta_block(channels_in: int, channels_out: int, *options) -> nn.Module:
    """A gated block and, where the two widths differ, a 1x1 convolution from one to the other."""
    block = GASubBlock(channels_in, *options)
    if channels_in == channels_out:
        return named(block=block)
    return named(block=block, reduction=nn.Conv2d(channels_in, channels_out, 1))


class MidMetaNet(nn.Module):
    """The translator: mixes time, the frames stacked as channels."""

    def __init__(self, channels: int, hid_T: int, N_T: int, model_type="gSTA", mlp_ratio=8.0, drop=0.0, drop_path=0.0):
        super().__init__()
        if str(model_type).lower() != "gsta":
            raise ValueError(f"model_type {model_type!r} is not available, only 'gSTA' is")
        if N_T < 2:
            raise ValueError(f"N_T must be at least 2 (one block in, one block out), got {N_T}")
        if hid_T < 1:
            raise ValueError(f"hid_T must be at least 1, got {hid_T}")
        if not 0 <= drop_path < 1 or not 0 <= drop < 1:
            raise ValueError(f"drop and drop_path must lie in [0, 1), got {drop} and {drop_path}")
        widths = [channels] + [hid_T] * (N_T - 1) + [channels]
        # Not zero at the first block even for drop_path = 0: so published, so kept.
        drops = [0.01 + (drop_path - 0.01) * i / (N_T - 1) for i in range(N_T)]
        self.enc = nn.Sequential(*(meta_block(a, b, mlp_ratio, drop, p) for a, b, p in zip(widths, widths[1:], drops)))

    def forward(self, latent: Tensor) -> Tensor:  # (B, T, hid_S, h, w)
        translated = self.enc(latent.flatten(1, 2))  # (B, T * hid_S, h, w)
        return translated.view_as(latent)


@NETWORKS.register("simvp")
class SimVP(nn.Module):
    """Video prediction: the frames that follow, as logits (p = sigmoid(logit)).

    `in_shape` is (T, C, H, W). Options mean what they mean in OpenSTL's `SimVP_Model`, whose state_dict keys, shapes
    and initialisation these are. Beyond it:

    out_frames: frames wanted, T by default. Of fewer, the first alone are decoded (the skip of output frame k is that
        of input frame k). For more, the probabilities of all T predicted frames are fed back as input.
    out_channels: channels of the output, C by default; feeding back needs them equal.
    prior_probability: pi in (0, 1); the readout's bias starts at logit(pi), so that a rare white pixel is
        expected to be rare from the first step (Lin et al. 2017, section 4.1).
    skip: whose map output frame k is given past the translator: "same", as published, that of input frame k; "newest"
        that of the newest input frame, for all k.

    Training draws random numbers (stochastic depth), evaluation none. Raises ValueError for an option that does not
    fit, and in `forward` for frames of another shape.
    """

    inputs, targets = "frames", "frames"

    def __init__(
        self,
        in_shape: Shape,
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
        skip: str = "same",
    ):
        super().__init__()
        self.in_shape = T, C, _, _ = _checked(in_shape, N_S)
        self.skip = _one_of("skip", skip, ("same", "newest"))
        self.out_frames = count = T if out_frames is None else out_frames
        self.out_channels = channels = C if out_channels is None else out_channels
        if count < 1 or channels < 1:
            raise ValueError(f"out_frames and out_channels must be at least 1, got {count} and {channels}")
        if count > T and channels != C:
            why = f"out_frames={count} exceeds the {T} input frames: predictions are fed back as input"
            raise ValueError(f"{why}, which needs out_channels equal to the input's {C}, got {channels}")
        self.enc = Encoder(C, hid_S, N_S, spatio_kernel_enc)
        self.dec = Decoder(hid_S, channels, N_S, spatio_kernel_dec)
        self.hid = MidMetaNet(T * hid_S, hid_T, N_T, model_type, mlp_ratio, drop, drop_path)
        if prior_probability is not None:
            if not 0 < prior_probability < 1:
                raise ValueError(f"prior_probability must lie between 0 and 1, got {prior_probability}")
            logit = math.log(prior_probability / (1 - prior_probability))
            nn.init.constant_(self.dec.readout.get_parameter("bias"), logit)

    @classmethod
    def for_task(cls, n_in: int, n_out: int, size: int, **options) -> Self:
        return cls((n_in, 1, size, size), out_frames=n_out, **options)

    def forward(self, frames: Tensor) -> Tensor:
        """(B, T, C, H, W) -> logits (B, out_frames, out_channels, H, W)."""
        _check_frames(frames, self.in_shape)
        T = self.in_shape[0]
        predicted = [self._predict(frames, min(self.out_frames, T))]
        for done in range(T, self.out_frames, T):
            frames = torch.sigmoid(predicted[-1])
            predicted.append(self._predict(frames, min(self.out_frames - done, T)))
        return torch.cat(predicted, dim=1)

    def _predict(self, frames: Tensor, count: int) -> Tensor:
        """The first `count` of the T frames that follow `frames`."""
        B, T = frames.shape[:2]
        latent, skip = self.enc(frames.flatten(0, 1))  # each frame by itself
        translated = self.hid(latent.unflatten(0, (B, T)))  # (B, T, hid_S, h, w)
        skip = skip.unflatten(0, (B, T))
        skip = skip[:, :count] if self.skip == "same" else skip[:, -1:].expand(-1, count, -1, -1, -1)
        logits = self.dec(translated[:, :count].flatten(0, 1), skip.flatten(0, 1))
        return logits.unflatten(0, (B, count))


@NETWORKS.register("soft_argmax")
class SoftArgmax(SimVP):
    """SimVP that gives points (B, out_frames, 2), px: the mean position under the softmax over each predicted frame.

    Integral regression of Sun et al. (2018). Options and weights are SimVP's, for frames of one channel.
    """

    targets = "points"

    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        if self.out_channels != 1:
            raise ValueError(f"a point is read off a frame of one channel, not {self.out_channels}")

    def forward(self, frames: Tensor) -> Tensor:
        logits = super().forward(frames).squeeze(2)  # (B, out_frames, H, W)
        height, width = logits.shape[-2:]
        centers = pixel_center(torch.arange(height * width, device=logits.device), width)
        return logits.flatten(-2).float().softmax(-1) @ centers


@NETWORKS.register("regression")
class SimVP_RegressionHead(nn.Module):
    """The hybrid: the next point (x, y) in px from T frames, by SimVP's encoder, its translator and a small MLP.

    The MLP reads the last time step of the translator's output (4,096 values at the defaults) and gives z (B, 2). The
    point is (W, H) * (0.5 + z / 2): 0 is the center and -1, 1 the edges, so that the untrained network starts near the
    center. It is not clamped to the grid. With target="displacement" it is the white pixel of the last frame (its
    center; the first pixel where there is none) + (W, H) * z / 2 instead.

    Options and errors are those of SimVP's encoder and translator. `enc.*` and `hid.*` have the keys of a SimVP of the
    same options, whose weights can be loaded with `strict=False`; there is no decoder.
    """

    inputs, targets = "frames", "next_point"
    size: Tensor

    def __init__(
        self,
        in_shape: Shape = (4, 1, 32, 32),
        hid_S: int = 64,
        hid_T: int = 512,
        N_S: int = 4,
        N_T: int = 8,
        *,
        spatio_kernel_enc: int = 3,
        target: str = "position",
        **options,
    ):
        super().__init__()
        self.in_shape = T, C, H, W = _checked(in_shape, N_S)
        self.target = _one_of("target", target, ("position", "displacement"))
        self.enc = Encoder(C, hid_S, N_S, spatio_kernel_enc)
        self.hid = MidMetaNet(T * hid_S, hid_T, N_T, **options)
        features = hid_S * H * W // 2**N_S
        first, second, last = nn.Linear(features, 512), nn.Linear(512, 256), nn.Linear(256, 2)
        self.head = nn.Sequential(first, nn.ReLU(), second, nn.ReLU(), last)
        self.register_buffer("size", torch.tensor([W, H], dtype=torch.float32), persistent=False)

    @classmethod
    def for_task(cls, n_in: int, n_out: int, size: int, **options) -> Self:
        return cls((n_in, 1, size, size), **options)  # one point, whatever n_out

    def forward(self, frames: Tensor) -> Tensor:
        """(B, T, C, H, W) -> points (B, 2), px."""
        return self._origin(frames) + self.size * self.head(self._translated(frames)[:, -1]) / 2

    def _translated(self, frames: Tensor) -> Tensor:
        """(B, T, features): what the MLP can read of each time step."""
        _check_frames(frames, self.in_shape)
        latent, _ = self.enc(frames.flatten(0, 1))
        return self.hid(latent.unflatten(0, frames.shape[:2])).flatten(2)

    def _origin(self, frames: Tensor) -> Tensor:
        """The point (2,) or (B, 2), px, that the MLP's 0 stands for."""
        return self.size / 2 if self.target == "position" else _white_pixel(frames[:, -1])


def _white_pixel(frames: Tensor) -> Tensor:
    """(B, C, H, W) -> the center (B, 2), px, of the brightest pixel."""
    return pixel_center(frames.sum(1).flatten(1).argmax(1), frames.shape[-1])


def _one_of(option: str, value: str, known: tuple[str, ...]) -> str:
    if value not in known:
        raise ValueError(f"{option} must be one of {', '.join(known)}, got {value!r}")
    return value


def _checked(in_shape: Shape, N_S: int) -> Shape:
    """`in_shape`; ValueError where it is none, or cannot be halved N_S / 2 times."""
    if len(in_shape) != 4 or min(in_shape) < 1:
        raise ValueError(f"in_shape must be (frames, channels, height, width), each at least 1, got {in_shape}")
    if N_S < 2 or N_S % 2:
        raise ValueError(f"N_S must be even and at least 2 (every second block halves the size), got {N_S}")
    frames, channels, height, width = in_shape
    if height % 2 ** (N_S // 2) or width % 2 ** (N_S // 2):
        what = f"frames of {height} x {width} cannot be halved {N_S // 2} times"
        raise ValueError(f"{what}: with N_S={N_S}, height and width must be multiples of {2 ** (N_S // 2)}")
    return frames, channels, height, width


def _check_frames(frames: Tensor, in_shape: Shape) -> None:
    """ValueError unless `frames` is (B, *in_shape)."""
    if frames.dim() != 5 or tuple(frames.shape[1:]) != in_shape:
        wanted = f"expected frames of shape (batch, {str(in_shape)[1:]} = (batch, frames, channels, height, width)"
        raise ValueError(f"{wanted}, got {tuple(frames.shape)}; cut other windows, or build with another in_shape")


def create_model(**options) -> SimVP:
    """The mission's SimVP, (B, 10, 1, 32, 32) -> logits of the same shape; `options` override its settings.

    Raises TypeError for an option that SimVP does not have, naming those that it has.
    """
    known = list(inspect.signature(SimVP).parameters)
    if unknown := [name for name in options if name not in known]:
        raise TypeError(f"create_model() has no option {', '.join(unknown)}; options are {', '.join(known)}")
    return SimVP(**(MISSION | options))


def count_parameters(module: nn.Module) -> int:
    """Number of trainable values in `module`."""
    return sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)
