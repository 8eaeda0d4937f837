"""The recurrent original of Diffusion Forcing: a latent carried on, and a denoiser that reads it.

One pass over a frame is blocks over its noisy tokens, a convolutional GRU that updates the latent
of the frame before it, and blocks that read both latents and say what the frame is, what was paid
and whether the episode ended (Chen et al. 2024, section 3.1 and appendix B; the gates are those of
Cho et al. 2014). The first blocks see no latent, so in training only the GRU runs frame by frame.

Legend: b batch, t frames, h w c a frame, y x the token grid, d width, R reward buckets.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dfgym.model.config import GameSpec, ModelConfig
from dfgym.model.embedding import embed_all
from dfgym.model.layers import Block, Convolution, Modulation, modulate
from dfgym.model.slots import hide_slots
from dfgym.model.transformer import (
    Conditioning,
    FramePrediction,
    NetworkOutput,
    Transformer,
    read_out,
)


class Cell(nn.Module):
    """A convolutional GRU over latents `(n, y, x, d)`, which stay within (-1, 1).

    The gates' inputs are sums of two projections, each computed once: the frame's for all frames of
    a sequence together, the latent's for all copies of the frame that reads it.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm = Modulation(dim)
        self.project_frame = Convolution(dim, 3 * dim)
        self.project_latent = Convolution(dim, 3 * dim, 3)
        self.read_out = Convolution(2 * dim, dim)
        with torch.no_grad():  # some channels forget within a frame, others remember many
            self.project_latent.bias[dim : 2 * dim] = torch.linspace(-1, 3, dim)

    def forward(self, latent: Tensor, from_latent: Tensor, from_frame: Tensor) -> Tensor:
        """Compute the next latent from the last one and both projections; `(..., y, x, d)`."""
        reset, keep, old = from_latent.float().chunk(3, -1)
        frame_reset, frame_keep, new = from_frame.float().chunk(3, -1)
        candidate = torch.tanh(new + torch.sigmoid(reset + frame_reset) * old)
        return torch.lerp(candidate, latent, torch.sigmoid(keep + frame_keep))


class LatentPosition(NamedTuple):
    """Each row's position in time; the same for all passes over one frame.

    Attributes:
        last: rows and slots, both int64 `(b,)`, of the latents of the frames before.
        slot: rows and slots where the frames' own latents go.
        begun: float `(b, 1, 1, 1)`, 0 where there is no frame before.
    """

    last: tuple[Tensor, Tensor]
    slot: tuple[Tensor, Tensor]
    begun: Tensor


