"""Scheduling matrices: properties that hold for every number of frames, denoising steps and scale.

And what is counted from them: network passes, reaction delays, and which can be played.
"""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dfgym.diffusion.schedules import (
    Schedule,
    autoregressive,
    chunked,
    fifo,
    full_sequence,
    hierarchical,
    parse,
    pyramid,
    trapezoid,
)
from dfgym.errors import ConfigError
from dfgym.study.methods.delays import action_delays, count_cost
from toys.schedules import path, schedules


@given(schedules())
def test_every_frame_walks_the_whole_path_once_without_a_pause(case: tuple[Schedule, int]) -> None:
    """No frame is given up undenoised, as the published trapezoid gives up one of four."""
    schedule, steps = case
    levels, context = schedule.levels, schedule.context
    assert levels.dtype == torch.float64
    assert bool((levels[:, :context] == 1).all()) and bool((levels[0, context:] == 0).all())
    assert bool((levels.diff(dim=0) >= 0).all())
    assert bool((levels[-1] == 1).all())
    assert bool(schedule.moving().any(1).all()), "a row in which nothing happens"
    whole = torch.tensor([*path(steps), 1.0], dtype=torch.float64)
    for column in levels[:, context:].T:
        entered = int((column == 0).sum()) - 1
        assert torch.equal(column[entered : entered + steps + 1], whole)


@given(schedules())
def test_who_sees_whom(case: tuple[Schedule, int]) -> None:
    schedule, _ = case
    frames, context = len(schedule.visible), schedule.context
    assert bool(schedule.visible.diagonal().all())
    if schedule.name.startswith("autoregressive"):
        assert not schedule.visible.triu(1).any()
    read, moving = schedule.read(), schedule.moving()
    assert read.shape == (len(schedule.levels) - 1, frames)
    assert bool((moving <= read).all())
    idle = (schedule.levels[:-1] == 0) & ~moving
    assert not (read & idle).any(), "a frame that has not begun is passed through the network"
    assert not moving[:, :context].any()


@given(st.integers(1, 12), st.integers(1, 9), st.integers(1, 6), st.integers(0, 7))
def test_kinds_meet_where_they_should(new: int, steps: int, window: int, context: int) -> None:
    common: dict[str, Any] = {"context": context, "window": window}
    levels = path(steps)
    alone = autoregressive(new, levels, **common)
    together = full_sequence(new, levels, **common)
    for same in (
        chunked(new, levels, k=window, **common),
        pyramid(new, levels, scale=steps, **common),
        fifo(new, levels, queue=1, **common),
    ):
        assert torch.equal(same.levels, alone.levels)
        assert torch.equal(same.visible, alone.visible)
    assert torch.equal(pyramid(new, levels, scale=0, **common).levels, together.levels)
    assert torch.equal(trapezoid(new, levels, scale=0, **common).levels, together.levels)
    assert torch.equal(pyramid(new, levels, scale=0, **common).visible, together.visible)
    assert torch.equal(
        fifo(new, levels, queue=steps, **common).levels,
        pyramid(new, levels, scale=1, **common).levels,
    )


