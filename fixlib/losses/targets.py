"""Target frames with at most one white pixel, told by where it is."""

from __future__ import annotations

import copy

import torch
from torch import Tensor


class WhitePixels:
    """Which pixel of each frame is white: what a loss takes in place of the frames, for the same number.

    >>> import torch
    >>> from fixlib.losses import WhitePixels, mse_loss
    >>> pixels = WhitePixels(torch.tensor([[[33], [-1]]]), size=32)       # row 1, column 1; and an empty frame
    >>> logits = torch.randn(1, 2, 1, 32, 32)
    >>> torch.isclose(mse_loss(logits, pixels), mse_loss(logits, pixels.frames())).item()
    True

    ``pixels[rows]`` are those of some windows; they are not checked again.

    Args:
        index: int64 (...), for example (B, T, 1): row * size + column of the white pixel, -1 where the frame is
            empty (as :func:`fixlib.data.white_pixel_index` gives it). The frames are (..., size, size).
        size: side of the frames, px.

    Raises:
        TypeError: an index that is not an int64 tensor.
        ValueError: a size below 1, or an index that is no pixel of such a frame.
    """

    def __init__(self, index: Tensor, size: int = 32) -> None:
        if not isinstance(index, Tensor) or index.dtype != torch.int64:
            found = index.dtype if isinstance(index, Tensor) else type(index).__name__
            raise TypeError(f"index of the white pixels must be an int64 tensor, not {found}")
        if size < 1:
            raise ValueError(f"size must be at least 1 px, not {size}")
        wrong = (index < -1) | (index >= size**2)
        if wrong.any():
            where = wrong.nonzero()[0].tolist()
            raise ValueError(
                f"index{where} is {index[tuple(where)].item()}, but the pixels of {size}x{size} frames "
                f"are 0 to {size**2 - 1}, and an empty frame is -1"
            )
        self.size = size
        # In the form that gather and scatter want, (..., 1); an empty frame is pixel 0 with `present` 0.
        self.position = index.clamp(min=0).unsqueeze(-1)
        self.present = (index >= 0).to(torch.float32).unsqueeze(-1)

    @property
    def shape(self) -> torch.Size:
        """The frames' shape, (..., size, size)."""
        return torch.Size((*self.position.shape[:-1], self.size, self.size))

    def __getitem__(self, rows) -> WhitePixels:
        part = copy.copy(self)
        part.position, part.present = self.position[rows], self.present[rows]
        return part

    def frames(self) -> Tensor:
        """The frames themselves: float32 (..., size, size), 0 or 1."""
        black = torch.zeros(*self.shape[:-2], self.size**2, device=self.position.device)
        return black.scatter_(-1, self.position, self.present).view(self.shape)
