"""The published SimVP (gSTA) and the hybrid in plain eager PyTorch, untuned: what the library is measured against.

Every layer is PyTorch's own, called as the papers draw it, on dense frames in the default memory layout, in float32.
State dict keys are those of `fixlib.models`, so that the same weights load into both. It imports nothing of the
library and is not to be made faster.

Sources: Gao et al. 2022 (SimVP, CVPR), Tan et al. 2022 (arXiv 2211.12509).
"""

import torch
from torch import Tensor, nn


class ConvNormSiLU(nn.Module):
    def __init__(self, channels_in: int, channels_out: int, kernel: int, stride: int = 1, up: bool = False):
        super().__init__()
        convolution = nn.Conv2d(channels_in, channels_out * (4 if up else 1), kernel, stride, kernel // 2)
        nn.init.trunc_normal_(convolution.weight, std=0.02)
        nn.init.zeros_(convolution.bias)
        self.conv = nn.Sequential(convolution, nn.PixelShuffle(2)) if up else convolution
        self.norm = nn.GroupNorm(2, channels_out)
        self.act = nn.SiLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.norm(self.conv(x)))


class SpatialBlock(nn.Module):
    def __init__(self, *args, **options):
        super().__init__()
        self.conv = ConvNormSiLU(*args, **options)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)


