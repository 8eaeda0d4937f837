"""Where the agent is, and what frames show from there: for worlds that are seen from within.

The agent is at the middle of the lower edge of the view and looks up. Before each frame it moves in
one of four ways, which the network chooses from the action and from the last frame (a wall stops a
step), so no recorded pose is needed. Added up, the motions are a pose on a grid, relative to where
the episode began, exact over any time; and what a past frame showed can be laid out as it is seen
from here.

Legend: n rows, b batch, t frames, h w cells of a view, v = h * w, p cells along a patch, y = h / p,
x = w / p, d width, c channels of a cell and one for its sight, k frames that are laid out. A pose
is x, y and heading, where headings 0 to 3 are right, down, left and up, and y points down.
"""

from __future__ import annotations

import functools

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dfgym.model.config import MAP_AHEAD as AHEAD
from dfgym.model.config import MAP_CHANNELS as CHANNELS
from dfgym.model.layers import Convolution, fold, unfold

MOTIONS = 4


@functools.cache
def headings(device: torch.device) -> Tensor:
    """Return the x and y of a step in each heading, `(4, 2)`."""
    return torch.tensor(((1.0, 0.0), (0.0, 1.0), (-1.0, 0.0), (0.0, -1.0)), device=device)


@functools.cache
def view_cells(view: tuple[int, int], device: torch.device) -> tuple[Tensor, Tensor]:
    """Return how far ahead of the agent and to its right the cells of a view are, `(v,)`."""
    h, w = view
    cell = torch.arange(h * w, device=device)
    return h - 1 - cell // w, cell % w - (w - 1) // 2


class Motion(nn.Module):
    """Chooses how an action moves the agent: stay, turn left, turn right or ahead."""

    def __init__(self, dim: int, grid: tuple[int, int]) -> None:
        super().__init__()
        self.ahead = Convolution(grid[0] * grid[1] * dim, AHEAD)
        self.choice = nn.Sequential(
            Convolution(dim + AHEAD, dim), nn.SiLU(), Convolution(dim, MOTIONS)
        )
        last = self.choice[-1]
        assert isinstance(last, Convolution)
        with torch.no_grad():  # else the blocks learn to shift what stays, and it stays for good
            last.bias[0] = -3.0

    def look_ahead(self, x: Tensor) -> Tensor:
        """Read of frames `(n, y, x, d)` what decides how the next action moves, `(n, 16)`."""
        return self.ahead(x.reshape(len(x), 1, 1, -1)).tanh().flatten(1)

    def choose(self, action: Tensor, ahead: Tensor) -> Tensor:
        """Compute the logits of the motions, `(n, 4)`, from embedded actions `(n, d)`."""
        inputs = torch.cat((action, ahead), 1)[:, None, None]
        return self.choice(inputs).float().flatten(1)

    def sequence(self, x: Tensor, action: Tensor, begun: Tensor) -> Tensor:
        """Compute the logits `(b, t, 4)` of whole sequences `(b, t, y, x, d)`, see `Memory`."""
        ahead = self.look_ahead(x.flatten(0, 1)).unflatten(0, begun.shape)
        ahead = F.pad(ahead[:, :-1], (0, 0, 1, 0)) * begun[..., None]
        return self.choose(action.flatten(0, 1), ahead.flatten(0, 1)).unflatten(0, begun.shape)


def weigh_ways(logits: Tensor) -> tuple[Tensor, Tensor]:
    """Return the motions under which memories are looked at, and their weights, `(n, m)` each.

    Args:
        logits: of the motions, `(n, 4)`.

    Returns:
        At run time the likeliest alone. In training all of them by their shares, a blend, which no
        choice but the right one betters: if one alone were shown, what a wrong one shows would be
        ignored before the right one is ever tried.
    """
    if not logits.requires_grad:
        return logits.argmax(-1, keepdim=True), logits.new_ones(len(logits), 1)
    return torch.arange(MOTIONS, device=logits.device).expand(len(logits), -1), logits.softmax(-1)


def move(pose: Tensor, motion: Tensor) -> Tensor:
    """Return poses `(..., 3)` after the motions of numbers `(...)`."""
    turn = (motion == 2).float() - (motion == 1).float()
    heading = (pose[..., 2] + turn) % 4
    step = headings(pose.device)[heading.long()] * (motion == 3)[..., None]
    return torch.cat((pose[..., :2] + step, heading[..., None]), -1)


def walk(motion: Tensor, begun: Tensor) -> Tensor:
    """Return the poses `(b, t, 3)` after motions of numbers `(b, t)`."""
    pose, poses = torch.zeros(len(motion), 3, device=motion.device), []
    for i in range(motion.shape[1]):
        pose = move(pose * begun[:, i, None], motion[:, i])
        poses.append(pose)
    return torch.stack(poses, 1)


def poses_before(poses: Tensor, begun: Tensor) -> Tensor:
    """Return the poses `(b, t, 3)` of the frames before, zeros where an episode begins."""
    return F.pad(poses[:, :-1], (0, 0, 1, 0)) * begun[..., None]


