"""A memory of selected frames: a bank of keys and values, of which a frame attends to a few.

Every finished frame goes into the bank. A frame reads the `TOP` that have left its window and are
nearest to it by a key of the whole frame, and attends to them at the same place (routing as in
"Mixture of contexts", Cai et al. 2025). When the bank is full the most redundant frame goes: the
one that was most like a stored one when it came, so that what is new stays.

Legend: b batch, t frames, s = y * x tokens, H heads, e = d / H, k frames that are read, r slots of
the bank, one more than frames: the free one takes the frame itself.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dfgym.model.config import ARCHIVE_TOP
from dfgym.model.layers import Convolution
from dfgym.model.slots import MemoryPosition, hide_slots


class Archive(nn.Module):
    """A bank of `size` frames."""

    def __init__(self, dim: int, heads: int, grid: tuple[int, int], size: int, window: int) -> None:
        super().__init__()
        self.heads, self.sites, self.slots, self.window = heads, grid[0] * grid[1], size + 1, window
        self.width = dim // heads
        self.project = Convolution(dim, 3 * dim)
        self.frame_key = Convolution(dim, 2 * dim)  # of the mean over all tokens
        self.out = Convolution(dim, dim)
        self.sharpness = nn.Parameter(torch.tensor([4.0, 1.0]))  # of tokens, of frames

    def split(self, x: Tensor) -> tuple[Tensor, ...]:
        """Project `(..., y, x, d)`.

        Returns:
            Queries, keys and values `(..., s, H, e)`, and the frame's query and key `(..., d)`.
        """
        lead = x.shape[:-3]
        x = F.layer_norm(x, x.shape[-1:]).flatten(0, -4)
        q, k, v = self.project(x).reshape(*lead, self.sites, 3, self.heads, -1).float().unbind(-3)
        frame = self.frame_key(x).mean((1, 2)).reshape(*lead, 2, -1).float()
        unit = (F.normalize(q, dim=-1) * self.sharpness[0], F.normalize(k, dim=-1), v)
        frame_query, frame_key = F.normalize(frame, dim=-1).unbind(-2)
        return *unit, frame_query * self.sharpness[1], frame_key

    def attend(self, q: Tensor, pairs: Tensor, scores: Tensor) -> Tensor:
        """Attend to k frames, and to nothing, whose logit is 0.

        Args:
            q: queries `(n, s, H, e)`.
            pairs: keys and values `(n, k, s, 2, H, e)`.
            scores: `(n, k)`, how near the frames are; -inf for none.

        Returns:
            `(n, s, H, e)`.
        """
        k, v = pairs.unbind(3)
        logits = (q[:, None] * k).sum(-1) + scores[:, :, None, None]  # n k s H
        weight = F.pad(logits, (0, 0, 0, 0, 0, 1)).softmax(1)[:, :-1]
        return (weight[..., None] * v).sum(1)

    def merge(self, read: Tensor, shape: torch.Size) -> Tensor:
        """Bring what was read, `(n, s, H, e)`, to tokens of a shape `(..., y, x, d)`."""
        return self.out(read.reshape(-1, *shape[-3:])).view(shape)

    def forward(self, x: Tensor, action: Tensor, begun: Tensor) -> Tensor:
        """See `Memory`."""
        b, t = begun.shape
        with torch.autocast(x.device.type, enabled=False):
            q, k, v, frame_query, frame_key = self.split(x)
            key = frame_key[:, :t]
            scores = frame_query @ key.transpose(1, 2)  # b 2t t
            index = torch.arange(t, device=x.device)
            old = index[:, None] - index > self.window
            hidden = ~(self.stored(key.detach(), begun) & old).repeat(1, 2, 1)
            scores = scores.masked_fill(hidden, -torch.inf)
            scores, frames = scores.topk(min(ARCHIVE_TOP, t), 2)  # b 2t k
            pairs = torch.stack((k[:, :t], v[:, :t]), 3)  # b t s 2 H e
            rows = torch.arange(b, device=x.device)[:, None, None]
            nearest = pairs[rows, frames].flatten(0, 1)
            read = self.attend(q.flatten(0, 1), nearest, scores.flatten(0, 1))
        return self.merge(read, x.shape)

    def stored(self, key: Tensor, begun: Tensor) -> Tensor:
        """Return which frames (columns) the bank holds as each (row) comes, bool `(b, t, t)`."""
        b, t = begun.shape
        episode = (~begun).cumsum(1)
        index = torch.arange(t, device=key.device)
        before = (episode[:, :, None] == episode[:, None]) & (index[:, None] > index)
        if t < self.slots:  # the bank never fills
            return before
        alike = key @ key.transpose(1, 2)
        evicted = torch.zeros(b, t, dtype=torch.bool, device=key.device)
        redundancy = torch.zeros(b, t, device=key.device)
        rows = []
        for i in range(t):
            rows.append(before[:, i] & ~evicted)
            redundancy[:, i] = alike[:, i].masked_fill(~rows[i], -2).amax(1)
            held = rows[i] | (index == i)
            old = held & (i + 1 - index > self.window)
            worst = redundancy.masked_fill(~old, -3).argmax(1)
            full = held.sum(1) == self.slots
            evicted[full, worst[full]] = True
        return torch.stack(rows, 1)

    def empty_cache(self, rows: int) -> tuple[Tensor, ...]:
        """See `Memory`.

        Returns:
            The bank's pairs `(b, r, s, 2, H, e)` and frame keys `(b, r, d)`; and, as the last frame
            left them and as the frame itself leaves them, when each slot was written (counted from
            1, 0 for never) and how redundant it is, `(b, 2, r)`, and the free slot, `(b, 2)`.
        """
        r = self.slots
        pairs = torch.zeros(rows, r, self.sites, 2, self.heads, self.width)
        keys = torch.zeros(rows, r, self.heads * self.width)
        return pairs, keys, torch.zeros(rows, 2, r), torch.zeros(rows, 2, r), torch.zeros(rows, 2)

    def step(
        self, x: Tensor, action: Tensor, position: MemoryPosition, cache: tuple[Tensor, ...]
    ) -> Tensor:
        """See `Memory`."""
        pairs, keys, all_stamps, all_redundancy, all_free = cache
        q, k, v, frame_query, frame_key = self.split(x)
        rows, now = position.rows, position.time[:, None] + 1
        stamps, redundancy = position.read(all_stamps), position.read(all_redundancy)
        free = position.read(all_free).long()
        slot = torch.arange(self.slots, device=x.device)
        held = (stamps > 0) & (slot != free[:, None])
        scores = (keys * frame_query[:, None]).sum(-1)
        scores = scores.masked_fill(~held | (now - stamps <= self.window), -torch.inf)
        scores, frames = scores.topk(ARCHIVE_TOP, 1)
        read = self.attend(q, pairs[rows[:, None], frames], scores)
        alike = (keys * frame_key[:, None]).sum(-1).masked_fill(~held, -2).amax(1)
        pairs[rows, free], keys[rows, free] = torch.stack((k, v), 2), frame_key
        own = slot == free[:, None]
        stamps = torch.where(own, now.float(), stamps)
        redundancy = torch.where(own, alike[:, None], redundancy)
        old = (stamps > 0) & (now + 1 - stamps > self.window)
        worst = redundancy.masked_fill(~old, -3).argmax(1)
        next_free = torch.where(position.time + 1 < self.slots, position.time + 1, worst)
        position.write(all_stamps, stamps)
        position.write(all_redundancy, redundancy)
        position.write(all_free, next_free.float())
        return self.merge(read, x.shape)

    def hide(self, cache: tuple[Tensor, ...], time: Tensor) -> None:
        """See `Memory`: the free slot and those that were never written."""
        pairs, keys, *turns = cache
        rows = torch.arange(len(time), device=time.device)
        for tensor in turns:
            hide_slots(tensor, time)
        last = (time + 1) % 2
        stamps, free = turns[0][rows, last], turns[2][rows, last].long()
        hidden = stamps == 0
        hidden[rows, free] = True
        pairs[hidden], keys[hidden] = 0, 0
