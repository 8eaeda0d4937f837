"""A memory as a state: a matrix for each token and head, updated by a gated delta rule.

S <- a S + b (v - a S k) k^T with k of length 1: what was stored under a key is replaced by a share
b and all else decays by a (Yang et al. 2024, "Gated delta networks"). b reaches up to 2, where the
update mirrors, so that the state can count, as how often the agent has turned (Grazzi et al. 2024).
A frame reads S of the frame before it.

Legend: b batch, t frames, s = y * x tokens, H heads, e size of a state's side, d width.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dfgym.model.layers import Convolution
from dfgym.model.slots import MemoryPosition, hide_slots


class StateSpace(nn.Module):
    """A matrix of `size` x `size` for every token and head."""

    def __init__(self, dim: int, heads: int, grid: tuple[int, int], size: int) -> None:
        super().__init__()
        self.heads, self.size, self.sites = heads, size, grid[0] * grid[1]
        self.project = Convolution(dim, 3 * heads * size)
        self.gates = Convolution(dim, 2 * heads)
        self.out = Convolution(heads * size, dim)
        with torch.no_grad():  # at first a state fades over about 10 to 1000 frames
            self.gates.bias[:heads] = torch.linspace(2.5, 7, heads)

    def split(self, x: Tensor) -> tuple[Tensor, ...]:
        """Project `(..., y, x, d)` to queries, keys and values `(..., s, H, e)`, log a and b."""
        lead = x.shape[:-3]
        x = F.layer_norm(x, x.shape[-1:]).flatten(0, -4)
        shape = (*lead, self.sites, self.heads)
        q, k, v = self.project(x).reshape(*shape, 3, self.size).float().unbind(-2)
        decay, rate = self.gates(x).reshape(*lead, self.sites, 2, self.heads).float().unbind(-2)
        unit = (F.normalize(q, dim=-1), F.normalize(k, dim=-1))
        return *unit, v, F.logsigmoid(decay), 2 * rate.sigmoid()

    def merge(self, read: Tensor, shape: torch.Size) -> Tensor:
        """Bring what was read, `(..., s, H, e)`, to tokens of shape `(..., y, x, d)`."""
        y, x = shape[-3:-1]
        return self.out(read.reshape(-1, y, x, self.heads * self.size)).view(shape)

    def forward(self, x: Tensor, action: Tensor, begun: Tensor) -> Tensor:
        """See `Memory`: all frames at once, which solves for the updates (Yang et al. 2024b)."""
        t = begun.shape[1]
        with torch.autocast(x.device.type, enabled=False):
            q, k, v, decay, rate = (tensor.transpose(1, 2) for tensor in self.split(x))
            q, k, v = (tensor.movedim(3, 2) for tensor in (q, k, v))  # b s H 2t e
            total = decay[:, :, :t].cumsum(2).transpose(2, 3)  # b s H t: log of all decay so far
            episode = (~begun).cumsum(1)
            order = torch.ones(t, t, dtype=torch.bool, device=x.device).tril(-1)
            before = ((episode[:, :, None] == episode[:, None]) & order)[:, None, None]
            k, v = k[..., :t, :], v[..., :t, :]
            past = (total[..., None] - total[..., None, :]).masked_fill(~before, -torch.inf).exp()
            rate = rate[:, :, :t].transpose(2, 3)[..., None]
            mixing = rate * past * (k @ k.transpose(-1, -2))
            unit = torch.eye(t, device=x.device)
            updates = torch.linalg.solve_triangular(unit + mixing, rate * v, upper=False)
            total_before = F.pad(total, (1, 0))[..., :t]  # a frame reads before its own decay
            past = (total_before[..., None] - total[..., None, :]).masked_fill(~before, -torch.inf)
            read = (past.exp().repeat(1, 1, 1, 2, 1) * (q @ k.transpose(-1, -2))) @ updates
        return self.merge(read.permute(0, 3, 1, 2, 4), x.shape)

    def empty_cache(self, rows: int) -> tuple[Tensor, ...]:
        """See `Memory`: the states after the last frame and after the frame itself."""
        return (torch.zeros(rows, 2, self.sites, self.heads, self.size, self.size),)

    def step(
        self, x: Tensor, action: Tensor, position: MemoryPosition, cache: tuple[Tensor, ...]
    ) -> Tensor:
        """See `Memory`."""
        q, k, v, decay, rate = self.split(x)
        state = position.read(cache[0])
        read = (state * q[..., None, :]).sum(-1)
        state = state * decay.exp()[..., None, None]
        update = rate[..., None] * (v - (state * k[..., None, :]).sum(-1))
        position.write(cache[0], torch.addcmul(state, update[..., None], k[..., None, :]))
        return self.merge(read, x.shape)

    def hide(self, cache: tuple[Tensor, ...], time: Tensor) -> None:
        """See `Memory`."""
        hide_slots(cache[0], time)