@given(st.integers(2, 17), st.integers(1, 9), st.data())
def test_rows_are_as_many_as_the_formulas_say(new: int, steps: int, data: st.DataObject) -> None:
    levels, window = path(steps), data.draw(st.integers(2, 9))
    scale = data.draw(st.floats(0, steps))
    k = data.draw(st.integers(1, window))
    stride = 2 ** data.draw(st.integers(1, new.bit_length() - 1))

    def rows(schedule: Schedule) -> int:
        return len(schedule.levels) - 1

    assert rows(autoregressive(new, levels, window=window)) == steps * new
    assert rows(full_sequence(new, levels, window=window)) == steps
    sloped = steps + math.floor(scale * (new - 1))
    assert rows(pyramid(new, levels, scale=scale, window=window)) == sloped
    middle = math.floor(scale * ((new - 1) // 2))
    assert rows(trapezoid(new, levels, scale=scale, window=window)) == steps + middle
    blocks = math.ceil(new / (window + 1 - k))
    assert rows(chunked(new, levels, k=k, window=window)) == steps * blocks
    generations = int(math.log2(stride)) + 1
    case = hierarchical(new, levels, stride=stride, window=window)
    assert rows(case) == steps * generations


@pytest.mark.parametrize("new", [1, 2, 3, 4, 5, 8])
def test_trapezoid_begins_at_both_ends(new: int) -> None:
    levels = trapezoid(new, path(4), scale=2, window=8).levels
    assert torch.equal(levels, levels.flip(1))
    begins = (levels == 0).sum(0).tolist()
    half = begins[: (new + 1) // 2]
    assert half == list(range(1, 2 * len(half), 2))


@pytest.mark.parametrize(("steps", "queue"), [(6, 1), (6, 2), (6, 3), (6, 6)])
def test_fifo_moves_up_by_one_frame_at_a_time(steps: int, queue: int) -> None:
    new, every = 20, steps // queue
    schedule = fifo(new, path(steps), queue=queue, window=8)
    moving = schedule.moving()
    steady = slice(steps - every, len(moving) - (steps - every))
    assert set(moving[steady].sum(1).tolist()) == {queue}
    finished = (schedule.levels < 1).sum(0)
    entered = (schedule.levels == 0).sum(0)
    assert finished.diff().tolist() == entered.diff().tolist() == [every] * (new - 1)


def test_pyramid_example() -> None:
    levels = pyramid(3, [0.0, 0.5], scale=1, context=1, window=4).levels
    assert levels.tolist() == [
        [1, 0, 0, 0],
        [1, 0.5, 0, 0],
        [1, 1, 0.5, 0],
        [1, 1, 1, 0.5],
        [1, 1, 1, 1],
    ]


def test_chunks_see_k_frames_and_themselves() -> None:
    case = chunked(4, path(2), k=3, context=4, window=4, causal=False)  # 2 new frames a chunk
    columns = [row.nonzero()[:, 0].tolist() for row in case.visible[4:]]
    assert columns == [[1, 2, 3, 4, 5], [1, 2, 3, 4, 5], [3, 4, 5, 6, 7], [3, 4, 5, 6, 7]]
    case = chunked(4, path(2), k=3, context=4, window=4)
    columns = [row.nonzero()[:, 0].tolist() for row in case.visible[4:]]
    assert columns == [[1, 2, 3, 4], [1, 2, 3, 4, 5], [3, 4, 5, 6], [3, 4, 5, 6, 7]]


def test_generations_see_their_own_grid_and_never_what_comes_later() -> None:
    steps = 3
    case = hierarchical(8, path(steps), stride=4, context=3, window=4)
    begins = ((case.levels == 0).sum(0) - 1)[3:]
    assert begins.tolist() == [steps * g for g in (2, 1, 2, 0, 2, 1, 2, 0)]
    columns = [row.nonzero()[:, 0].tolist() for row in case.visible]
    # Columns 0 to 2 are known, of which 2 is on every grid and 0 on that of the middles.
    assert columns[6] == [2, 6, 10] and columns[10] == [2, 6, 10]
    assert columns[4] == [0, 2, 4, 6, 8] and columns[8] == [4, 6, 8, 10]
    assert columns[5] == [3, 4, 5, 6, 7] and columns[3] == [1, 2, 3, 4, 5]
    pairs = case.visible[3:, 3:].nonzero()
    assert bool((begins[pairs[:, 0]] >= begins[pairs[:, 1]]).all())


@given(schedules())
def test_each_frame_is_denoised_once_whatever_the_schedule(case: tuple[Schedule, int]) -> None:
    schedule, steps = case
    new = schedule.levels.shape[1] - schedule.context
    cost = count_cost(schedule)
    assert cost.cached == steps
    assert cost.calls == pytest.approx((len(schedule.levels) - 1) / new)
    assert steps / new <= cost.calls <= steps
    assert cost.recomputed >= cost.cached


@given(st.integers(1, 9), st.integers(2, 9), st.integers(1, 4), st.data())
def test_chunks_cost_f_over_f_minus_k(
    steps: int, window: int, blocks: int, data: st.DataObject
) -> None:
    """Recomputed: a large k is wasteful (deck, D6). With a cache only the calls are."""
    k = data.draw(st.integers(1, window))
    size = window + 1 - k
    for causal in (True, False):
        case = chunked(size * blocks, path(steps), k=k, context=k, window=window, causal=causal)
        cost = count_cost(case)
        assert cost.recomputed == pytest.approx(steps * (window + 1) / size)
        assert cost.calls == pytest.approx(steps / size)
        assert action_delays(case) == [0, *range(size - 1, 0, -1)] * blocks


@given(st.integers(2, 12), st.integers(1, 9), st.integers(1, 9))
def test_reaction_delays(new: int, steps: int, scale: int) -> None:
    levels, window = path(steps), 12
    decided = [0, *range(new - 1, 0, -1)]  # all of the block, once its first frame is out
    assert action_delays(autoregressive(new, levels, window=window)) == [0] * new
    assert action_delays(full_sequence(new, levels, window=window)) == decided
    assert action_delays(hierarchical(new, levels, stride=2, window=2 * window)) == decided
    assert action_delays(trapezoid(new, levels, scale=min(scale, steps), window=window)) == decided
    scale = min(scale, steps)
    ahead = math.ceil(steps / scale) - 1  # frames in flight when one comes out
    delays = action_delays(pyramid(new, levels, scale=scale, window=window))
    assert delays == [0, *(min(ahead, new - n) for n in range(1, new))]


@given(schedules())
def test_what_can_be_played_finishes_each_frame_before_the_next(
    case: tuple[Schedule, int],
) -> None:
    schedule, steps = case
    new = schedule.levels.shape[1] - schedule.context
    one_by_one = autoregressive(new, path(steps), context=schedule.context, window=4)
    in_time = max(action_delays(schedule)) == 0
    assert in_time == torch.equal(schedule.levels, one_by_one.levels)


@pytest.mark.parametrize(
    "name", ["full_sequence", "pyramid:3.9", "fifo:2", "trapezoid:1", "chunked:3", "hierarchical:4"]
)
def test_what_cannot_be_played_obeys_late(name: str) -> None:
    schedule = parse(name, 8, path(4), context=4, window=4, causal=False)
    assert max(action_delays(schedule)) > 0


@pytest.mark.parametrize("name", ["autoregressive", "pyramid:4", "fifo:1", "chunked:4"])
def test_what_can_be_played_obeys_at_once(name: str) -> None:
    assert max(action_delays(parse(name, 8, path(4), context=4, window=4))) == 0


@pytest.mark.parametrize(
    "name",
    [
        *("spiral", "", "autoregressive:1", "full_sequence:2", "pyramid", "pyramid:", "fifo"),
        *("pyramid:steep", "pyramid:nan", "pyramid:inf", "pyramid:-1", "pyramid:5", "chunked"),
        *("trapezoid:-1", "fifo:0", "fifo:3", "fifo:8", "fifo:1.5", "chunked:0", "chunked:5"),
        *("hierarchical", "hierarchical:1", "hierarchical:3", "hierarchical:16"),
    ],
)
def test_bad_names(name: str) -> None:
    with pytest.raises(ConfigError, match="allowed"):
        parse(name, 8, path(4), window=4, causal=False)


def test_bad_numbers() -> None:
    with pytest.raises(ConfigError, match="below the window's 5 frames"):
        chunked(8, path(4), k=5, window=4)
    with pytest.raises(ConfigError, match="window is 0"):
        autoregressive(8, path(4), window=0)
    with pytest.raises(ConfigError, match="window is 1"):
        hierarchical(8, path(4), stride=2, window=1)
    with pytest.raises(ConfigError, match="new frame"):
        full_sequence(0, path(4), window=4)
    with pytest.raises(ConfigError, match="allowed"):
        parse(3, 8, path(4), window=4)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["trapezoid:1", "hierarchical:2"])
def test_a_causal_model_is_not_asked_to_see_later_frames(name: str) -> None:
    with pytest.raises(ConfigError, match="sees later frames"):
        parse(name, 8, path(4), window=4)
