"""A memory in space: a map around the agent, which turns and shifts as the agent moves.

For worlds that are seen from within: before each frame the map is moved as the agent moves, see
`dfgym.model.odometer`. What a finished frame shows is written into the cells in view, and the next
frame reads the cells that will be in view.

Legend: b batch, t frames, h w cells of a frame, p cells along a patch, y = h / p, x = w / p, d
width, g cells along the map's side, c channels of a cell.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dfgym.model.config import MAP_AHEAD as AHEAD
from dfgym.model.config import MAP_CHANNELS as CHANNELS
from dfgym.model.layers import Convolution, fold, unfold
from dfgym.model.odometer import Motion, choose_one, headings, move, view_cells
from dfgym.model.slots import MemoryPosition, Recalled, hide_slots, memory_position


class SpatialMap(nn.Module):
    """A map of `size` x `size` cells."""

    def __init__(self, dim: int, patch: int, grid: tuple[int, int], size: int) -> None:
        super().__init__()
        self.patch, self.size = patch, size
        self.view = (grid[0] * patch, grid[1] * patch)
        self.top = size // 2 - self.view[0] + 1
        self.left = size // 2 - (self.view[1] - 1) // 2
        self.motion = Motion(dim, grid)
        self.write_view = Convolution(dim, patch**2 * (CHANNELS + 1))
        self.read_view = Convolution(patch**2 * CHANNELS, dim)

    def move(self, cells: Tensor, motion: Tensor) -> Tensor:
        """Move maps `(n, g, g, c)` by the likeliest motion; gradients are of all, by likelihood."""
        index = torch.arange(self.size**2, device=cells.device).view(self.size, self.size)
        ahead = F.pad(index[:-1], (0, 0, 1, 0), value=self.size**2)  # where nothing is known
        ways = torch.stack((index, index.rot90(-1), index.rot90(1), ahead)).flatten(1)
        padded = F.pad(cells.flatten(1, 2), (0, 0, 0, 1))
        if not torch.is_grad_enabled():
            rows = torch.arange(len(cells), device=cells.device)[:, None]
            return padded[rows, ways[motion.argmax(-1)]].view(cells.shape)
        weight = choose_one(motion)
        return (padded[:, ways] * weight[:, :, None, None]).sum(1).view(cells.shape)

    def in_view(self, cells: Tensor) -> Tensor:
        """Return the part of maps that a frame shows, `(n, h, w, c)`, a view."""
        height, width = self.view
        return cells[:, self.top : self.top + height, self.left : self.left + width]

    def draw(self, cells: Tensor, written: Tensor) -> Tensor:
        """Write what frames show, `(n, h, w, c + 1)` with a gate, into moved maps; fresh maps."""
        view = self.in_view(cells)
        change = self.change(view, written) - view
        height, width = self.view
        right, below = self.size - self.left - width, self.size - self.top - height
        return cells + F.pad(change, (0, 0, self.left, right, self.top, below))

    @staticmethod
    def change(view: Tensor, written: Tensor) -> Tensor:
        """Return what is in view after frames wrote into it."""
        gate, new = written[..., :1].sigmoid(), written[..., 1:].tanh()
        return view + gate * (new - view)

    def write_of(self, x: Tensor) -> Tensor:
        """Compute what frames `(n, y, x, d)` write, `(n, h, w, c + 1)`."""
        return unfold(self.write_view(x), self.patch).float()

    def forward(self, x: Tensor, action: Tensor, begun: Tensor) -> Tensor:
        """See `Memory`."""
        b, t = begun.shape
        context = x[:, :t].flatten(0, 1)
        written = self.write_of(context).unflatten(0, (b, t))
        motion = self.motion.sequence(x[:, :t], action, begun)
        cells = x.new_zeros(b, self.size, self.size, CHANNELS, dtype=torch.float32)
        views = []
        for i in range(t):
            cells = self.move(cells * begun[:, i, None, None, None], motion[:, i])
            views.append(self.in_view(cells))
            cells = self.draw(cells, written[:, i])
        read = self.read_view(fold(torch.stack(views, 1).flatten(0, 1), self.patch))
        return read.unflatten(0, (b, t)).repeat(1, 2, 1, 1, 1)

    def empty_cache(self, rows: int) -> tuple[Tensor, ...]:
        """See `Memory`.

        The map lies still and wraps around, and is not moved as a whole.

        Returns:
            As the last frame left them and as the frame itself leaves them: the map
            `(b, 2, g * g, c)`, the pose `(b, 2, 3)` and what decides how the next action moves
            `(b, 2, 16)`.
        """
        return (
            torch.zeros(rows, 2, self.size**2, CHANNELS),
            torch.zeros(rows, 2, 3),
            torch.zeros(rows, 2, AHEAD),
        )

    def places(self, pose: Tensor, ahead: Tensor, aside: Tensor) -> Tensor:
        """Return where cells lie on the map that lies still, int64 `(b, n)`.

        Args:
            pose: `(b, 3)`.
            ahead: `(n,)`, how far ahead of the agent they are.
            aside: `(n,)`, how far to its right.
        """
        x, y = headings(pose.device)[pose[:, 2].long()].unsqueeze(-1).unbind(1)  # b 1
        column = pose[:, :1] + ahead * x - aside * y
        row = pose[:, 1:2] + ahead * y + aside * x
        return (row % self.size * self.size + column % self.size).long()

    def viewed(self, pose: Tensor) -> Tensor:
        """Return where the cells of the view lie, `(b, h * w)`, see `places`."""
        return self.places(pose, *view_cells(self.view, pose.device))

    def step(
        self, x: Tensor, action: Tensor, position: MemoryPosition, cache: tuple[Tensor, ...]
    ) -> Tensor:
        """See `Memory`."""
        all_cells, all_poses, all_ahead = cache
        motion = self.motion.choose(action, position.read(all_ahead)).argmax(-1)
        pose = move(position.read(all_poses), motion)
        cells, rows, half = position.read(all_cells), position.rows[:, None], self.size // 2
        line = torch.arange(-half, half + 1, device=pose.device)
        came = self.places(
            pose, torch.full_like(line, half), line
        )  # into the map, if it went ahead
        cells[rows, came] *= (motion != 3)[:, None, None]
        places = self.viewed(pose)
        view = cells[rows, places].unflatten(1, self.view)
        cells[rows, places] = self.change(view, self.write_of(x)).flatten(1, 2)
        position.write(all_cells, cells)
        position.write(all_poses, pose)
        position.write(all_ahead, self.motion.look_ahead(x))
        return self.read_view(fold(view, self.patch))

    def recall(self, cache: tuple[Tensor, ...], time: Tensor) -> Recalled:
        """See `Memory`."""
        all_cells, all_poses, _ = cache
        position, half = memory_position(time), self.size // 2
        line = torch.arange(-half, half + 1, device=time.device)
        ahead, aside = torch.meshgrid(-line, line, indexing="ij")
        places = self.places(position.read(all_poses), ahead.flatten(), aside.flatten())
        cells = position.read(all_cells)[position.rows[:, None], places]
        return Recalled(picture=cells[..., :3].unflatten(1, (self.size, self.size)))

    def hide(self, cache: tuple[Tensor, ...], time: Tensor) -> None:
        """See `Memory`."""
        for tensor in cache:
            hide_slots(tensor, time)
