"""A memory as a state: a matrix for each token, updated by a gated delta rule.

S <- a S + b (v - a S k) k^T with k of length 1: what was stored under a key is replaced by a share
b and all else decays by a (Yang et al. 2024, "Gated delta networks"). b reaches up to 2, where the
update mirrors, so that the state can count, as how often the agent has turned (Grazzi et al. 2024).
A frame reads S of the frame before it. Nothing of a frame that is yet to come says under which key
it was stored, but where the agent will be: so keys also hold the pose, see `dfgym.model.odometer`.
The last frame is laid out as it looks from there, and from that the odometer learns.

Every update takes a share of about 1 / e of what is stored under other keys, so a state recalls
some e frames; several smaller ones (heads) of as many numbers in all forget sooner.

Legend: b batch, t frames, s = y * x tokens, e size of a state's side, d width, v cells of a view, c
channels of a cell and one for its sight.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dfgym.model.config import MAP_AHEAD, MAP_CHANNELS
from dfgym.model.layers import Convolution
from dfgym.model.odometer import Odometer, move, poses_before, walk
from dfgym.model.slots import MemoryPosition, Recalled, hide_slots

WAVES = 32
"""Waves over the plane by which keys say where the agent is."""


def place_code(pose: Tensor) -> Tensor:
    """Return what keys say of poses `(..., 3)`, `(..., 256)`: places and headings far apart."""
    index = torch.arange(1, WAVES + 1, device=pose.device, dtype=torch.float64) ** 2
    # Spread over the plane and in no order, so that other places are other sums of waves.
    turns = torch.stack((index * 0.7548776662466927, index * 0.5698402909980532)) % 1
    waves = 2 * torch.pi * turns
    angle = pose[..., :2].double() @ waves
    code = torch.cat((angle.cos(), angle.sin()), -1).to(pose.dtype)
    headings = F.one_hot(pose[..., 2].long(), 4).to(pose.dtype)
    return (headings[..., None] * code[..., None, :]).flatten(-2) / WAVES**0.5


class StateSpace(nn.Module):
    """A matrix of `size` x `size` for every token."""

    def __init__(self, dim: int, patch: int, grid: tuple[int, int], size: int) -> None:
        super().__init__()
        self.size, self.sites = size, grid[0] * grid[1]
        self.odometer = Odometer(dim, patch, grid)
        self.place_key = nn.Linear(8 * WAVES, size, bias=False)
        nn.init.normal_(self.place_key.weight)
        self.place_share = nn.Parameter(torch.full((), 2.0))
        self.project = Convolution(dim, 3 * size)
        self.gates = Convolution(dim, 2)
        self.out = Convolution(size, dim)
        with torch.no_grad():  # at first a state fades over about 1000 frames
            self.gates.bias[0] = 7.0

    def split(self, x: Tensor, pose: Tensor) -> tuple[Tensor, ...]:
        """Project `(..., y, x, d)` to queries, keys and values `(..., s, e)`, log a and b.

        Args:
            x: tokens.
            pose: of the agent, `(..., 3)`.
        """
        lead = x.shape[:-3]
        x = F.layer_norm(x, x.shape[-1:]).flatten(0, -4)
        projected = self.project(x).reshape(*lead, self.sites, 3, self.size).float()
        q, k, v = projected.unbind(-2)
        decay, rate = self.gates(x).reshape(*lead, self.sites, 2).float().unbind(-1)
        place = self.place_key(place_code(pose))[..., None, :]
        place = self.place_share * F.normalize(place, dim=-1)
        unit = [F.normalize(F.normalize(x, dim=-1) + place, dim=-1) for x in (q, k)]
        return *unit, v, F.logsigmoid(decay), 2 * rate.sigmoid()

    def merge(self, read: Tensor, shape: torch.Size) -> Tensor:
        """Bring what was read, `(..., s, e)`, to tokens of shape `(..., y, x, d)`."""
        y, x = shape[-3:-1]
        return self.out(read.reshape(-1, y, x, self.size)).view(shape)

    def forward(self, x: Tensor, action: Tensor, begun: Tensor) -> Tensor:
        """See `Memory`: all frames at once, which solves for the updates (Yang et al. 2024b)."""
        b, t = begun.shape
        with torch.autocast(x.device.type, enabled=False):
            pose, view = self.sequence(x[:, :t].float(), action.float(), begun)
            parts = self.split(x, pose.repeat(1, 2, 1))
            q, k, v, decay, rate = (tensor.transpose(1, 2) for tensor in parts)  # b s 2t ...
            k, v, rate = k[:, :, :t], v[:, :, :t], rate[:, :, :t, None]
            total = decay[:, :, :t].cumsum(2)  # b s t: log of all decay so far
            episode = (~begun).cumsum(1)
            order = torch.ones(t, t, dtype=torch.bool, device=x.device).tril(-1)
            before = ((episode[:, :, None] == episode[:, None]) & order)[:, None]
            past = (total[..., None] - total[..., None, :]).masked_fill(~before, -torch.inf).exp()
            mixing = rate * past * (k @ k.transpose(-1, -2))
            unit = torch.eye(t, device=x.device)
            updates = torch.linalg.solve_triangular(unit + mixing, rate * v, upper=False)
            total_before = F.pad(total, (1, 0))[..., :t]  # a frame reads before its own decay
            past = (total_before[..., None] - total[..., None, :]).masked_fill(~before, -torch.inf)
            read = (past.exp().repeat(1, 1, 2, 1) * (q @ k.transpose(-1, -2))) @ updates
        read = self.merge(read.transpose(1, 2), x.shape)
        return read + view.unflatten(0, (b, t)).repeat(1, 2, 1, 1, 1)

    def sequence(self, x: Tensor, action: Tensor, begun: Tensor) -> tuple[Tensor, Tensor]:
        """Return the poses `(b, t, 3)`, and the last frames as seen from there, as tokens."""
        odometer = self.odometer
        cells = odometer.write_of(x.flatten(0, 1)).unflatten(0, begun.shape)
        motion = odometer.motion.sequence(x, action, begun)
        pose = walk(motion.argmax(-1), begun)
        before = poses_before(pose, begun)
        last = F.pad(cells[:, :-1], (0, 0, 0, 0, 1, 0)).flatten(0, 1)[:, None]
        before, age = before.flatten(0, 1), begun.flatten()[:, None].float()
        view = odometer.lay_out(last, before[:, None], age, before, motion.flatten(0, 1))
        return pose, view

    def empty_cache(self, rows: int) -> tuple[Tensor, ...]:
        """See `Memory`: as the last frame left them and as the frame itself leaves them.

        Returns:
            The states `(b, 2, s, e, e)`, what the frame shows `(b, 2, v, c)`, the pose
            `(b, 2, 3)` and what decides how the next action moves `(b, 2, 16)`.
        """
        return (
            torch.zeros(rows, 2, self.sites, self.size, self.size),
            torch.zeros(rows, 2, self.odometer.sites, MAP_CHANNELS + 1),
            torch.zeros(rows, 2, 3),
            torch.zeros(rows, 2, MAP_AHEAD),
        )

    def look(
        self, action: Tensor, position: MemoryPosition, cache: tuple[Tensor, ...]
    ) -> tuple[Tensor, ...]:
        """See `Memory`.

        Returns:
            The states `(b, s, e, e)`, the pose `(b, 3)`, and the last frame as tokens
            `(b, y, x, d)`.
        """
        all_states, all_cells, all_poses, all_ahead = cache
        odometer, before = self.odometer, position.read(all_poses)
        motion = odometer.motion.choose(action, position.read(all_ahead))
        last, age = position.read(all_cells)[:, None], (position.time > 0)[:, None].float()
        view = odometer.lay_out(last, before[:, None], age, before, motion)
        return position.read(all_states), move(before, motion.argmax(-1)), view

    def read(self, x: Tensor, looked: tuple[Tensor, ...]) -> Tensor:
        """See `Memory`."""
        states, pose, view = looked
        q = self.split(x, pose)[0]
        return self.merge((states @ q[..., None]).squeeze(-1), x.shape) + view

    def write(
        self,
        x: Tensor,
        looked: tuple[Tensor, ...],
        position: MemoryPosition,
        cache: tuple[Tensor, ...],
    ) -> None:
        """See `Memory`."""
        states, pose, _ = looked
        all_states, all_cells, all_poses, all_ahead = cache
        _, k, v, decay, rate = self.split(x, pose)
        decay = decay.exp()[..., None]
        update = rate[..., None] * (v - decay * (states @ k[..., None]).squeeze(-1))
        position.write(
            all_states, torch.addcmul(states * decay[..., None], update[..., None], k[..., None, :])
        )
        position.write(all_cells, self.odometer.write_of(x))
        position.write(all_poses, pose)
        position.write(all_ahead, self.odometer.motion.look_ahead(x))

    def recall(self, cache: tuple[Tensor, ...], time: Tensor) -> Recalled:
        """See `Memory`: a state says nothing to the eye."""
        return Recalled()

    def hide(self, cache: tuple[Tensor, ...], time: Tensor) -> None:
        """See `Memory`."""
        for tensor in cache:
            hide_slots(tensor, time)
