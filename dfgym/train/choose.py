"""Choosing how to train from what the data are and how much time there is, with reasons.

The dials of a network follow from the pictures and from chance, its size and batch from how many
steps fit into the time, as measured on this machine.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

import torch

from dfgym.data.store import EpisodeStore
from dfgym.data.survey import Facts
from dfgym.data.windows import longest_episode
from dfgym.errors import ConfigError
from dfgym.frames import MAX_TOKENS, nearest_size, patches
from dfgym.train import memory
from dfgym.train.config import TrainConfig
from dfgym.train.finetune import take_over
from dfgym.train.launch import count_processes
from dfgym.train.measure import measure_step
from dfgym.train.survey import Survey
from dfgym.world.runtime import available_bytes

LARGE_SIDE, MAX_COARSE = 32, 49
"""Frames with a longer side are drawn by tokens of several scales, with so many coarse ones."""
MAX_OUTPUTS = 200_000
"""So many numbers may be said of a frame, over all outcomes, cells and colours; they are the most
of the cost where colours are many."""
WINDOWS = {1: 6, 2: 6, 4: 8, 8: 13, 16: 17}
"""Past frames that attention sees, by the frames that it takes to foretell the next one."""
UNKNOWN_WINDOWS = {"transformer": 8, "multiscale": 18}
"""Past frames where the data do not tell. Coarse tokens are few, so that many frames cost little:
Pong serves a ball 16 frames after a point, and with a window of 8 hardly ever did."""
MARGIN = 10
"""A sequence is so many frames longer than the window, or as many as the next frame depends on, so
that many frames have a whole past."""
CLOCKS = 4
"""Where a frame depends on so many others or more, it depends on a clock. It counts only if they
are in its sequence, since one that was cut out of a game would show the clock as chance."""
SIZES = ((1500, 64, 5, 16), (1000, 64, 4, 8), (500, 48, 3, 8), (0, 32, 2, 4))
"""Sizes for little time, each with the least number of steps that it is worth: width, depth and
batch. The first is what the shipped world of Breakout was made with."""
LARGER = ((30_000, 192, 8, 64), (20_000, 128, 6, 32), (10_000, 96, 5, 16))
"""Sizes for much time, likewise."""
PARTS = ("model", "sampler")
"""The tables of a training."""
FEW_OUTCOMES, MANY_STEPS, SEVERAL, LARGE_STEPS = 4, 3_000, 4, 3
"""One denoising step draws a moment's outcomes if they are few and many steps have been trained.
Otherwise several do: a Catch of 24 outcomes lacked its falling thing in 148 of 500 dreamt frames
with four steps, after 306 training steps; with one, after 380 in another trial, in 440. Large
frames take fewer, which is what half a GFLOP a frame allows."""
SMALL_BATCH = 8
"""Large frames are learned in batches smaller by this: steps count there more than frames (see
docs/lab/rich-games.md), and their sequences are longer."""
MEASURE_SECONDS = 10.0
CHECKPOINT_SECONDS, STRIP_SECONDS = 20.0, 25.0
"""Between checkpoints, and from the first step to the first picture of the dream."""
MEMORY_SHARE = 0.7
"""The share of the free memory that a training may take."""
USER_CHOICE = "as it was asked for"
COSTLY = ("batch", "length", "precision", "optimizer", "model")
"""What the time of a step depends on."""


@dataclass
class Choice:
    """A training and the reason of each of its dials.

    Attributes:
        config: the training.
        reasons: the reason of a dial, by its name in `TrainConfig`, `ModelConfig` or `Sampler`.
        step_seconds: the measured time of a step.
        processes: how many processes share the batch.
        memory: what a step needs of the memory, in words.
    """

    config: TrainConfig
    reasons: dict[str, str] = field(default_factory=dict)
    step_seconds: float = 0.0
    processes: int = 1
    memory: str = ""

    def set(self, reason: str, **values: Any) -> None:
        """Set dials of the training, for one reason."""
        own = dict(values)
        for table in PARTS:
            section = getattr(self.config, table)
            names = {entry.name for entry in dataclasses.fields(section)}
            fields = {name: own.pop(name) for name in values if name in names}
            own[table] = dataclasses.replace(section, **fields)
        self.config = dataclasses.replace(self.config, **own)
        self.reasons |= dict.fromkeys(values, reason)

    def override(self, config: TrainConfig, reason: str = USER_CHOICE) -> None:
        """Take another training, whose differences the caller wants."""
        for one, other in _pairs(self.config, config):
            for name in (entry.name for entry in dataclasses.fields(one)):
                if name not in PARTS and getattr(one, name) != getattr(other, name):
                    self.reasons[name] = reason
        self.config = config


def _pairs(one: TrainConfig, other: TrainConfig) -> list[tuple[Any, Any]]:
    return [(one, other), *((getattr(one, name), getattr(other, name)) for name in PARTS)]


def choose(
    config: TrainConfig,
    facts: Facts,
    game: Survey,
    stores: list[EpisodeStore],
    device: torch.device,
    processes: int | None = None,
    patch: int = 0,
) -> Choice:
    """Choose every dial of a training but its data, folder, device, time and seed.

    Args:
        config: those, and `steps` or `minutes`.
        facts: what the data are.
        game: the survey of their training part.
        stores: the data.
        device: where it trains.
        processes: how many share the batch; as many as fit if None.
        patch: the patch that is asked for, for frames that cannot be cut well; 0 for none.

    Raises:
        ConfigError: the frames cannot be cut into few enough patches.
    """
    choice = Choice(config)
    if config.from_world:
        choice.override(take_over(config), f"taken over from {config.from_world}")
    else:
        _choose_network(choice, facts, game, patch)
    _shorten(choice, longest_episode(stores, config.held_out))
    _choose_size(choice, game, stores, device, processes)
    if not config.from_world:
        _choose_levels(choice, facts, game)
    pace(choice)
    return choice


def adapt(
    choice: Choice,
    config: TrainConfig,
    game: Survey,
    stores: list[EpisodeStore],
    device: torch.device,
    processes: int | None = None,
) -> None:
    """Take what is asked for instead of what was chosen, and set what follows from it anew.

    Args:
        choice: what was chosen, which is changed.
        config: what is asked for. It has been checked: it fits the game and the memory.
        game: the survey of the data's training part.
        stores: the data.
        device: where it trains.
        processes: how many share the batch; as many as fit if None.
    """
    before = choice.config
    choice.override(config)
    if all(getattr(before, name) == getattr(config, name) for name in COSTLY):
        return
    own = {name: reason for name, reason in choice.reasons.items() if reason == USER_CHOICE}
    choice.processes = count_processes(processes, config.batch, device)
    _describe_memory(choice, game, device)
    choice.step_seconds = measure_step(
        config, game, stores, device, choice.processes, _measure_seconds(config) / 2
    )
    pace(choice)
    choice.reasons |= own


def _measure_seconds(config: TrainConfig) -> float:
    return min(MEASURE_SECONDS, 0.05 * config.seconds) if config.seconds else MEASURE_SECONDS


def _shorten(choice: Choice, longest: int) -> None:
    """Let a sequence be no longer than the longest episode, nor the window than a sequence."""
    if choice.config.length > longest:
        reason = f"the longest episode has {longest} frames"
        choice.set(reason, length=longest)
        if choice.config.model.window >= longest:
            choice.set(reason, window=max(1, longest - 1))
        if choice.config.past > longest // 2:  # or few frames of a sequence would count
            choice.set(reason, past=max(1, longest // 2))


def _choose_network(choice: Choice, facts: Facts, game: Survey, wanted: int) -> None:
    height, width, _ = game.frame_shape
    coarse = [side for side in patches(height, width, MAX_COARSE) if side % 4 == 0]
    if max(height, width) > LARGE_SIDE and coarse:
        patch = coarse[0]
        fine = patch // 8 if patch % 8 == 0 else patch // 4
        choice.set(
            f"{height * width // patch**2} coarse tokens a frame for time, "
            f"{height * width // fine**2} fine ones for detail",
            **{"kind": "multiscale", "patch": patch, "fine_patch": fine},
            **{"dim": 64, "fine_dim": 32, "heads": 4},
        )
    else:
        sides = patches(height, width) or [wanted]
        if sides == [0]:
            better = nearest_size(height, width)
            raise ConfigError(
                f"frames of {height} x {width} have no common divisor that cuts them into at most "
                f"{MAX_TOKENS} patches; record them anew with --resize {better[0]} {better[1]}, or "
                f"learn slowly with --model.patch {patches(height, width, height * width)[-1]}"
            )
        if height % sides[0] or width % sides[0]:
            raise ConfigError(
                f"patch is {wanted}; expected a divisor of the frame's height and width, {height} "
                f"and {width}"
            )
        patch = next((side for side in sides if side > 1), sides[0])
        tokens = height * width // patch**2
        fits = f"; at most {MAX_TOKENS}" if tokens <= MAX_TOKENS else f", {USER_CHOICE}"
        reason = f"{tokens} tokens a frame{fits}"
        choice.set(reason, kind="transformer", patch=patch, fine_patch=0, fine_dim=0)
    memory_needed = facts.chance.memory
    if memory_needed is None:
        window = UNKNOWN_WINDOWS[choice.config.model.kind]
        reason = f"{window} past frames, since the data do not tell how many matter"
        choice.set(reason, window=window)
        memory_needed = 1
    else:
        reason = f"frames that the next one depends on: {memory_needed}"
        choice.set(reason, window=WINDOWS[memory_needed])
        if memory_needed >= CLOCKS:
            choice.set(reason, past=memory_needed)
    margin = max(MARGIN, memory_needed)
    choice.set(f"the window and {margin} more", length=choice.config.model.window + margin)
    _choose_mixture(choice, facts, game)


def _choose_mixture(choice: Choice, facts: Facts, game: Survey) -> None:
    cells = game.frame_shape[0] * game.frame_shape[1]
    colours, outcomes = len(game.palette), facts.chance.outcomes
    if not colours:
        choice.set("frames are RGB, which has no joint outcomes", mixture=1)
        return
    if choice.config.model.kind == "multiscale":
        choice.set("denoising steps draw chance; outcomes cost much in large frames", mixture=1)
        return
    if outcomes == 1 and (facts.chance.support or 0) > 0.5:
        choice.set("every moment that came again went on alike", mixture=1)
        return
    wanted = 8
    while wanted < min(outcomes or 8, 32):
        wanted *= 2
    most = wanted
    while most > 1 and most * colours * cells > MAX_OUTPUTS:
        most //= 2
    ways = f"up to {outcomes} outcomes" if outcomes != 1 else "one outcome, as far as is known"
    reason = f"a moment has {ways}" if outcomes else "chance is unknown"
    if most < wanted:
        reason += f"; more than {most} of {colours} colours would be too slow"
    choice.set(reason, mixture=most)


def _choose_levels(choice: Choice, facts: Facts, game: Survey) -> None:
    """Choose the denoising steps of play, and the levels that are learned for them."""
    certain = (facts.chance.agreement or 0) > 0.999
    config = choice.config
    few = facts.chance.outcomes is not None and facts.chance.outcomes <= FEW_OUTCOMES
    few = few and config.model.mixture > 1
    steps = config.steps or config.seconds / choice.step_seconds
    if certain:
        share = 0.5 if game.palette else 0.75
        choice.set("nothing is left to chance, so one step is enough", denoising_steps=1)
    elif game.palette and few and steps >= MANY_STEPS:
        share = 0.5
        choice.set("one step draws one of the few joint outcomes", denoising_steps=1)
    else:
        reason = "one step would draw the mean of what may come"
        if game.palette and few:
            reason = f"outcomes are told apart by one step after {MANY_STEPS:,} training steps only"
        several = LARGE_STEPS if config.model.kind == "multiscale" else SEVERAL
        choice.set(reason, denoising_steps=several)
        choice.set(
            f"{several} denoising steps, learned where they stop, after a clean past",
            **{"noise_share": 0.0, "stop_share": 0.9, "clean_share": 0.5},
        )
        return
    choice.set(
        "one denoising step from noise, after a clean past",
        **{"noise_share": share, "stop_share": 0.0, "clean_share": share},
    )


def _choose_size(
    choice: Choice,
    game: Survey,
    stores: list[EpisodeStore],
    device: torch.device,
    processes: int | None,
) -> None:
    """Choose the largest size whose steps fit into the time; the time of a step is measured."""
    seconds = _measure_seconds(choice.config)

    def measure(config: TrainConfig, count: int) -> float:
        return measure_step(config, game, stores, device, count, seconds / 2)

    dim, depth, batch = SIZES[0][1:]
    if (
        choice.config.seconds and not choice.config.from_world
    ):  # a sequence or two tell what other sizes would take
        _set_size(choice, dim, depth, 2)
        unit = measure(choice.config, 2) / _cost(dim, depth, 1)
        share = count_processes(processes, 2 * 2 * 2, device)  # of the sizes' batches
        small = SMALL_BATCH if choice.config.model.kind == "multiscale" else 1
        for least, dim, depth, frames in (*LARGER, *SIZES):
            batch = max(2, frames // small)
            if choice.config.seconds / (unit * _cost(dim, depth, batch / share)) >= least:
                break
    if not choice.config.from_world:
        _set_size(choice, dim, depth, batch)
    _fit_memory(choice, game, device, processes)
    choice.step_seconds = measure(choice.config, choice.processes)


def _set_size(choice: Choice, dim: int, depth: int, batch: int) -> None:
    model = choice.config.model
    if model.kind == "multiscale":  # the fine tokens are most of the cost
        sizes = {"dim": dim, "fine_dim": dim // 2, "depth": max(2, depth - 2), "heads": dim // 16}
    else:
        sizes = {"dim": dim, "depth": depth, "heads": dim // 16 if dim <= 64 else 4 * (dim // 96)}
    model = dataclasses.replace(model, **sizes)  # type: ignore[arg-type]
    choice.config = dataclasses.replace(choice.config, batch=batch, model=model)


def _cost(dim: int, depth: int, rows: float) -> float:
    """What a step costs, in units that cancel: small networks are not faster in proportion."""
    return (rows + 0.5) * (depth + 1) * (dim + 48)


def _fit_memory(choice: Choice, game: Survey, device: torch.device, processes: int | None) -> None:
    """Halve the batch until a step fits into the memory."""
    free = available_bytes(device)
    while choice.config.batch > (processes or 1):
        choice.processes = count_processes(processes, choice.config.batch, device)
        need = memory.step_bytes(choice.config, game.game_spec, device, choice.processes)
        if need <= MEMORY_SHARE * free:
            break
        choice.config = dataclasses.replace(choice.config, batch=choice.config.batch // 2)
    choice.processes = count_processes(processes, choice.config.batch, device)
    _describe_memory(choice, game, device)


def _describe_memory(choice: Choice, game: Survey, device: torch.device) -> None:
    need = memory.step_bytes(choice.config, game.game_spec, device, choice.processes) / 2**30
    choice.memory = f"about {need:.2g} GiB of {available_bytes(device) / 2**30:.3g} GiB free"


def pace(choice: Choice) -> None:
    """Set what depends on how many steps there will be, and give the reasons of the size."""
    config, seconds = choice.config, choice.step_seconds
    steps = config.steps or max(1, round(config.seconds / seconds))
    length = steps * seconds
    if not config.from_world:
        choice.reasons |= dict.fromkeys(
            ("dim", "fine_dim", "depth", "batch"),
            f"about {steps:,} steps of {seconds:.2g} s fit into {length / 60:.3g} minutes",
        )
        if config.model.kind == "multiscale":
            choice.set("a new network copies, so there is no stage of pictures", image_steps=0)
        else:
            choice.set("a fiftieth of the steps: pictures first", image_steps=min(500, steps // 50))
    every = max(1, round(min(CHECKPOINT_SECONDS, length / 4) / seconds))
    choice.set(f"every {every * seconds:.2g} s", checkpoint_every=every)
    first = max(1, round(min(STRIP_SECONDS, length / 4) / seconds))
    choice.set(
        f"the first picture after {first * seconds:.2g} s, then more rarely", strip_every=first
    )


def describe(choice: Choice, game: Survey) -> str:
    """Return the plan as a table in plain text: each dial, its value and its reason."""
    config, colours = choice.config, len(game.palette)
    frames = config.batch * config.length / choice.step_seconds
    steps = config.steps or round(config.seconds / choice.step_seconds)
    seconds = config.seconds or steps * choice.step_seconds
    rows: list[tuple[str, Any, str]] = [
        (
            "colours",
            colours or "RGB",
            "each cell is one of them" if colours else "too many for a palette",
        )
    ]
    for section in (config.model, config.sampler, config):
        names = [f.name for f in dataclasses.fields(section)]
        names = [n for n in names if n in choice.reasons and getattr(section, n) != 0]
        rows += [(n, getattr(section, n), choice.reasons[n]) for n in names]
    rows.append(("memory of a step", "", choice.memory))
    head = (
        f"plan: {seconds / 60:.3g} minutes of training in {choice.processes} "
        f"process{'es' if choice.processes > 1 else ''}, about {steps:,} steps of "
        f"{choice.step_seconds:.2g} s ({frames:,.0f} frames a second, measured)"
    )
    width = max(len(name) for name, _, _ in rows)
    side = max(len(str(value)) for _, value, _ in rows)
    lines = [f"  {name:{width}}  {value!s:{side}}  {why}".rstrip() for name, value, why in rows]
    return "\n".join([head, *lines])
