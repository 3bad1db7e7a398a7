"""From raw examples to network input, on the device of the examples."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, Protocol

import numpy as np
import torch
from torch import Tensor

Edge = Literal["reflect", "symmetric"]


class Transform(Protocol):
    """How a raw batch becomes network input, with and without augmentation."""

    def plain(self, raw: Tensor) -> Tensor:
        """Network input without augmentation."""
        ...

    def draw(self, random: np.random.Generator, count: int) -> np.ndarray:
        """Draw random numbers for `count` examples, [count] or [count, k]."""
        ...

    def augmented(self, raw: Tensor, draws: Tensor) -> Tensor:
        """Network input, augmented according to the random numbers."""
        ...


class Cast:
    """Features and characters: converted to a dtype, not augmented."""

    def __init__(self, dtype: torch.dtype) -> None:
        self.dtype = dtype

    def plain(self, raw: Tensor) -> Tensor:
        """The same values as `dtype`."""
        return raw.to(self.dtype)

    def draw(self, random: np.random.Generator, count: int) -> np.ndarray:  # noqa: ARG002
        """No random numbers."""
        return np.empty((count, 0), dtype=np.int64)

    def augmented(self, raw: Tensor, draws: Tensor) -> Tensor:  # noqa: ARG002
        """The same as `plain`."""
        return self.plain(raw)


@dataclass(frozen=True)
class Pixels:
    """Images [B, C, H, W]: mirrored border, random crop, flip; then (x / white - mean) / deviation.

    Attributes:
        mean: Mean of each channel, on a scale on which white is 1.
        deviation: Standard deviation of each channel, on the same scale.
        white: The largest possible value of a pixel.
        padding: Pixels added on each side before the crop.
        edge: Whether mirroring omits the border pixel (reflect) or repeats it (symmetric).
    """

    mean: tuple[float, ...]
    deviation: tuple[float, ...]
    white: int = 255
    padding: int = 4
    edge: Edge = "reflect"

    def plain(self, raw: Tensor) -> Tensor:
        """Normalised float images: x / (white deviation) - mean / deviation."""
        scale, shift = _scale_and_shift(self.mean, self.deviation, self.white, raw.device)
        return torch.mul(raw, scale).add_(shift)  # never in place: averaged images are float already

    def draw(self, random: np.random.Generator, count: int) -> np.ndarray:
        """One number per example: (row offset n + column offset) 2 + flip, with n = 2 padding + 1 offsets."""
        return random.integers(0, 2 * (2 * self.padding + 1) ** 2, size=count)

    def augmented(self, raw: Tensor, draws: Tensor) -> Tensor:
        """One gather per batch: each output pixel takes its source pixel from the mirrored image."""
        batch, channels, height, width = raw.shape
        sources = _crops(height, width, self.padding, self.edge, raw.device).index_select(0, draws)
        picked = raw.view(batch, channels, -1).gather(2, sources[:, None].expand(-1, channels, -1))
        return self.plain(picked.view_as(raw))


@lru_cache
def _crops(height: int, width: int, padding: int, edge: Edge, device: torch.device) -> Tensor:
    """Source pixel of each output pixel for each crop and flip, in the order of `Pixels.draw`, [2 n^2, H W]."""
    rows, columns = (_mirrored(size, padding, edge) for size in (height, width))
    flips = torch.stack((columns, columns.flip(1)), 1)
    return (rows[:, None, None, :, None] * width + flips[:, :, None, :]).view(-1, height * width).to(device)


def _mirrored(size: int, padding: int, edge: Edge) -> Tensor:
    """Source positions [2 padding + 1, size] of the crops that start -padding .. padding pixels from the border."""
    positions = torch.arange(size) + torch.arange(-padding, padding + 1)[:, None]
    if edge == "symmetric":
        positions = torch.where(positions < 0, -positions - 1, positions)
        return torch.where(positions >= size, 2 * size - 1 - positions, positions)
    return (size - 1) - ((size - 1) - positions.abs()).abs()


@lru_cache
def _scale_and_shift(
    mean: tuple[float, ...], deviation: tuple[float, ...], white: int, device: torch.device
) -> tuple[Tensor, Tensor]:
    """1 / (white deviation) and -mean / deviation, [C, 1, 1]; cached, so that no batch waits for a copy."""
    means, deviations = (torch.tensor(values, device=device).view(-1, 1, 1) for values in (mean, deviation))
    return 1 / (white * deviations), -means / deviations
