"""The matrix sampler: equal to the frame sampler where both run, and what it shows the network."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from torch import Tensor

from dfgym.diffusion.context import CONTEXT_MODES, plan_context
from dfgym.diffusion.joint_sampler import Pass, sample_jointly
from dfgym.diffusion.levels import denoising_levels
from dfgym.diffusion.path import interpolate
from dfgym.diffusion.sampler import sample
from dfgym.diffusion.schedules import Schedule, autoregressive, parse
from dfgym.study.methods.delays import count_cost
from toys.schedules import schedules

WINDOW, SHAPE = 3, (4, 4, 2)


def draws(
    new: int, context: int, dtype: torch.dtype = torch.float64
) -> tuple[Tensor, Tensor, Tensor]:
    """Noise of new frames, known frames, noise of the context."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(2, 2 * (new + context), *SHAPE, generator=generator, dtype=dtype)
    return noise[:, :new], noise[:, new : new + context], noise[:, new + context :]


def estimate(x: Tensor, tau: Tensor) -> Tensor:
    """A crooked answer for the last of some frames that depends on all and on their levels."""
    weights = torch.linspace(0.5, 1, len(tau), dtype=torch.float64) * (0.1 + tau)
    mixed = (x * weights.to(x)[:, None, None, None]).sum(1)
    return torch.tanh(mixed) + 0.3 * torch.sin(3 * x[:, -1])


@pytest.mark.parametrize("mode", CONTEXT_MODES)
@pytest.mark.parametrize("first_order", [False, True])
@pytest.mark.parametrize(("dtype", "rtol"), [(torch.float64, 1e-13), (torch.float32, 1e-5)])
def test_autoregressive_rows_are_the_frame_sampler(
    mode: str, first_order: bool, dtype: torch.dtype, rtol: float
) -> None:
    new, context, steps = 5, 2, 6
    levels, plan = denoising_levels(steps, 2.0), plan_context(mode, 0.3, steps)
    noise, first, context_eps = draws(new, context, dtype)

    def denoise(x: Tensor, view: Pass) -> Tensor:
        assert view.wanted.tolist() == [False] * (len(view.wanted) - 1) + [True]
        return torch.cat((x[:, :-1], estimate(x, view.tau)[:, None]), 1)

    schedule = autoregressive(new, levels, context=context, window=WINDOW)
    result = sample_jointly(
        denoise, noise, first, schedule, plan, context_eps, first_order=first_order
    )

    frames, held, at = [*first.unbind(1)], [*first.unbind(1)], [1.0] * context
    for n in range(new):
        past = torch.stack((held if plan.kept else frames)[-WINDOW:], 1)
        eps = context_eps[:, len(frames) - past.shape[1] : len(frames)]

        def one(
            x: Tensor, tau: float, i: int, past: Tensor = past, eps: Tensor = eps, n: int = n
        ) -> Tensor:
            applied, conditioned = plan.levels[plan.reads[i]]
            held[context + n :], at[context + n :] = [x], [tau]
            conditions = at[:-1][-WINDOW:] if plan.kept else [conditioned] * past.shape[1]
            level = torch.full(past.shape[:2], applied, dtype=dtype)
            inputs = torch.cat((interpolate(past, eps, level), x[:, None]), 1)
            tau_all = torch.tensor([*conditions, tau], dtype=torch.float64)
            return estimate(inputs, tau_all)

        frames.append(sample(one, noise[:, n], levels, first_order=first_order))
    torch.testing.assert_close(result, torch.stack(frames, 1), rtol=rtol, atol=rtol)
    assert torch.equal(result[:, :context], first)


