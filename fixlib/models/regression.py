"""The hybrid: SimVP's encoder and translator, then a small MLP that gives the next point directly."""

import torch
from torch import Tensor, nn

from fixlib.models.simvp import Encoder, Translator, check_architecture, check_frames, encode_distinct

HEAD_WIDTHS = (512, 256)


class SimVP_RegressionHead(nn.Module):
    """The next point (x, y) in px from T frames.

    The last time step of the translator's output, (B, hid_S, H/4, W/4) for N_S=4, is flattened (4,096 values
    at the defaults) and goes through 512 and 256 units with ReLU to 2 numbers z. The point is
    (W, H) * (0.5 + z / 2): z = 0 is the centre and z = -1, 1 the edges, so that the untrained network
    starts near the centre. It is not clamped to the grid.

    Options are SimVP's. `enc.*` and `hid.*` have the keys of a SimVP of the same options, whose weights can
    be loaded with `strict=False`; there is no decoder. Raises ValueError as SimVP does.
    """

    def __init__(
        self,
        in_shape: tuple[int, int, int, int] = (4, 1, 32, 32),
        hid_S: int = 64,
        hid_T: int = 512,
        N_S: int = 4,
        N_T: int = 8,
        model_type: str = "gSTA",
        mlp_ratio: float = 8.0,
        drop: float = 0.0,
        drop_path: float = 0.0,
        spatio_kernel_enc: int = 3,
    ):
        super().__init__()
        check_architecture(in_shape, hid_S, hid_T, N_S, N_T, model_type, drop, drop_path, spatio_kernel_enc)
        T, C, H, W = in_shape
        self.in_shape = tuple(in_shape)
        self.enc = Encoder(C, hid_S, N_S, spatio_kernel_enc)
        self.hid = Translator(T * hid_S, hid_T, N_T, mlp_ratio, drop, drop_path)
        self.head = _mlp(hid_S * H * W // 2**N_S, *HEAD_WIDTHS, 2)
        self.register_buffer("size", torch.tensor([W, H], dtype=torch.float32), persistent=False)

    def forward(self, frames: Tensor) -> Tensor:
        """(B, T, C, H, W) -> points (B, 2), px."""
        check_frames(frames, self.in_shape)
        latent, _, _ = encode_distinct(self.enc, frames)
        last = self.hid(latent, slice(-1, None))
        return self.size * (0.5 + self.head(last.flatten(1)) / 2)


def _mlp(*widths: int) -> nn.Sequential:
    """Linear layers with a ReLU between each two."""
    layers = []
    for inputs, outputs in zip(widths, widths[1:]):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    return nn.Sequential(*layers[:-1])