class Recurrent(nn.Module):
    """Predicts clean frames from noisy ones, each given its level, its action and a latent."""

    def __init__(self, config: ModelConfig, game: GameSpec) -> None:
        super().__init__()
        self.config, self.game = config, game
        # Embeddings in, predictions out: a transformer without blocks.
        self.shell = Transformer(config, game, depth=0)
        self.blocks = nn.ModuleList(Block(config.dim, 0) for _ in range(config.depth))
        self.cell = Cell(config.dim)

    def predict_frame(self, x: Tensor) -> FramePrediction:
        """Predict the clean frames from their last tokens `(n, y, x, d)`."""
        return self.shell.predict_frame(x)

    def predict_transition(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Predict reward, logits `(n, R)`, and termination, logits `(n,)`, from last tokens."""
        return self.shell.predict_transition(x)

    def modulations(self, condition: Tensor) -> Tensor:
        """Compute what the norms need, `(n, 2 depth + 1, 2, 1, 1, d)`, from conditions `(n, d)`."""
        norms: Iterable[nn.Module] = chain(*(block.norms for block in self.blocks))  # type: ignore[arg-type]
        return torch.stack([norm(condition) for norm in (*norms, self.cell.norm)], 1)

    def _apply_block(self, i: int, x: Tensor, modulations: Tensor) -> Tensor:
        block = self.blocks[i]
        assert isinstance(block, Block)
        x = block.spatial_block(x, modulations[:, 2 * i])
        return block.mlp_block(x, modulations[:, 2 * i + 1])

    def encode_frame(self, x: Tensor, modulations: Tensor) -> tuple[Tensor, Tensor]:
        """Apply the first half of the blocks; returns the tokens and their projection's gates."""
        for i in range(len(self.blocks) // 2):
            x = self._apply_block(i, x, modulations)
        return x, self.cell.project_frame(modulate(x, modulations[:, -1]))

    def decode_frame(self, x: Tensor, modulations: Tensor, last: Tensor, latent: Tensor) -> Tensor:
        """Compute the last tokens, given the latent before the frame and the one after."""
        x = x + self.cell.read_out(torch.cat((last, latent), -1))
        for i in range(len(self.blocks) // 2, len(self.blocks)):
            x = self._apply_block(i, x, modulations)
        return x

    def forward(
        self,
        frames: Tensor,
        tau: Tensor,
        actions: Tensor,
        time: Tensor,
        mask: Tensor,
        targets: int | None = None,
    ) -> NetworkOutput:
        """Pass whole sequences at once, each frame in two copies.

        Every context copy updates the latent of the one before it, and every target copy reads
        that same latent and is read by none.

        Args:
            frames: `(b, 2 t, h, w, c)`: t context copies, then t target copies.
            tau: `(b, 2 t)`, the signal level that each copy is conditioned on.
            actions: `(b, 2 t)` int64 or `(b, 2 t, parts)`, the action that led to each frame.
            time: of no effect: the order is time.
            mask: `(b, 2 t, 2 t)` bool. A frame that does not see the context copy before its own
                starts from nothing; what lies further back is in the latent, whatever the mask.
            targets: see `Network`.
        """
        n = frames.shape[1]
        t = n // 2
        action = self.shell.embed_action(actions.flatten(0, 1))
        modulations = self.modulations(self.shell.condition(tau.flatten(), action))
        x = self.shell.embed(frames.flatten(0, 1)) + action[:, None, None]
        x, from_frame = self.encode_frame(x, modulations)
        context, target = from_frame.unflatten(0, (-1, n)).split(t, 1)
        begun = F.pad(mask.diagonal(-1, 1, 2)[:, : t - 1].float(), (1, 0))[..., None, None, None]
        latent = x.new_zeros(len(frames), *x.shape[1:], dtype=torch.float32)
        last, from_latent, latents = [], [], []
        for i in range(t):
            last.append(latent * begun[:, i])
            from_latent.append(self.cell.project_latent(last[i]))
            latent = self.cell(last[i], from_latent[i], context[:, i])
            latents.append(latent)
        before = torch.stack(last, 1)
        of_targets = self.cell(before, torch.stack(from_latent, 1), target)
        after = torch.cat((torch.stack(latents, 1), of_targets), 1)
        before = before.repeat(1, 2, 1, 1, 1)
        x = self.decode_frame(x, modulations, before.flatten(0, 1), after.flatten(0, 1))
        return read_out(self.predict_frame, self.predict_transition, x, n, targets)

    def conditioning(self, tau: float, actions: Tensor | None = None) -> Conditioning:
        """Precompute what `step` needs of a signal level; arguments as for `Transformer`'s."""
        actions = embed_all(self.shell.embed_action, actions)
        condition = self.shell.condition(torch.full_like(actions[:, 0], tau), actions)
        return Conditioning(actions, self.modulations(condition))

    def empty_cache(
        self, rows: int, device: torch.device | str = "cpu"
    ) -> list[tuple[Tensor, ...]]:
        """Return zeroed latents `(b, 2, y, x, d)`: the last frame's and the frame's own."""
        sites = self.shell.embed_position
        return [(torch.zeros(rows, 2, *sites.shape, dtype=sites.dtype, device=device),)]

    def hide(self, cache: Sequence[tuple[Tensor, ...]], time: Tensor) -> None:
        """Zero what is out of sight, see `Network`."""
        for tensor in chain(*cache):
            hide_slots(tensor, time)

    def cache_position(self, time: Tensor) -> LatentPosition:
        """Compute the rows' positions for `step`; `time` counts their frames so far, `(b,)`."""
        rows = torch.arange(len(time), device=time.device)
        begun = (time > 0).float()[:, None, None, None]
        return LatentPosition((rows, (time + 1) % 2), (rows, time % 2), begun)

    def look(
        self,
        conditioning: Conditioning,
        actions: Tensor,
        position: LatentPosition,
        cache: list[tuple[Tensor, ...]],
    ) -> tuple[LatentPosition, LatentPosition]:
        """See `Network`: there is no memory to look into."""
        return position, position

    def step(
        self,
        frames: Tensor,
        conditioning: Conditioning,
        actions: Tensor,
        position: LatentPosition,
        cache: list[tuple[Tensor, ...]],
    ) -> Tensor:
        """Pass one frame of every row, its past in the latent.

        `predict_frame` and `predict_transition` of what it returns equal `forward`'s. The frame's
        own latent goes into slot `time % 2` and the other slot is read. So a denoising pass leaves
        only what the next pass overwrites, and the last pass over a frame commits it: a pass at the
        level its successors shall see or, as in the paper's appendix B.6, just the last denoising
        pass.

        Args:
            frames: `(b, h, w, c)`.
            conditioning: of the level that all rows are conditioned on.
            actions: `(b,)` int64, the action that led to each frame, as an index of `conditioning`.
            position: each row's position in time.
            cache: the latents, written in place.

        Returns:
            The last tokens, `(b, y, x, d)`.
        """
        modulations = conditioning.modulations[actions]
        x = self.shell.embed(frames) + conditioning.tokens[actions][:, None, None]
        x, from_frame = self.encode_frame(x, modulations)
        ((latents,),) = cache
        last = latents[position.last] * position.begun
        latent = self.cell(last, self.cell.project_latent(last), from_frame)
        latents[position.slot] = latent
        return self.decode_frame(x, modulations, last, latent)