@given(schedules())
def test_passes_show_what_the_schedule_allows_and_cost_what_it_says(
    case: tuple[Schedule, int],
) -> None:
    schedule, steps = case
    frames = schedule.levels.shape[1]
    new = frames - schedule.context
    noise, first, context_eps = draws(new, schedule.context)
    views: list[Pass] = []

    def denoise(x: Tensor, view: Pass) -> Tensor:
        views.append(view)
        assert x.shape == (2, len(view.frames), *SHAPE)
        # Whatever is predicted for frames that are not wanted must be of no effect.
        return torch.where(view.wanted[:, None, None, None], x.tanh(), torch.nan)

    out = sample_jointly(
        denoise, noise, first, schedule, plan_context("clean", 0.0, steps), context_eps
    )
    assert bool(out.isfinite().all()) and torch.equal(out[:, : schedule.context], first)
    read, moving = schedule.read(), schedule.moving()
    for view in views:
        assert torch.equal(view.frames, read[view.row].nonzero()[:, 0])
        assert torch.equal(view.frames[view.wanted], moving[view.row].nonzero()[:, 0])
        assert torch.equal(view.tau, schedule.levels[view.row, view.frames])
        assert torch.equal(view.visible, schedule.visible[view.frames][:, view.frames])
    spent = count_cost(schedule)
    assert len(views) == pytest.approx(spent.calls * new)
    assert sum(len(view.frames) for view in views) == pytest.approx(spent.recomputed * new)


@given(schedules())
def test_dynamic_context_is_clean_in_each_frames_last_step_whatever_moves_beside_it(
    case: tuple[Schedule, int],
) -> None:
    schedule, steps = case
    new = schedule.levels.shape[1] - schedule.context
    plan = plan_context("dynamic", 0.4, steps)
    path = [0.0, *schedule.levels[:, -1].unique().tolist()[1:]]  # the last entry, 1, has no step
    noise, first, context_eps = draws(new, schedule.context)
    counts = torch.zeros(new + schedule.context, dtype=torch.int64)
    state: dict[int, Tensor] = {}

    def denoise(x: Tensor, view: Pass) -> Tensor:
        now = schedule.levels[view.row, view.frames]
        own = set(now[view.wanted].tolist())
        ((applied, conditioned),) = {plan.levels[plan.reads[path.index(tau)]] for tau in own}
        finished = now == 1
        assert bool((view.tau[finished] == conditioned).all())
        assert torch.equal(view.tau[~finished], now[~finished])
        assert conditioned == 1 or max(own) < path[-2]
        counts[view.frames[view.wanted]] += 1
        for place in finished.nonzero()[:, 0].tolist():
            n = int(view.frames[place])
            eps = context_eps[:, n]
            clean = (x[:, place] - (1 - applied) * eps) / applied
            torch.testing.assert_close(clean, state.setdefault(n, clean))
        return x.tanh()

    sample_jointly(denoise, noise, first, schedule, plan, context_eps)
    assert counts.tolist() == [0] * schedule.context + [steps] * new


@pytest.mark.parametrize("name", ["autoregressive", "pyramid:1", "chunked:2", "hierarchical:2"])
def test_finished_frames_are_rounded_once_and_before_others_see_them(name: str) -> None:
    steps, calls = 4, []
    schedule = parse(name, 6, denoising_levels(steps, 1.0), context=2, window=4, causal=False)
    noise, first, context_eps = draws(6, 2)
    first = first.round()

    def finish(x: Tensor) -> Tensor:
        calls.append(x.shape[1])
        return x.round()

    def denoise(x: Tensor, view: Pass) -> Tensor:
        finished = x[:, view.tau == 1]
        assert torch.equal(finished, finished.round())
        return 3 * x.tanh()

    plan = plan_context("clean", 0.0, steps)
    out = sample_jointly(denoise, noise, first, schedule, plan, context_eps, finish=finish)
    assert torch.equal(out, out.round()) and sum(calls) == 6


def test_inputs_are_left_as_they_are_and_a_plan_of_other_steps_is_refused() -> None:
    schedule = autoregressive(3, denoising_levels(4, 1.0), context=1, window=2)
    context_frames = draws(3, 1)
    finished = [tensor.clone() for tensor in context_frames]
    noise, first, context_eps = context_frames

    def denoise(x: Tensor, view: Pass) -> Tensor:
        return x.tanh()

    sample_jointly(denoise, noise, first, schedule, plan_context("noised", 0.2, 4), context_eps)
    assert all(torch.equal(a, b) for a, b in zip(finished, context_frames, strict=True))
    for steps in (3, 5):
        with pytest.raises(AssertionError, match="denoising steps"):
            sample_jointly(
                denoise,
                noise,
                first,
                schedule,
                plan_context("clean", 0.0, steps),
                context_eps,
            )
