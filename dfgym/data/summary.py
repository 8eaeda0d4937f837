"""The facts of a recording as text: a table, and what will go wrong if nothing is done."""

from __future__ import annotations

from collections.abc import Iterator

from dfgym.data.survey import BUCKETS, MANY_COLOURS, PALETTE, Facts
from dfgym.frames import nearest_size

RARE = 50
"""A reward or an end that came less often is hardly learned."""
LISTED = 8
"""Of more rewards than this only the most frequent are listed."""


def describe(facts: Facts) -> str:
    """Return the facts as a table in plain text, and the warnings below it."""
    rows = list(_rows(facts))
    width = max(len(name) for name, _ in rows)
    lines = [f"{name:{width}}  {text}" for name, text in rows]
    return "\n".join([*lines, *(f"warning: {text}" for text in warnings(facts))])


def _rows(facts: Facts) -> Iterator[tuple[str, str]]:
    yield "frames", f"{facts.frames:,} of {facts.height} x {facts.width}"
    yield (
        "episodes",
        f"{facts.episodes:,} of {facts.shortest:,} to {facts.longest:,} steps, "
        f"median {facts.median:,}",
    )
    yield (
        "ends",
        f"{facts.terminated:,} by the game's rules, {facts.truncated:,} by a limit of time",
    )
    more = " or more" if facts.colours >= MANY_COLOURS else ""
    form = "a palette" if facts.colours <= PALETTE else "RGB"
    yield "colours", f"{facts.colours:,}{more}: learned as {form}"
    yield (
        "change",
        f"{facts.change:.2%} of the pixels in a step; no pixel in {facts.still:.0%} of the steps",
    )
    if facts.mover is not None:
        yield "smallest mover", f"about {facts.mover} cell{'s'[: facts.mover > 1]}"
    yield "chance", _chance(facts)
    common = sorted(facts.rewards.items(), key=lambda item: -item[1])[:LISTED]
    rest = len(facts.rewards) - len(common)
    yield (
        "rewards",
        ", ".join(f"{value:g}: {count:,}" for value, count in sorted(common))
        + (f", and {rest:,} other values" if rest else ""),
    )
    if len(facts.rewards) > BUCKETS:
        yield (
            "reward buckets",
            f"{len(facts.rewards):,} values are rounded to {len(facts.buckets)}, which errs by "
            f"{facts.rounding:.2g} on average; rewards spread by {facts.spread:.2g}",
        )
    yield (
        "actions",
        ", ".join(
            f"{name}: {count:,}" for name, count in zip(facts.meanings, facts.actions, strict=True)
        ),
    )


def _chance(facts: Facts) -> str:
    chance = facts.chance
    if chance.past is None:
        return "unknown: hardly a moment comes twice"
    return (
        f"moments of {chance.past} frame{'s'[: chance.past > 1]} that came again went on alike "
        f"{chance.agreement:.1%} of the time, in up to {chance.outcomes} ways "
        f"({chance.support:.0%} of the steps)"
    )


def warnings(facts: Facts) -> list[str]:
    """Return what will go wrong with a world learned from these recordings, in sentences."""
    return [
        *_of_episodes(facts),
        *_of_rewards(facts),
        *_of_actions(facts),
        *_of_pictures(facts),
    ]


def _of_episodes(facts: Facts) -> Iterator[str]:
    if facts.episodes < 2:
        yield (
            "there is one episode; training needs two or more, since one is held out: record "
            "more frames, or set max_episode_steps"
        )
    elif facts.episodes < 20:
        yield f"there are only {facts.episodes} episodes, so few beginnings to learn from"
    if not facts.terminated:
        yield "no episode was ended by the game's rules, so the dream will never end by itself"
    elif facts.terminated < RARE:
        yield f"only {facts.terminated} ends by the game's rules; {RARE} or more are learned better"


def _of_rewards(facts: Facts) -> Iterator[str]:
    if len(facts.rewards) == 1:
        (value,) = facts.rewards
        if not value:
            yield (
                "there is no reward in the data: every step pays 0, so an agent will learn nothing;"
                " record with players that earn some (`--policies`)"
            )
        elif facts.terminated:
            aim = "last long" if value > 0 else "end soon"
            yield f"every step pays {value:g}, so all that can be learned is to {aim}"
        else:
            yield (
                f"every step pays {value:g}, whatever is done, so an agent will learn nothing; "
                "record with players that come to an end (`--policies`)"
            )
        return
    usual = max(facts.rewards, key=lambda value: facts.rewards[value])
    other = sum(facts.rewards.values()) - facts.rewards[usual]
    if other < RARE:
        yield (
            f"rewards other than {usual:g} came {other} time{'s'[: other > 1]} in "
            f"{facts.frames:,} frames; record more, or with players that earn some (`--policies`)"
        )
    elif len(facts.rewards) <= LISTED and (
        rare := [f"{value:g} ({n})" for value, n in facts.rewards.items() if n < RARE]
    ):
        yield f"these rewards came less than {RARE} times: {', '.join(rare)}"


def _of_actions(facts: Facts) -> Iterator[str]:
    even = sum(facts.actions) / len(facts.actions)
    for number, (name, count) in enumerate(zip(facts.meanings, facts.actions, strict=True)):
        label = number if name == str(number) else f"{number} ({name})"
        if count == 0:
            yield f"the action {label} was never taken, so the dream cannot know what it does"
        elif count < even / 50:
            yield f"the action {label} was taken only {count} times of {sum(facts.actions):,}"


def _of_pictures(facts: Facts) -> Iterator[str]:
    size = facts.height, facts.width
    if (better := nearest_size(*size)) != size:
        yield (
            f"no network cuts frames of {size[0]} x {size[1]} into few patches, so that training "
            f"will refuse them; record them with --resize {better[0]} {better[1]}"
        )
    if facts.still > 0.9:
        yield (
            f"{facts.still:.0%} of the steps change no pixel; the game may be paused, or may need "
            "a step that lasts longer"
        )
    memory = facts.chance.memory
    if memory is not None and memory >= 8:
        yield (
            f"something that a single frame does not show matters for {memory} frames or more, "
            "as a hidden timer would: the window must be longer than that"
        )
