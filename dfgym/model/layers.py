"""Layers over token grids.

Legend: n frames (batch and time folded), b batch, t time, y x the token grid, s = y * x tokens, d
width, H heads, e = d / H. Tokens stand as `(n, y, x, d)`, contiguous.

Every matrix is a 2-D parameter applied as a convolution: on CPUs PyTorch sends convolutions in
channels-last order to oneDNN, which ran three times as fast as the BLAS behind `nn.Linear` where
both were measured (docs/lab/speed.md). Only of a handful of tokens is a plain product quicker.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dfgym.model.slots import MemoryPosition, memory_position

FEW_TOKENS = 256


def fold(x: Tensor, patch: int) -> Tensor:
    """Fold patches of cells into channels: `(n, h, w, c)` to `(n, h / p, w / p, p * p * c)`."""
    if patch == 1:
        return x
    n, h, w, c = x.shape
    x = x.view(n, h // patch, patch, w // patch, patch, c).transpose(2, 3)
    return x.reshape(n, h // patch, w // patch, -1)


def unfold(x: Tensor, patch: int) -> Tensor:
    """Undo `fold`."""
    if patch == 1:
        return x
    n, y, width, _ = x.shape
    x = x.view(n, y, width, patch, patch, -1).transpose(2, 3)
    return x.reshape(n, y * patch, width * patch, -1)


class Convolution(nn.Module):
    """A `size` x `size` convolution over the token grid, zero-padded; size 1 is a linear layer."""

    def __init__(self, inputs: int, outputs: int, size: int = 1, *, zero: bool = False) -> None:
        super().__init__()
        self.size = size
        fan_in = inputs * size * size
        scale = 0.0 if zero else 1 / math.sqrt(fan_in)
        self.weight = nn.Parameter(torch.empty(outputs, fan_in).normal_(0, scale))
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, x: Tensor) -> Tensor:
        """Map `(n, y, x, inputs)` to `(n, y, x, outputs)`."""
        if self.size == 1 and x.shape[0] * x.shape[1] * x.shape[2] <= FEW_TOKENS:
            return F.linear(x, self.weight, self.bias)
        weight = self.weight.view(len(self.weight), self.size, self.size, -1).permute(0, 3, 1, 2)
        x = x.permute(0, 3, 1, 2)  # a channels-last view
        return F.conv2d(x, weight, self.bias, padding=self.size // 2).permute(0, 2, 3, 1)


class Modulation(nn.Module):
    """Gain and shift of normalised tokens, read off their frame's condition (adaLN)."""

    def __init__(self, dim: int, width: int | None = None) -> None:
        super().__init__()
        self.project = nn.Linear(dim, 2 * (width or dim))
        nn.init.zeros_(self.project.weight)
        nn.init.zeros_(self.project.bias)

    def forward(self, condition: Tensor) -> Tensor:
        """Map conditions `(n, d)` to `(n, 2, 1, 1, width)`; the width is d unless given."""
        scale, shift = self.project(condition)[:, None, None].chunk(2, -1)
        return torch.stack((1 + scale, shift), 1)


def modulate(x: Tensor, modulation: Tensor) -> Tensor:
    """Normalise tokens `(n, y, x, d)`; apply their frame's gain and shift, `(n, 2, 1, 1, d)`."""
    gain, shift = modulation.unbind(1)
    return torch.addcmul(shift, F.layer_norm(x, x.shape[-1:]), gain)


