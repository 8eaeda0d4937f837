"""A memory in space: a map of what lies around the agent.

For worlds that are seen from within: the map lies still and wraps around, and the agent's pose
moves on it, see `dfgym.model.odometer`. What a finished frame shows is written into the cells in
view, and the next frame reads the cells that will be in view.

Legend: b batch, t frames, h w cells of a frame, v = h * w, p cells along a patch, y = h / p,
x = w / p, d width, g cells along the map's side, c channels of a cell, m ways to move.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dfgym.model.config import MAP_AHEAD as AHEAD
from dfgym.model.config import MAP_CHANNELS as CHANNELS
from dfgym.model.layers import Convolution, fold, unfold
from dfgym.model.odometer import (
    Motion,
    headings,
    move,
    poses_before,
    view_cells,
    walk,
    weigh_ways,
)
from dfgym.model.slots import MemoryPosition, Recalled, hide_slots, memory_position

OVERWRITE = 3.0
"""How much at first, before the sigmoid, what a frame shows replaces what was known: with less the
motions are learned from what older frames wrote before there were any."""


class SpatialMap(nn.Module):
    """A map of `size` x `size` cells."""

    def __init__(self, dim: int, patch: int, grid: tuple[int, int], size: int) -> None:
        super().__init__()
        self.patch, self.size = patch, size
        self.view = (grid[0] * patch, grid[1] * patch)
        self.motion = Motion(dim, grid)
        self.write_view = Convolution(dim, patch**2 * (CHANNELS + 1))
        self.read_view = Convolution(patch**2 * CHANNELS, dim)

    def change(self, view: Tensor, written: Tensor) -> Tensor:
        """Return what is in view after frames wrote into it; all `(n, v, c)`, with a gate."""
        gate, new = (written[..., :1] + OVERWRITE).sigmoid(), written[..., 1:].tanh()
        return view + gate * (new - view)

    def write_of(self, x: Tensor) -> Tensor:
        """Compute what frames `(n, y, x, d)` write, `(n, v, c + 1)`."""
        return unfold(self.write_view(x), self.patch).float().flatten(1, 2)

    def forward(self, x: Tensor, action: Tensor, begun: Tensor) -> Tensor:
        """See `Memory`."""
        b, t = begun.shape
        written = self.write_of(x[:, :t].flatten(0, 1)).unflatten(0, (b, t))
        motion = self.motion.sequence(x[:, :t], action, begun)
        poses = walk(motion.argmax(-1), begun)
        ways, weight = (tensor.unflatten(0, (b, t)) for tensor in weigh_ways(motion.flatten(0, 1)))
        before = poses_before(poses, begun)[:, :, None].expand(-1, -1, ways.shape[-1], -1)
        looked_at = self.viewed(move(before, ways))  # b t m v
        places, came = self.viewed(poses), self.came(poses)
        stayed = (motion.argmax(-1) != 3).float()[..., None, None]
        cells = x.new_zeros(b, self.size**2, CHANNELS, dtype=torch.float32)
        rows, views = torch.arange(b, device=x.device)[:, None], []
        for i in range(t):
            cells = cells * begun[:, i, None, None]
            cells = cells.index_put((rows, came[:, i]), cells[rows, came[:, i]] * stayed[:, i])
            looks = cells[rows[..., None], looked_at[:, i]]
            views.append((looks * weight[:, i, :, None, None]).sum(1))
            changed = self.change(cells[rows, places[:, i]], written[:, i])
            cells = cells.index_put((rows, places[:, i]), changed)
        view = torch.stack(views, 1).flatten(0, 1).unflatten(1, self.view)
        read = self.read_view(fold(view.contiguous(), self.patch))
        return read.unflatten(0, (b, t)).repeat(1, 2, 1, 1, 1)

    def empty_cache(self, rows: int) -> tuple[Tensor, ...]:
        """See `Memory`.

        Returns:
            The map `(b, g * g, c)` as the frame before the last one left it, and, as the last frame
            left them and as the frame itself leaves them: what is then in view `(b, 2, v, c)`, the
            pose and whether the agent went ahead `(b, 2, 4)`, and what decides how the next action
            moves `(b, 2, 16)`.
        """
        return (
            torch.zeros(rows, self.size**2, CHANNELS),
            torch.zeros(rows, 2, self.view[0] * self.view[1], CHANNELS),
            torch.zeros(rows, 2, 4),
            torch.zeros(rows, 2, AHEAD),
        )

    def places(self, pose: Tensor, ahead: Tensor, aside: Tensor) -> Tensor:
        """Return where cells lie on the map that lies still, int64 `(..., n)`.

        Args:
            pose: `(..., 3)`.
            ahead: `(n,)`, how far ahead of the agent they are.
            aside: `(n,)`, how far to its right.
        """
        x, y = headings(pose.device)[pose[..., 2].long()].split(1, -1)
        column = pose[..., :1] + ahead * x - aside * y
        row = pose[..., 1:2] + ahead * y + aside * x
        return (row % self.size * self.size + column % self.size).long()

    def viewed(self, pose: Tensor) -> Tensor:
        """Return where the cells of the view lie, `(..., v)`, see `places`."""
        return self.places(pose, *view_cells(self.view, pose.device))

    def came(self, pose: Tensor) -> Tensor:
        """Return where the cells lie that came into the map if the agent went ahead, `(..., g)`."""
        half = self.size // 2
        line = torch.arange(-half, half + 1, device=pose.device)
        return self.places(pose, torch.full_like(line, half), line)

    def write_last(self, position: MemoryPosition, cache: tuple[Tensor, ...]) -> Tensor:
        """Write into the maps, in place, what the last frame left; returns its pose `(b, 4)`.

        It may be done again: that changes nothing.
        """
        cells, views, poses, _ = cache
        last, rows = position.read(poses), position.rows[:, None]
        cells.mul_((position.time > 0)[:, None, None])
        cells[rows, self.came(last[:, :3])] *= 1 - last[:, 3, None, None]
        cells[rows, self.viewed(last[:, :3])] = position.read(views)
        return last

    def look(
        self, action: Tensor, position: MemoryPosition, cache: tuple[Tensor, ...]
    ) -> tuple[Tensor, ...]:
        """See `Memory`.

        Returns:
            What is in view, as tokens `(b, y, x, d)` and as cells `(b, v, c)`; and the pose and
            whether the agent went ahead, `(b, 4)`.
        """
        cells, _, _, all_ahead = cache
        last = self.write_last(position, cache)
        motion = self.motion.choose(action, position.read(all_ahead)).argmax(-1)
        pose = move(last[:, :3], motion)
        view = cells[position.rows[:, None], self.viewed(pose)]
        edge = view_cells(self.view, pose.device)[0] == self.size // 2
        view = view * ~(edge & (motion == 3)[:, None])[..., None]  # came just now, not yet written
        tokens = self.read_view(fold(view.unflatten(1, self.view), self.patch))
        return tokens, view, torch.cat((pose, (motion == 3).float()[:, None]), 1)

    def read(self, x: Tensor, looked: tuple[Tensor, ...]) -> Tensor:
        """See `Memory`."""
        return looked[0]

    def write(
        self,
        x: Tensor,
        looked: tuple[Tensor, ...],
        position: MemoryPosition,
        cache: tuple[Tensor, ...],
    ) -> None:
        """See `Memory`."""
        _, view, pose = looked
        _, all_views, all_poses, all_ahead = cache
        position.write(all_views, self.change(view, self.write_of(x)))
        position.write(all_poses, pose)
        position.write(all_ahead, self.motion.look_ahead(x))

    def recall(self, cache: tuple[Tensor, ...], time: Tensor) -> Recalled:
        """See `Memory`."""
        cells, *turns = cache
        position, half = memory_position(time), self.size // 2
        cells = cells.clone()
        pose = self.write_last(position, (cells, *turns))[:, :3]
        line = torch.arange(-half, half + 1, device=time.device)
        ahead, aside = torch.meshgrid(-line, line, indexing="ij")
        places = self.places(pose, ahead.flatten(), aside.flatten())
        picture = cells[position.rows[:, None], places][..., :3]
        return Recalled(picture=picture.unflatten(1, (self.size, self.size)))

    def hide(self, cache: tuple[Tensor, ...], time: Tensor) -> None:
        """See `Memory`."""
        self.write_last(memory_position(time), cache)
        for tensor in cache[1:]:
            hide_slots(tensor, time)
