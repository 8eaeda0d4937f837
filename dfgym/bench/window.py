"""What the KV cache is worth: a frame from its past's keys and values, or from all of it again.

Published interactive models run the whole window through the network for every denoising step, and
again to finish the frame. Both ways are run here on the same past, at equal output.

Legend: b rows, t = window + 1 frames, h w c an encoded frame.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.benchmark import Timer, timer

from dfgym.bench import operations
from dfgym.bench.clock import check_seconds
from dfgym.device import pick_device
from dfgym.diffusion import noise
from dfgym.diffusion.sampler import sample
from dfgym.frames import Codec
from dfgym.model.network import build_empty
from dfgym.model.transformer import Transformer
from dfgym.world.bundle import World
from dfgym.world.runtime import pin, prepare
from dfgym.world.sampling import resolve_sampling
from dfgym.world.settings import Settings

CALLS = 3
"""The calls of one way that are timed before it is the other's turn."""

Way = Callable[[], tuple[Tensor, Tensor, Tensor]]
"""Makes the next frame of every row: the frame, logits of reward and of termination."""


@torch.inference_mode()
def compare(
    world: World,
    rows: int,
    seconds: float,
    settings: Settings = Settings(),
) -> dict[str, float]:
    """Make the frame after a full window in both ways, a few times each in turns, and time them.

    The past is shown clean. Nothing has left the window yet: from then on a cached key still knows
    of frames that have, and a recomputed one does not. Codec and shells are left out of both.

    Args:
        world: a world whose network is a transformer.
        rows: b.
        seconds: the length of the measurement of each way, at least three turns.
        settings: how both are run, but for the context, which is clean.

    Returns:
        `batch`; `frames_seen`, the window's and the new one; `largest_difference` of frames,
        rewards and terminations; `cached_ms` and `recomputed_ms` of a step, medians; `ratio` of
        the latter to the former; `cached_operations` and `recomputed_operations` of a frame.
    """
    check_seconds(seconds)
    cached, recomputed = ways(world, rows, settings)
    pairs = zip(cached(), recomputed(), strict=True)
    difference = float(torch.stack([(a - b).abs().max() for a, b in pairs]).max())
    # Nothing of what is compiled can be counted. The cache's attention is no matrix product.
    plain = replace(
        settings, context_mode="clean", context_noise=None, compile=False, precision="float32"
    )
    counts = operations.count(operations.begin(world, rows, plain))
    recomputed_operations = operations.flops(ways(world, rows, plain)[1]) / rows
    times = np.array([[_seconds(way) for way in (cached, recomputed)] for _ in _turns(seconds)])
    quick, slow = np.median(times, 0)
    return {
        "batch": rows,
        "frames_seen": world.card.model.window + 1,
        "largest_difference": difference,
        "cached_ms": float(1000 * quick),
        "recomputed_ms": float(1000 * slow),
        "ratio": float(slow / quick),
        "cached_operations": counts["operations_per_frame"],
        "recomputed_operations": recomputed_operations,
    }


class _Moment(NamedTuple):
    """A full window, and all that the frame after it is made from.

    Attributes:
        network: the world's transformer on its device.
        levels: the signal levels of the denoising steps.
        past: clean frames `(b, window, h, w, c)`.
        actions: `(b, t)` int64, the action that led to each frame.
        time: `(b, t)` int64.
        start: pure noise `(b, h, w, c)`.
    """

    network: Transformer
    levels: list[float]
    past: Tensor
    actions: Tensor
    time: Tensor
    start: Tensor


def ways(
    world: World,
    rows: int,
    settings: Settings = Settings(),
) -> tuple[Way, Way]:
    """Return the cached and the recomputed way to the frame after a full window.

    Both make the same frame but for rounding, and the same one at each call.
    """
    card, place = world.card, pick_device(settings.device)
    plain = replace(settings, context_mode="clean", context_noise=None)
    network = build_empty(card.model, card.game_spec)
    assert isinstance(network, Transformer)
    state = {name: value.to(place) for name, value in world.weights.items()}
    network.load_state_dict(state, assign=True)
    network.eval().requires_grad_(False)
    window = card.model.window
    frames, actions = world.starts.episode(0)
    frames = np.resize(frames, (window, *frames.shape[1:]))
    past = Codec(card.frames.palette).encode(torch.from_numpy(frames).to(place))
    before = torch.from_numpy(np.resize([*actions, 0], window)).to(place)
    before = torch.cat((torch.full_like(before[:1], card.actions.count), before))
    time = torch.arange(window + 1, device=place).expand(rows, -1)
    start = noise.normal(
        torch.arange(rows, device=place), time[:, -1], noise.FRAME, past[0].numel()
    )
    moment = _Moment(
        network,
        resolve_sampling(card, plain).levels,
        past.expand(rows, *past.shape),
        before.expand(rows, -1),
        time,
        start.view(rows, *past.shape[1:]),
    )
    return (
        _cached(moment, settings),
        _recomputed(moment, settings),
    )


def _cached(moment: _Moment, settings: Settings) -> Way:
    """The way of `Dynamics`: one frame a pass, its past in the KV cache."""
    network, levels, past, actions, time, start = moment
    step = prepare(network.step, past.device, settings)
    cache = network.empty_cache(len(past), past.device)
    if settings.compile:
        pin([cache], past.device)
    conditioning = {tau: network.conditioning(tau) for tau in (*levels, 1.0)}
    for i in range(past.shape[1]):
        position = network.cache_position(time[:, i])
        network.step(past[:, i], conditioning[1.0], actions[:, i], position, cache)

    def way() -> tuple[Tensor, Tensor, Tensor]:
        position = network.cache_position(time[:, -1])

        def denoise(x: Tensor, tau: float, i: int) -> Tensor:
            tokens = step(x, conditioning[tau], actions[:, -1], position, cache)
            return network.predict_frame(tokens).mean

        x = sample(denoise, start, levels)
        tokens = step(x, conditioning[1.0], actions[:, -1], position, cache)
        return (x, *network.predict_transition(tokens))

    return way


def _recomputed(moment: _Moment, settings: Settings) -> Way:
    """The way of most published models: the whole window in every pass."""
    network, levels, past, actions, time, start = moment
    encode = prepare(network.encode_sequence, past.device, settings)
    mask = torch.ones(time.shape[1], time.shape[1], dtype=torch.bool, device=past.device).tril()
    mask = mask.expand(len(past), -1, -1)

    def last_tokens(x: Tensor, tau: float) -> Tensor:
        taus = torch.ones_like(time, dtype=torch.float32)
        taus[:, -1] = tau
        frames = torch.cat((past, x[:, None]), 1)
        tokens = encode(frames, taus, actions, time, mask)
        return tokens.unflatten(0, time.shape)[:, -1]

    def way() -> tuple[Tensor, Tensor, Tensor]:
        def denoise(x: Tensor, tau: float, i: int) -> Tensor:
            return network.predict_frame(last_tokens(x, tau)).mean

        x = sample(denoise, start, levels)
        return (x, *network.predict_transition(last_tokens(x, 1.0)))

    return way


def _seconds(way: Way) -> float:
    """Return the seconds of a call that follows its like, so that the processor's caches are warm.

    That is how steps follow each other.
    """
    threads = torch.get_num_threads()
    return Timer("way()", globals={"way": way}, num_threads=threads).timeit(CALLS).mean


def _turns(seconds: float) -> Iterator[int]:
    """Count turns until both ways have had so many seconds, three turns at least."""
    begin, turn = timer(), 0
    while turn < 3 or timer() - begin < 2 * seconds:
        yield turn
        turn += 1