def rotary(time: Tensor, size: int) -> Tensor:
    """Compute rotary positions in time (Su et al. 2021), as cosines and sines.

    Args:
        time: `(b, t)` int64, any origin: attention sees differences only.
        size: e, the width of a head.

    Returns:
        float32 `(b, t, 1, 1, 1, e / 2, 2)`. Angles are reduced in float64, so that frame 10**7 is
        as exact as frame 1.
    """
    rate = 100.0 ** -(torch.arange(size // 2, device=time.device, dtype=torch.float64) * 2 / size)
    angle = time[..., None, None, None, None].double() * rate
    return torch.stack((angle.cos().float(), angle.sin().float()), -1)


def apply_rope(x: Tensor, rope: Tensor) -> Tensor:
    """Rotate float32 `(b, t, ., ., ., e)` by the angles of its frame, see `rotary`."""
    x = x.unflatten(-1, (-1, 2))
    if torch.compiler.is_compiling():  # which fuses these, but knows no complex numbers
        (a, b), (cos, sin) = x.unbind(-1), rope.unbind(-1)
        return torch.stack((a * cos - b * sin, a * sin + b * cos), -1).flatten(-2)
    x = torch.view_as_complex(x) * torch.view_as_complex(rope)
    return torch.view_as_real(x).flatten(-2)


class TimeAttention(nn.Module):
    """Attention over time, within each token site.

    Queries and keys are normalised before they are rotated (QK-norm), so that no logit can grow
    without bound in a long rollout.
    """

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.project = Convolution(dim, 3 * dim)
        self.out = Convolution(dim, dim, zero=True)
        self.gain = nn.Parameter(torch.full((2,), (dim / heads) ** 0.25))

    def split(self, x: Tensor, t: int, rope: Tensor) -> tuple[Tensor, ...]:
        """Project tokens `(b * t, y, x, d)` to queries, keys and values, each `(b, t, s, H, e)`."""
        n, y, width, d = x.shape
        shape = (n // t, t, y * width, 3, self.heads, d // self.heads)
        qk, v = self.project(x).view(shape).float().split((2, 1), 3)
        qk = F.layer_norm(qk, shape[-1:]) * self.gain[:, None, None]
        q, k = apply_rope(qk, rope).unbind(3)
        return q, k, v.squeeze(3)

    def merge(self, x: Tensor, grid: torch.Size) -> Tensor:
        """Bring attended values back to tokens of shape `grid` and mix the heads."""
        return self.out(x.reshape(grid))

    def forward(self, x: Tensor, t: int, rope: Tensor, mask: Tensor) -> Tensor:
        """Attend within each sequence of `t` frames; `mask` is `(b, 1, t, t)`, True = visible."""
        # b s*H t e
        q, k, v = (tensor.flatten(2, 3).transpose(1, 2) for tensor in self.split(x, t, rope))
        with torch.autocast(x.device.type, enabled=False):
            out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=1.0)
        return self.merge(out.transpose(1, 2), x.shape)

    def step(self, x: Tensor, position: CachePosition, cache: KVCache) -> Tensor:
        """Write one frame's keys and values into its row's slot and attend over the cache.

        Args:
            x: `(b, y, x, d)`, one frame a row.
            position: each row's position in time.
            cache: keys and values `(b, r, s, H, e)`, written in place.
        """
        q, k, v = self.split(x, 1, position.rope)
        keys, values = cache
        keys[position.slot] = k[:, 0]
        values[position.slot] = v[:, 0]
        # A handful of slots for each of thousands of sites: sums beat thousands of tiny matmuls.
        weight = ((keys * q).sum(-1) + position.mask).softmax(1)  # b r s H
        out = (values * weight[..., None]).sum(1)
        return self.merge(out, x.shape)


KVCache = tuple[Tensor, Tensor]
"""Keys and values of one layer's last frames, each `(b, r, s, H, e)`."""


class CachePosition(NamedTuple):
    """Each row's position in time and in the cache; the same for all passes over one frame.

    Attributes:
        rope: rotary position of the frame, of shape `(b, 1, 1, 1, 1, e / 2, 2)`.
        slot: rows and slots, both int64 `(b,)`, where the frame's own keys and values go.
        mask: `(b, r, 1, 1)` float, 0 where a slot of the cache is visible and -inf where not.
        memory: where a memory beyond the window reads and writes.
        looked: what the memories have looked up for the frame, by `Memory.look`; None if each pass
            shall do so itself.
        writes: whether memories take the frame in, as the last pass over it must.
    """

    rope: Tensor
    slot: tuple[Tensor, Tensor]
    mask: Tensor
    memory: MemoryPosition
    looked: tuple[tuple[Tensor, ...], ...] | None = None
    writes: bool = True


def cache_position(time: Tensor, slots: int, size: int) -> CachePosition:
    """Compute each row's position.

    Args:
        time: int64 `(b,)`, how many frames each row has had.
        slots: r, slots of a cache.
        size: e, the width of a head.
    """
    index = torch.arange(slots, device=time.device)
    age = (time[:, None] - index) % slots
    mask = torch.where(age <= time[:, None], 0.0, -torch.inf).float()[..., None, None]
    memory = memory_position(time)
    slot = (memory.rows, time % slots)
    return CachePosition(rotary(time[:, None], size), slot, mask, memory)


class Block(nn.Module):
    """Space by convolution, then time by attention, then a token-wise layer, each a residual.

    The mean over all tokens is handed to every token: where chance decides between outcomes that
    lie far apart (which corner the ball comes from), all of them must decide alike.

    With 0 heads there is no attention: other memories call `spatial_block` and `mlp_block`.
    """

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList(Modulation(dim) for _ in range(3 if heads else 2))
        self.space = Convolution(dim, dim, 3)
        self.space_out = Convolution(dim, dim, zero=True)
        self.global_pool_proj = nn.Linear(dim, dim)
        nn.init.zeros_(self.global_pool_proj.weight)
        nn.init.zeros_(self.global_pool_proj.bias)
        if heads:
            self.time = TimeAttention(dim, heads)
        self.mlp_in = Convolution(dim, 2 * dim)
        self.mlp_out = Convolution(2 * dim, dim, zero=True)

    def modulations(self, condition: Tensor) -> Tensor:
        """Compute the modulations of the block's norms, `(n, 3, 2, 1, 1, d)`, from `(n, d)`."""
        return torch.stack([norm(condition) for norm in self.norms], 1)

    def spatial_block(self, x: Tensor, modulation: Tensor) -> Tensor:
        """Mix tokens with their neighbours, and with the mean of all."""
        near = F.silu(self.space(modulate(x, modulation)))
        return x + self.space_out(near) + self.global_pool_proj(near.mean((1, 2)))[:, None, None]

    def mlp_block(self, x: Tensor, modulation: Tensor) -> Tensor:
        """Transform each token by itself."""
        return x + self.mlp_out(F.silu(self.mlp_in(modulate(x, modulation))))

    def forward(self, x: Tensor, modulations: Tensor, t: int, rope: Tensor, mask: Tensor) -> Tensor:
        """Transform `(b * t, y, x, d)` given each frame's `modulations`."""
        space, time, token = modulations.unbind(1)
        x = self.spatial_block(x, space)
        x = x + self.time(modulate(x, time), t, rope, mask)
        return self.mlp_block(x, token)

    def step(
        self, x: Tensor, modulations: Tensor, position: CachePosition, cache: KVCache
    ) -> Tensor:
        """Transform one frame a row, `(b, y, x, d)`, against its cache of finished frames."""
        space, time, token = modulations.unbind(1)
        x = self.spatial_block(x, space)
        x = x + self.time.step(modulate(x, time), position, cache)
        return self.mlp_block(x, token)
