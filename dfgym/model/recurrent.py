"""The recurrent original of Diffusion Forcing: a latent carried on, and a denoiser that reads it.

One pass over a frame is blocks over its noisy tokens, a convolutional GRU that updates the latent
of the frame before it, and blocks that read both latents and say what the frame is, what was paid
and whether the episode ended (Chen et al. 2024, section 3.1 and appendix B; the gates are those of
Cho et al. 2014). The first blocks see no latent, so in training only the GRU runs frame by frame.

Legend: b batch, t frames, h w c a frame, y x the token grid, d width, R reward buckets.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from itertools import chain
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dfgym.model.layers import Block, Convolution, Modulation, modulate
from dfgym.model.transformer import Output, Picture, Told, Transformer, TransformerConfig, say


class Cell(nn.Module):
    """A convolutional GRU over latents `(n, y, x, d)`, which stay within (-1, 1).

    What the frame says to the gates and what the latent says are sums of two parts, each worked
    out once: the frame's for all frames of a sequence together, the latent's for all copies of the
    frame that reads it.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm = Modulation(dim)
        self.news = Convolution(dim, 3 * dim)
        self.carry = Convolution(dim, 3 * dim, 3)
        self.read = Convolution(2 * dim, dim)
        with torch.no_grad():  # some channels forget within a frame, others remember many
            self.carry.bias[dim : 2 * dim] = torch.linspace(-1, 3, dim)

    def forward(self, latent: Tensor, carried: Tensor, news: Tensor) -> Tensor:
        """The next latent, of the last one, `carry` of it and `news`; `(..., y, x, d)`."""
        reset, keep, old = carried.float().chunk(3, -1)
        reset_news, keep_news, new = news.float().chunk(3, -1)
        candidate = torch.tanh(new + torch.sigmoid(reset + reset_news) * old)
        return torch.lerp(candidate, latent, torch.sigmoid(keep + keep_news))


class Moment(NamedTuple):
    """Where in time each row of a batch is; the same for all passes over one frame.

    Attributes:
        last: rows and slots, both int64 `(b,)`, of the latents of the frames before.
        place: rows and slots where the frames' own latents go.
        begun: float `(b, 1, 1, 1)`, 0 where there is no frame before.
    """

    last: tuple[Tensor, Tensor]
    place: tuple[Tensor, Tensor]
    begun: Tensor