class Encoder(nn.Module):
    def __init__(self, channels: int, hid_S: int, N_S: int, kernel: int):
        super().__init__()
        self.enc = nn.Sequential(
            SpatialBlock(channels, hid_S, kernel),
            *(SpatialBlock(hid_S, hid_S, kernel, stride=1 + i % 2) for i in range(1, N_S)),
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        skip = latent = self.enc[0](x)
        for block in self.enc[1:]:
            latent = block(latent)
        return latent, skip


class Decoder(nn.Module):
    def __init__(self, hid_S: int, channels: int, N_S: int, kernel: int):
        super().__init__()
        self.dec = nn.Sequential(*(SpatialBlock(hid_S, hid_S, kernel, up=i % 2 == 0) for i in range(N_S)))
        self.readout = nn.Conv2d(hid_S, channels, 1)

    def forward(self, latent: Tensor, skip: Tensor) -> Tensor:
        for block in self.dec[:-1]:
            latent = block(latent)
        return self.readout(self.dec[-1](latent + skip))


class DropPath(nn.Module):
    def __init__(self, probability: float):
        super().__init__()
        self.probability = probability

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.probability == 0:
            return x
        keep = 1 - self.probability
        return x * x.new_empty(len(x), 1, 1, 1).bernoulli_(keep).div_(keep)


class SpatialGatingUnit(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        self.conv0 = nn.Conv2d(channels, channels, 5, padding=2, groups=channels)
        self.conv_spatial = nn.Conv2d(channels, channels, 7, padding=9, dilation=3, groups=channels)
        self.conv1 = nn.Conv2d(channels, 2 * channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        f, g = self.conv1(self.conv_spatial(self.conv0(x))).chunk(2, dim=1)
        return torch.sigmoid(g) * f


class Attention(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        self.proj_1 = nn.Conv2d(channels, channels, 1)
        self.activation = nn.GELU()
        self.spatial_gating_unit = SpatialGatingUnit(channels)
        self.proj_2 = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.proj_2(self.spatial_gating_unit(self.activation(self.proj_1(x)))) + x


class DWConv(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        self.dwconv = nn.Conv2d(channels, channels, 3, padding=1, groups=channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.dwconv(x)


class MixMlp(nn.Module):
    def __init__(self, channels: int, wide: int, drop: float):
        super().__init__()
        self.fc1 = nn.Conv2d(channels, wide, 1)
        self.dwconv = DWConv(wide)
        self.act = nn.GELU()
        self.fc2 = nn.Conv2d(wide, channels, 1)
        self.drop = nn.Dropout(drop)

    def forward(self, x: Tensor) -> Tensor:
        x = self.drop(self.act(self.dwconv(self.fc1(x))))
        return self.drop(self.fc2(x))


class GASubBlock(nn.Module):
    def __init__(self, channels: int, mlp_ratio: float, drop: float, drop_path: float):
        super().__init__()
        self.layer_scale_1 = nn.Parameter(0.01 * torch.ones(channels))
        self.layer_scale_2 = nn.Parameter(0.01 * torch.ones(channels))
        self.norm1 = nn.BatchNorm2d(channels)
        self.attn = Attention(channels)
        self.norm2 = nn.BatchNorm2d(channels)
        self.mlp = MixMlp(channels, int(channels * mlp_ratio), drop)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.drop_path(self.layer_scale_1.unsqueeze(-1).unsqueeze(-1) * self.attn(self.norm1(x)))
        return x + self.drop_path(self.layer_scale_2.unsqueeze(-1).unsqueeze(-1) * self.mlp(self.norm2(x)))


class MetaBlock(nn.Module):
    def __init__(self, channels_in: int, channels_out: int, *options):
        super().__init__()
        self.block = GASubBlock(channels_in, *options)
        if channels_in != channels_out:
            self.reduction = nn.Conv2d(channels_in, channels_out, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.block(x)
        return self.reduction(x) if hasattr(self, "reduction") else x


class MidMetaNet(nn.Module):
    def __init__(self, channels: int, hid_T: int, N_T: int, mlp_ratio: float, drop: float, drop_path: float):
        super().__init__()
        widths = [channels] + [hid_T] * (N_T - 1) + [channels]
        drops = [0.01 + (drop_path - 0.01) * i / (N_T - 1) for i in range(N_T)]
        self.enc = nn.Sequential(*(MetaBlock(a, b, mlp_ratio, drop, p) for a, b, p in zip(widths, widths[1:], drops)))

    def forward(self, x: Tensor) -> Tensor:
        B, T, C, H, W = x.shape
        return self.enc(x.reshape(B, T * C, H, W)).reshape(B, T, C, H, W)


class ReferenceSimVP(nn.Module):
    """(B, T, C, H, W) -> logits of the same shape."""

    def __init__(
        self,
        in_shape=(10, 1, 32, 32),
        hid_S=64,
        hid_T=256,
        N_S=4,
        N_T=8,
        mlp_ratio=8.0,
        drop=0.0,
        drop_path=0.0,
        kernel=3,
    ):
        super().__init__()
        T, C, _, _ = in_shape
        self.enc = Encoder(C, hid_S, N_S, kernel)
        self.dec = Decoder(hid_S, C, N_S, kernel)
        self.hid = MidMetaNet(T * hid_S, hid_T, N_T, mlp_ratio, drop, drop_path)

    def forward(self, frames: Tensor) -> Tensor:
        B, T, C, H, W = frames.shape
        latent, skip = self.enc(frames.reshape(B * T, C, H, W))
        translated = self.hid(latent.reshape(B, T, *latent.shape[1:]))
        return self.dec(translated.reshape(latent.shape), skip).reshape(B, T, C, H, W)


class ReferenceHybrid(nn.Module):
    """(B, T, C, H, W) -> points (B, 2), px: encoder, the whole translator, an MLP on its last time step."""

    def __init__(
        self,
        in_shape=(4, 1, 32, 32),
        hid_S=64,
        hid_T=512,
        N_S=4,
        N_T=8,
        mlp_ratio=8.0,
        drop=0.0,
        drop_path=0.0,
        kernel=3,
    ):
        super().__init__()
        T, C, H, W = in_shape
        self.enc = Encoder(C, hid_S, N_S, kernel)
        self.hid = MidMetaNet(T * hid_S, hid_T, N_T, mlp_ratio, drop, drop_path)
        self.head = nn.Sequential(
            nn.Linear(hid_S * H * W // 2**N_S, 512), nn.ReLU(), nn.Linear(512, 256), nn.ReLU(), nn.Linear(256, 2)
        )
        self.register_buffer("size", torch.tensor([W, H], dtype=torch.float32), persistent=False)

    def forward(self, frames: Tensor) -> Tensor:
        B, T, C, H, W = frames.shape
        latent, _ = self.enc(frames.reshape(B * T, C, H, W))
        translated = self.hid(latent.reshape(B, T, *latent.shape[1:]))
        return self.size * (0.5 + self.head(translated[:, -1].reshape(B, -1)) / 2)


def training_step(
    model: nn.Module, optimiser: torch.optim.Optimizer, loss_fn, frames: Tensor, target: Tensor
) -> Tensor:
    """One step as the textbooks have it."""
    optimiser.zero_grad(set_to_none=True)
    loss = loss_fn(model(frames), target)
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimiser.step()
    return loss.detach()
