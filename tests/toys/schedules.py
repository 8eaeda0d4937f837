"""Schedules of every kind, for property tests."""

from __future__ import annotations

from hypothesis import strategies as st

from dfgym.diffusion.levels import denoising_levels
from dfgym.diffusion.schedules import Schedule, parse


def path(steps: int) -> list[float]:
    return denoising_levels(steps, 1.5)


@st.composite
def schedules(draw: st.DrawFn) -> tuple[Schedule, int]:
    """Draw any schedule of any kind, and its number of denoising steps."""
    new, steps = draw(st.integers(1, 17)), draw(st.integers(1, 9))
    kinds = ["autoregressive", "full_sequence", "pyramid", "trapezoid", "fifo", "chunked"]
    kind = draw(st.sampled_from(kinds + ["hierarchical"] * (new > 1)))
    window = draw(st.integers(2, 9))
    match kind:
        case "pyramid" | "trapezoid":
            kind += f":{draw(st.floats(0, steps))!r}"
        case "fifo":
            kind += f":{draw(st.sampled_from([q for q in range(1, steps + 1) if not steps % q]))}"
        case "chunked":
            kind += f":{draw(st.integers(1, window))}"
        case "hierarchical":
            kind += f":{2 ** draw(st.integers(1, new.bit_length() - 1))}"
    context = draw(st.integers(0, 10))
    causal = draw(st.booleans()) and kind[0] not in "th"
    schedule = parse(kind, new, path(steps), context=context, window=window, causal=causal)
    assert schedule.name == kind
    assert not (causal and schedule.visible.triu(1).any())
    return schedule, steps