class Recurrent(nn.Module):
    """Estimate clean frames from noisy ones, each given its level, its action and a latent."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.config = config
        # Tokens and conditions in, picture and outcome out: a transformer without blocks.
        self.shell = Transformer(replace(config, depth=0))
        self.blocks = nn.ModuleList(Block(config.dim, 0) for _ in range(config.depth))
        self.cell = Cell(config.dim)

    def picture(self, x: Tensor) -> Picture:
        """What is said of frames by their last tokens `(n, y, x, d)`."""
        return self.shell.picture(x)

    def outcome(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of reward `(n, R)` and termination `(n,)` of the last tokens `(n, y, x, d)`."""
        return self.shell.outcome(x)

    def modulations(self, condition: Tensor) -> Tensor:
        """What the norms of blocks and cell make of `(n, d)`: `(n, 2 depth + 1, 2, 1, 1, d)`."""
        norms: Iterable[nn.Module] = chain(*(block.norms for block in self.blocks))  # type: ignore[arg-type]
        return torch.stack([norm(condition) for norm in (*norms, self.cell.norm)], 1)

    def _think(self, i: int, x: Tensor, by: Tensor) -> Tensor:
        block = self.blocks[i]
        assert isinstance(block, Block)
        return block.after(block.before(x, by[:, 2 * i]), by[:, 2 * i + 1])

    def hear(self, x: Tensor, by: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens after the first half of the blocks, and what they say to the cell."""
        for i in range(len(self.blocks) // 2):
            x = self._think(i, x, by)
        return x, self.cell.news(modulate(x, by[:, -1]))

    def say(self, x: Tensor, by: Tensor, last: Tensor, latent: Tensor) -> Tensor:
        """The last tokens, given the latent before the frame and the one after."""
        x = x + self.cell.read(torch.cat((last, latent), -1))
        for i in range(len(self.blocks) // 2, len(self.blocks)):
            x = self._think(i, x, by)
        return x

    def forward(
        self,
        frames: Tensor,
        tau: Tensor,
        actions: Tensor,
        time: Tensor,
        mask: Tensor,
        jump: Tensor | None = None,
    ) -> Output:
        """See whole sequences at once, each frame in two copies.

        Every context copy updates the latent of the one before it, and every target copy reads
        that same latent and is read by none.

        Args:
            frames: `(b, 2 t, h, w, c)`: t context copies, then t target copies.
            tau: `(b, 2 t)`, the level each copy is told to be at.
            actions: `(b, 2 t)` int64, the action that led to each frame.
            time: of no effect: the order is time.
            mask: `(b, 2 t, 2 t)` bool. A frame that does not see the context copy before its own
                starts from nothing; what lies further back is in the latent, whatever the mask.
            jump: `(b, 2 t)` int64, see `diffusion.shortcut`.
        """
        n = frames.shape[1]
        t = n // 2
        jump = torch.zeros_like(actions) if jump is None else jump
        action = self.shell.embed_action(actions.flatten())
        by = self.modulations(self.shell.condition(tau.flatten(), action, jump.flatten()))
        x, news = self.hear(self.shell.embed(frames.flatten(0, 1)) + action[:, None, None], by)
        context, target = news.unflatten(0, (-1, n)).split(t, 1)
        begun = F.pad(mask.diagonal(-1, 1, 2)[:, : t - 1].float(), (1, 0))[..., None, None, None]
        latent = x.new_zeros(len(frames), *x.shape[1:], dtype=torch.float32)
        last, carried, latents = [], [], []
        for i in range(t):
            last.append(latent * begun[:, i])
            carried.append(self.cell.carry(last[i]))
            latent = self.cell(last[i], carried[i], context[:, i])
            latents.append(latent)
        before = torch.stack(last, 1)
        aimed = self.cell(before, torch.stack(carried, 1), target)
        after = torch.cat((torch.stack(latents, 1), aimed), 1)
        x = self.say(x, by, before.repeat(1, 2, 1, 1, 1).flatten(0, 1), after.flatten(0, 1))
        return say(self.picture(x), self.outcome(x), n)

    def told(self, tau: float, jump: int = 0) -> Told:
        """What `step` needs to know of a level, and of the jump from there."""
        actions = self.shell.embed_action.weight
        level = torch.full_like(actions[:, 0], tau)
        jumps = torch.full_like(level, jump, dtype=torch.int64)
        return Told(actions, self.modulations(self.shell.condition(level, actions, jumps)))

    def empty_rings(
        self, rows: int, device: torch.device | str = "cpu"
    ) -> list[tuple[Tensor, ...]]:
        """Zeroed latents `(b, 2, y, x, d)` for `rows` sequences: the last frame's and one's own."""
        site = self.shell.embed_site
        return [(torch.zeros(rows, 2, *site.shape, dtype=site.dtype, device=device),)]

    def now(self, time: Tensor) -> Moment:
        """Where in time rows are, for `step`; `time` counts their frames so far, `(b,)` int64."""
        rows = torch.arange(len(time), device=time.device)
        begun = (time > 0).float()[:, None, None, None]
        return Moment((rows, (time + 1) % 2), (rows, time % 2), begun)

    def step(
        self,
        frames: Tensor,
        told: Told,
        actions: Tensor,
        now: Moment,
        rings: list[tuple[Tensor, ...]],
    ) -> Tensor:
        """See one frame a row, its past in the latent.

        `picture` and `outcome` of what it returns equal `forward`'s. The frame's own latent goes
        into slot `time % 2` and the other slot is read. So a denoising pass leaves only what the
        next pass overwrites, and the last pass over a frame commits it: a pass at the level its
        successors shall see or, as in the paper's appendix B.6, just the last denoising pass.

        Args:
            frames: `(b, h, w, c)`.
            told: the level that all rows are told to be at.
            actions: `(b,)` int64, the action that led to each frame.
            now: where in time each row is.
            rings: the latents, written in place.

        Returns:
            The last tokens, `(b, y, x, d)`.
        """
        by = told.modulations[actions]
        x, news = self.hear(self.shell.embed(frames) + told.tokens[actions][:, None, None], by)
        ((latents,),) = rings
        last = latents[now.last] * now.begun
        latent = self.cell(last, self.cell.carry(last), news)
        latents[now.place] = latent
        return self.say(x, by, last, latent)