@functools.cache
def find_layouts(view: tuple[int, int], reach: int, device: torch.device) -> Tensor:
    """Return which cell of another view each cell of a view is, by how the two stand.

    Returns:
        int64 `(m, v)`, v for none, where the m relative poses are numbered as by
        `Odometer.relative`.
    """
    h, w = view
    far = torch.arange(-reach, reach + 1)
    turn, forward, right = torch.meshgrid(torch.arange(4), far, far, indexing="ij")
    ahead, aside = view_cells(view, turn.device)
    cosine, sine = headings(turn.device).long()[turn][..., None, :].unbind(-1)
    row = h - 1 - (forward[..., None] + ahead * cosine - aside * sine)
    column = (w - 1) // 2 + right[..., None] + ahead * sine + aside * cosine
    inside = (row >= 0) & (row < h) & (column >= 0) & (column < w)
    return torch.where(inside, row * w + column, h * w).flatten(0, 2).to(device)


@functools.cache
def count_overlaps(view: tuple[int, int], reach: int, device: torch.device) -> Tensor:
    """Count the cells of a view that are in another one too, `(m,)`, see `find_layouts`."""
    return (find_layouts(view, reach, device) < view[0] * view[1]).sum(-1).float()


class Odometer(nn.Module):
    """Keeps the pose, and lays out what past frames showed as it is seen from there."""

    def __init__(self, dim: int, patch: int, grid: tuple[int, int]) -> None:
        super().__init__()
        self.patch, self.view = patch, (grid[0] * patch, grid[1] * patch)
        self.sites, self.reach = self.view[0] * self.view[1], 2 * max(self.view) - 1
        self.motion = Motion(dim, grid)
        self.write_view = Convolution(dim, patch**2 * (CHANNELS + 1))
        self.read_view = Convolution(patch**2 * CHANNELS, dim)
        self.fade = nn.Parameter(torch.full((), 2.0))

    def layouts(self, device: torch.device) -> Tensor:
        """Return which cell of another view each cell of this one is, see `find_layouts`."""
        return find_layouts(self.view, self.reach, device)

    def overlap(self, pose: Tensor, other: Tensor) -> Tensor:
        """Count the cells `(...)` that are in view from both of two poses `(..., 3)`."""
        return count_overlaps(self.view, self.reach, pose.device)[self.relative(pose, other)]

    def relative(self, pose: Tensor, other: Tensor) -> Tensor:
        """Return the number `(...)` of how poses stand as seen from others, both `(..., 3)`."""
        cosine, sine = headings(pose.device)[other[..., 2].long()].unbind(-1)
        x, y = (pose[..., :2] - other[..., :2]).unbind(-1)
        reach, side = self.reach, 2 * self.reach + 1
        forward = (x * cosine + y * sine).clamp(-reach, reach)
        right = (y * cosine - x * sine).clamp(-reach, reach)
        turn = (pose[..., 2] - other[..., 2]) % 4
        return (((turn * side) + forward + reach) * side + right + reach).long()

    def write_of(self, x: Tensor) -> Tensor:
        """Compute what frames `(n, y, x, d)` show, and how sure that is: `(n, v, c)`."""
        cells = unfold(self.write_view(x), self.patch).float().flatten(1, 2)
        return torch.cat((cells[..., :1], cells[..., 1:].tanh()), -1)

    def lay_out(
        self, cells: Tensor, poses: Tensor, age: Tensor, before: Tensor, motion: Tensor
    ) -> Tensor:
        """Show past frames as they are seen after a motion.

        Args:
            cells: `(n, k, v, c)`, what the frames showed.
            poses: `(n, k, 3)`, from where.
            age: `(n, k)`, how many frames ago; 0 for no frame.
            before: `(n, 3)`, the pose before the motion.
            motion: its logits, `(n, 4)`, see `weigh_ways`.

        Returns:
            `(n, y, x, d)`.
        """
        n, k = age.shape
        ways, weight = weigh_ways(motion)
        after = move(before[:, None].expand(-1, ways.shape[1], -1), ways)  # n m 3
        where = self.layouts(age.device)[
            self.relative(after[:, :, None], poses[:, None])
        ]  # n m k v
        hidden = (where == self.sites) | (age == 0)[:, None, :, None]
        first = torch.arange(n * k, device=age.device).view(n, 1, k, 1) * self.sites
        index = (first + where.clamp(max=self.sites - 1)).flatten()
        moved = cells.flatten(0, 2).index_select(0, index).view(*where.shape, -1)
        sight = moved[..., 0] - F.softplus(self.fade) * age.clamp(min=1).log()[:, None, :, None]
        sight = sight.masked_fill(hidden, -torch.inf)
        share = F.pad(sight, (0, 0, 0, 1)).softmax(2)[:, :, :-1]
        view = (share[..., None] * moved[..., 1:]).sum(2)  # n m v c
        view = (view * weight[..., None, None]).sum(1).unflatten(1, self.view)
        return self.read_view(fold(view.contiguous(), self.patch))
