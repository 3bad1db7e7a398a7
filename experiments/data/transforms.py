"""From raw examples to what the network sees, on the device the examples are on."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, Protocol

import numpy as np
import torch
from torch import Tensor


class Transform(Protocol):
    """How a raw batch becomes network input, with and without augmentation."""

    def plain(self, raw: Tensor) -> Tensor:
        """Network input without augmentation."""
        ...

    def draw(self, random: np.random.Generator, count: int) -> np.ndarray:
        """Random numbers of `count` examples, [count, k]."""
        ...

    def augmented(self, raw: Tensor, draws: Tensor) -> Tensor:
        """Network input, changed as the random numbers say."""
        ...


class Cast:
    """Features and characters: another number type, no augmentation."""

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
    """Images of uint8 [B, C, H, W]: mirrored border, random crop, flip; then (x / white - mean) / deviation.

    Attributes:
        mean: Of each channel, on the scale where white is 1.
        deviation: Of each channel, on the same scale.
        white: The brightest value a pixel can have.
        padding: Pixels added on every side before the crop.
        edge: Whether the mirror leaves the border pixel out (reflect) or repeats it (symmetric).
    """

    mean: tuple[float, ...]
    deviation: tuple[float, ...]
    white: int = 255
    padding: int = 4
    edge: Literal["reflect", "symmetric"] = "reflect"

    def plain(self, raw: Tensor) -> Tensor:
        """Normalised float images: x / (white deviation) - mean / deviation."""
        scale, shift = _scale_and_shift(self.mean, self.deviation, self.white, raw.device)
        return raw.float().mul_(scale).add_(shift)

    def draw(self, random: np.random.Generator, count: int) -> np.ndarray:
        """Row offset and column offset in 0 .. 2 padding, flip in {0, 1}."""
        limits = (2 * self.padding + 1, 2 * self.padding + 1, 2)
        return random.integers(0, limits, size=(count, 3))

    def augmented(self, raw: Tensor, draws: Tensor) -> Tensor:
        """One gather per batch: every output pixel looks up its source pixel in the mirrored image."""
        batch, channels, height, width = raw.shape
        rows = self._mirror(height, draws[:, 0:1])
        columns = self._mirror(width, draws[:, 1:2])
        columns = torch.where(draws[:, 2:3].bool(), columns.flip(1), columns)
        sources = (rows[:, :, None] * width + columns[:, None, :]).view(batch, 1, height * width)
        picked = raw.view(batch, channels, -1).gather(2, sources.expand(-1, channels, -1))
        return self.plain(picked.view_as(raw))

    def _mirror(self, size: int, offsets: Tensor) -> Tensor:
        """Source positions [B, size] of a crop that begins `offsets` - padding pixels from the border."""
        positions = torch.arange(size, device=offsets.device) + offsets - self.padding
        if self.edge == "symmetric":
            positions = torch.where(positions < 0, -positions - 1, positions)
            return torch.where(positions >= size, 2 * size - 1 - positions, positions)
        return (size - 1) - ((size - 1) - positions.abs()).abs()


@lru_cache
def _scale_and_shift(
    mean: tuple[float, ...], deviation: tuple[float, ...], white: int, device: torch.device
) -> tuple[Tensor, Tensor]:
    """1 / (white deviation) and -mean / deviation, [C, 1, 1]; kept, so that no batch waits for a copy."""
    means, deviations = (torch.tensor(values, device=device).view(-1, 1, 1) for values in (mean, deviation))
    return 1 / (white * deviations), -means / deviations
