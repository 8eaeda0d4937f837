"""A memory of selected frames: a bank of what past frames showed, of which a frame reads a few.

Every finished frame goes into the bank, with the pose it was seen from (`dfgym.model.odometer`). A
frame reads the last one and those that together show most of the rest of what it will see, found by
overlapping views ("WorldMem", Xiao et al. 2025), each laid out as it looks from here. When the bank
is full, the frame goes of whose view a later one shows most; then that one stays in its place, and
counts as needed until another shows what it does.

Legend: b batch, t frames, v cells of a view, c channels of a cell and one for its sight, k frames
that are read, r slots of the bank, one more than frames: the free one takes the frame itself.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dfgym.model.config import ARCHIVE_TOP, MAP_AHEAD, MAP_CHANNELS
from dfgym.model.odometer import Odometer, move, poses_before, walk
from dfgym.model.slots import MemoryPosition, Recalled, hide_slots, memory_position

AGES = 4096
"""Frames that are older than this count as equally old where two are compared."""


def find_sight(cells: Tensor) -> Tensor:
    """Return which cells are seen, `(..., v + 1)` of `(..., v, c)`: 1 or 0, and 0 at last."""
    return F.pad((cells[..., 0] > 0).float(), (0, 1))


class Archive(nn.Module):
    """A bank of `size` frames."""

    def __init__(self, dim: int, patch: int, grid: tuple[int, int], size: int) -> None:
        super().__init__()
        self.slots = size + 1
        self.odometer = Odometer(dim, patch, grid)

    @torch.no_grad()
    def select(self, sight: Tensor, poses: Tensor, age: Tensor, here: Tensor) -> Tensor:
        """Select the frames that are read.

        Args:
            sight: `(n, r, v + 1)`, which cells each frame shows: 1 where it does, and 0 at last,
                for cells that it has not.
            poses: `(n, r, 3)`, from where.
            age: `(n, r)`, how many frames ago; 0 where there is none.
            here: `(n, 3)`, from where they will be seen.

        Returns:
            int64 `(n, k)`. The last frame is the first of them.
        """
        index = self.odometer.relative(here[:, None], poses)
        where = self.odometer.layouts(age.device).index_select(0, index.flatten())
        new = sight.gather(2, where.view(*age.shape, -1))
        total = new.new_ones(new.shape[-1])  # products are quicker than sums over the last axis
        late = age.clamp(max=AGES) / AGES  # of frames that show as much, the latest
        frames = [(age == 1).float().argmax(1)]
        rows = torch.arange(len(age), device=age.device)
        for _ in range(ARCHIVE_TOP - 1):
            new *= 1 - new[rows, frames[-1]][:, None]
            frames.append((new @ total - late).masked_fill(age == 0, -2).argmax(1))
        return torch.stack(frames, 1)

    @torch.no_grad()
    def replace(self, redundancy: Tensor, poses: Tensor, age: Tensor) -> tuple[Tensor, ...]:
        """Decide which frame would go next, as a new one comes.

        Args:
            redundancy: `(n, r)`, how much of each frame's view a later frame shows.
            poses: `(n, r, 3)`, from where.
            age: `(n, r)`, how many frames ago; 1 for the new one and 0 where there is none.

        Returns:
            The redundancy with the new frame; the frame that would go `(n,)`; and the one that
            would then be needed in its place `(n,)`.
        """
        rows = torch.arange(len(age), device=age.device)
        overlap = self.odometer.overlap(poses[rows, (age == 1).float().argmax(1)][:, None], poses)
        redundancy = torch.where(age == 1, -1.0, torch.maximum(redundancy, overlap))
        late = age.clamp(max=AGES) / (2 * AGES)
        worst = (redundancy + late).masked_fill(age == 0, -2).argmax(1)
        overlap = self.odometer.overlap(poses[rows, worst][:, None], poses) - late
        earlier = (age == 0) | (age >= age[rows, worst][:, None])
        return redundancy, worst, overlap.masked_fill(earlier, -2).argmax(1)

    def forward(self, x: Tensor, action: Tensor, begun: Tensor) -> Tensor:
        """See `Memory`."""
        b, t = begun.shape
        with torch.autocast(x.device.type, enabled=False):
            x = x[:, :t].float()
            cells = self.odometer.write_of(x.flatten(0, 1)).unflatten(0, (b, t))
            motion = self.odometer.motion.sequence(x, action.float(), begun)
            poses = walk(motion.argmax(-1), begun)
            before = poses_before(poses, begun)
            index = torch.arange(t, device=x.device)
            age = (index[:, None] - index) * self.stored(poses.detach(), begun)  # b t t

            def spread(tensor: Tensor) -> Tensor:
                return tensor[:, None].expand(-1, t, *tensor.shape[1:]).flatten(0, 1)

            age = age.flatten(0, 1)
            sight, here = spread(find_sight(cells)), poses.flatten(0, 1)
            frames = self.select(sight, spread(poses), age, here)
            rows = torch.arange(b, device=x.device).repeat_interleave(t)[:, None]
            read = self.odometer.lay_out(
                cells[rows, frames],
                poses[rows, frames],
                age.gather(1, frames),
                before.flatten(0, 1),
                motion.flatten(0, 1),
            )
        return read.unflatten(0, (b, t)).repeat(1, 2, 1, 1, 1)

    def stored(self, poses: Tensor, begun: Tensor) -> Tensor:
        """Return which frames (columns) the bank holds as each (row) comes, bool `(b, t, t)`."""
        b, t = begun.shape
        episode = (~begun).cumsum(1)
        index = torch.arange(t, device=poses.device)
        before = (episode[:, :, None] == episode[:, None]) & (index[:, None] > index)
        if t < self.slots:  # the bank never fills
            return before
        evicted = torch.zeros(b, t, dtype=torch.bool, device=poses.device)
        redundancy = torch.full((b, t), -1.0, device=poses.device)
        rows = []
        for i in range(t):
            rows.append(before[:, i] & ~evicted)
            held = rows[i] | (index == i)
            redundancy, worst, heir = self.replace(redundancy, poses, (i + 1 - index) * held)
            full = held.sum(1) == self.slots
            evicted[full, worst[full]] = True
            redundancy[full, heir[full]] = 0
        return torch.stack(rows, 1)

    def empty_cache(self, rows: int) -> tuple[Tensor, ...]:
        """See `Memory`.

        Returns:
            The bank's cells `(b, r, v, c)`, which of them are seen `(b, r, v + 1)`, and poses
            `(b, r, 3)`; and, as the last frame left them and as the frame itself leaves them, when
            each slot was written (counted from 1, 0 for never) and how redundant it is,
            `(b, 2, r)`, the free slot, `(b, 2)`, the pose, `(b, 2, 3)`, and what decides how the
            next action moves, `(b, 2, 16)`.
        """
        r = self.slots
        return (
            torch.zeros(rows, r, self.odometer.sites, MAP_CHANNELS + 1),
            torch.zeros(rows, r, self.odometer.sites + 1),
            torch.zeros(rows, r, 3),
            torch.zeros(rows, 2, r),
            torch.zeros(rows, 2, r),
            torch.zeros(rows, 2),
            torch.zeros(rows, 2, 3),
            torch.zeros(rows, 2, MAP_AHEAD),
        )

    def look(
        self, action: Tensor, position: MemoryPosition, cache: tuple[Tensor, ...]
    ) -> tuple[Tensor, ...]:
        """See `Memory`.

        Returns:
            What the selected frames show, as tokens `(b, y, x, d)`; the pose `(b, 3)`; the free
            slot `(b,)`; and when each slot was written once the frame is, `(b, r)`.
        """
        cells, sight, poses, all_stamps, _, all_free, all_poses, all_ahead = cache
        rows, now = position.rows, position.time[:, None] + 1
        stamps, free = position.read(all_stamps), position.read(all_free).long()
        before, ahead = position.read(all_poses), position.read(all_ahead)
        own = torch.arange(self.slots, device=free.device) == free[:, None]
        motion = self.odometer.motion.choose(action, ahead)
        here = move(before, motion.argmax(-1))
        age = torch.where((stamps > 0) & ~own, now - stamps, 0.0)
        frames = self.select(sight, poses, age, here)
        row = rows[:, None]
        read = self.odometer.lay_out(
            cells[row, frames], poses[row, frames], age.gather(1, frames), before, motion
        )
        return read, here, free, torch.where(own, now.float(), stamps)

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
        _, here, free, stamps = looked
        cells, sight, poses, all_stamps, all_redundancy, all_free, all_poses, all_ahead = cache
        rows, now = position.rows, position.time[:, None] + 1
        written = self.odometer.write_of(x)
        cells[rows, free], sight[rows, free], poses[rows, free] = written, find_sight(written), here
        redundancy, worst, heir = self.replace(
            position.read(all_redundancy), poses, torch.where(stamps > 0, now + 1 - stamps, 0.0)
        )
        full = position.time + 1 >= self.slots
        next_free = torch.where(full, worst, position.time + 1)
        redundancy[rows, heir] = torch.where(full, 0.0, redundancy[rows, heir])
        position.write(all_stamps, stamps)
        position.write(all_redundancy, redundancy)
        position.write(all_free, next_free.float())
        position.write(all_poses, here)
        position.write(all_ahead, self.odometer.motion.look_ahead(x))

    def recall(self, cache: tuple[Tensor, ...], time: Tensor) -> Recalled:
        """See `Memory`: selects again what the last frame has read."""
        _, sight, poses, all_stamps, _, _, all_poses, _ = cache
        position, now = memory_position(time), time[:, None]
        stamps = position.read(all_stamps)
        age = torch.where((stamps > 0) & (stamps != now), now - stamps, 0.0)
        frames = self.select(sight, poses, age, position.read(all_poses))
        return Recalled(ages=age.gather(1, frames).long())

    def hide(self, cache: tuple[Tensor, ...], time: Tensor) -> None:
        """See `Memory`: the free slot and those that were never written."""
        cells, sight, poses, *turns = cache
        rows = torch.arange(len(time), device=time.device)
        for tensor in turns:
            hide_slots(tensor, time)
        last = (time + 1) % 2
        stamps, free = turns[0][rows, last], turns[2][rows, last].long()
        hidden = stamps == 0
        hidden[rows, free] = True
        for bank in (cells, sight, poses):
            bank[hidden] = 0
