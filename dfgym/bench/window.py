"""What the cache is worth: a frame against its past's kept keys and values, or all of it again.

Published interactive models run the whole window through the network for every denoising step, and
again to finish the frame. Both ways are run here on the same past, at equal output.

Legend: b rows, t = window + 1 frames, h w c an encoded frame.
"""

from __future__ import annotations

import time as clocks
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dfgym.bench.operations import attention, flops
from dfgym.bench.speed import check_seconds, seconds_of
from dfgym.diffusion import noise
from dfgym.diffusion.sampler import sample
from dfgym.diffusion.targets import to_clean
from dfgym.frames import Codec
from dfgym.model import build_empty
from dfgym.model.transformer import Transformer
from dfgym.world.bundle import World
from dfgym.world.device import pick_device
from dfgym.world.execution import keep_in_place, prepare
from dfgym.world.sampling import choose_sampling

RUN = 3
"""Calls of one way timed before it is the other's turn."""

Way = Callable[[], tuple[Tensor, Tensor, Tensor]]
"""Makes the next frame of every row: the frame, logits of reward and of termination."""


@torch.inference_mode()
def compare(
    world: World,
    rows: int,
    seconds: float,
    device: str = "auto",
    denoising_steps: int | None = None,
    compile: bool = False,
    precision: str = "float32",
) -> dict[str, float]:
    """Make the frame after a full window in both ways, a few times each in turns, and time them.

    The past is shown clean. Nothing has left the window yet: from then on a cached key still knows
    of frames that have, and a recomputed one does not. Codec and shells are left out of both.

    Args:
        world: whose network is a transformer.
        rows: b.
        seconds: of each way, at least three turns.
        device: where it runs.
        denoising_steps: the card's if None.
        compile: fuse the passes of both, see `dfgym.world.execution`.
        precision: of the matrix products of both.

    Returns:
        `batch`; `frames_seen`, the window's and the new one; `largest_difference` of frames,
        rewards and terminations; `cached_ms` and `recomputed_ms` of a step, medians; `ratio` of
        the latter to the former; `cached_operations` and `recomputed_operations` of a frame.
    """
    check_seconds(seconds)
    plain = ways(world, rows, device, denoising_steps)
    cached, recomputed = ways(world, rows, device, denoising_steps, compile, precision)
    made = zip(cached(), recomputed(), strict=True)
    difference = float(torch.stack([(a - b).abs().max() for a, b in made]).max())
    slots, passes = world.card.model.window + 1, len(_sampling(world, denoising_steps).levels) + 1
    # The counter sees the recomputed way's attention, which is fused, only on some devices.
    unseen = passes * attention(world.card)
    both = zip(plain, (unseen, 0), strict=True)  # nor does it see into what is compiled
    counts = [flops(way) / rows + missing for way, missing in both]
    times = np.array([[_steady(way) for way in (cached, recomputed)] for _ in _lasting(seconds)])
    quick, slow = np.median(times, 0)
    return {
        "batch": rows,
        "frames_seen": slots,
        "largest_difference": difference,
        "cached_ms": float(1000 * quick),
        "recomputed_ms": float(1000 * slow),
        "ratio": float(slow / quick),
        "cached_operations": counts[0],
        "recomputed_operations": counts[1],
    }


def ways(
    world: World,
    rows: int,
    device: str = "auto",
    denoising_steps: int | None = None,
    compile: bool = False,
    precision: str = "float32",
) -> tuple[Way, Way]:
    """The cached and the recomputed way to the frame after a full window; equal but for rounding.

    Calls repeat themselves: each makes the same frame.
    """
    card, where = world.card, pick_device(device)
    network = build_empty(card)
    assert isinstance(network, Transformer)
    state = {name: value.to(where) for name, value in world.weights.items()}
    network.load_state_dict(state, assign=True)
    network.eval().requires_grad_(False)
    levels, _, jump = _sampling(world, denoising_steps)
    window, codec = card.model.window, Codec(card.frames.palette)
    frames, led = world.starts.episode(0)
    past = codec.encode(torch.from_numpy(np.resize(frames, (window, *frames.shape[1:]))).to(where))
    past = past.expand(rows, *past.shape)
    actions = torch.from_numpy(np.resize([*led, 0], window + 1)).to(where)
    actions = torch.cat((torch.full_like(actions[:1], card.actions.n), actions[:-1]))
    actions = actions.expand(rows, -1)
    time = torch.arange(window + 1, device=where).expand(rows, -1)
    start = noise.normal(
        torch.arange(rows, device=where), time[:, -1], noise.FRAME, past[0, 0].numel()
    ).view_as(past[:, 0])

    step, see = (prepare(f, where, compile, precision) for f in (network.step, network.see))
    rings = network.empty_rings(rows, where)
    if compile:
        keep_in_place([rings], where)
    finished = network.told(1.0)
    told = {tau: network.told(tau, jump) for tau in levels}
    for i in range(window):
        network.step(past[:, i], finished, actions[:, i], network.now(time[:, i]), rings)

    def clean(said: Tensor, x: Tensor, tau: float) -> Tensor:
        return to_clean(said, x, x.new_tensor(tau), card.model.target)

    def cached() -> tuple[Tensor, Tensor, Tensor]:
        now = network.now(time[:, -1])

        def denoise(x: Tensor, tau: float, i: int) -> Tensor:
            tokens = step(x, told[tau], actions[:, -1], now, rings)
            return clean(network.picture(tokens).estimate, x, tau)

        x = sample(denoise, start, levels, straight=jump > 0)
        tokens = step(x, finished, actions[:, -1], now, rings)
        return (x, *network.outcome(tokens))

    mask = torch.ones(window + 1, window + 1, dtype=torch.bool, device=where).tril()
    mask = mask.expand(rows, -1, -1)

    def whole(x: Tensor, tau: float, jump: int) -> Tensor:
        taus = torch.ones(rows, window + 1, device=where)
        taus[:, -1] = tau
        jumps = torch.zeros_like(time)
        jumps[:, -1] = jump
        tokens = see(torch.cat((past, x[:, None]), 1), taus, actions, time, mask, jumps)
        return tokens.unflatten(0, (rows, -1))[:, -1]

    def recomputed() -> tuple[Tensor, Tensor, Tensor]:
        def denoise(x: Tensor, tau: float, i: int) -> Tensor:
            return clean(network.picture(whole(x, tau, jump)).estimate, x, tau)

        x = sample(denoise, start, levels, straight=jump > 0)
        return (x, *network.outcome(whole(x, 1.0, 0)))

    return cached, recomputed


def _sampling(world: World, denoising_steps: int | None) -> Any:
    return choose_sampling(world.card, denoising_steps, "clean", None)


def _steady(way: Way) -> float:
    """Seconds of a call that follows its like, as steps do: the processor's caches are warm."""
    way()
    return seconds_of(lambda: [way() for _ in range(RUN)]) / RUN


def _lasting(seconds: float) -> Any:
    """Count for so long, and to three at least."""
    begun, turns = clocks.perf_counter(), 0
    while turns < 3 or clocks.perf_counter() - begun < 2 * seconds:
        yield turns
        turns += 1
