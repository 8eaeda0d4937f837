"""`dfgym study`: try the claims about video world models, by subject or by row of the deck."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, NamedTuple

import tyro

from dfgym.checks import shorten
from dfgym.device import pick_device
from dfgym.errors import ConfigError
from dfgym.study import (
    action,
    backbones,
    chunks,
    clocks,
    composition,
    contexts,
    endurance,
    few_steps,
    guidance,
    horizon,
    luck,
    memory,
    objectives,
    pretraining,
    product,
    pyramid,
    reward,
    schedules,
    search,
    uncertainty,
)
from dfgym.study.games import QUICK, WHOLE, GameName
from dfgym.study.runner import StudyRunner
from dfgym.study.verdict import Condition
from dfgym.study.write import PAGE, SUBJECTS, Finding, subject_of, write_finding, write_page


class Claim(NamedTuple):
    """A claim that can be tried.

    Attributes:
        name: its subject, or the subject, a hyphen and a word; the name of its files.
        row: the row of the deck that makes it, or another short name.
        games: the games that it is tried on.
        measure: tries it.
        conditions: what must hold if it is true.
    """

    name: str
    row: str
    games: tuple[str, ...]
    measure: Callable[[StudyRunner, Sequence[str]], Finding]
    conditions: tuple[Condition, ...]


BOTH = ("breakout", "cartpole")
CLAIMS = (
    Claim("backbones", "D3", backbones.GAMES, backbones.measure, backbones.CONDITIONS),
    Claim(
        "objectives-teacher-forcing",
        "D4",
        BOTH,
        objectives.measure_teacher_forcing,
        objectives.TEACHER_FORCING_CONDITIONS,
    ),
    Claim(
        "objectives-full-sequence",
        "D5",
        BOTH,
        objectives.measure_full_sequence,
        objectives.FULL_SEQUENCE_CONDITIONS,
    ),
    Claim(
        "objectives-diffusion-forcing",
        "D8",
        BOTH,
        objectives.measure_diffusion_forcing,
        objectives.DIFFUSION_FORCING_CONDITIONS,
    ),
    Claim(
        "objectives-comparison",
        "D14",
        BOTH,
        objectives.measure_all,
        objectives.COMPARISON_CONDITIONS,
    ),
    Claim("pretraining", "D9", pretraining.GAMES, pretraining.measure, pretraining.CONDITIONS),
    Claim("chunks", "D6", chunks.GAMES, chunks.measure, chunks.CONDITIONS),
    Claim(
        "schedules-reaction",
        "D7",
        schedules.REACTION_GAMES,
        schedules.measure_reaction,
        schedules.REACTION_CONDITIONS,
    ),
    Claim(
        "schedules-matrices",
        "D10",
        schedules.MATRIX_GAMES,
        schedules.measure_matrices,
        schedules.MATRIX_CONDITIONS,
    ),
    Claim(
        "contexts-told-noisy",
        "D11",
        BOTH,
        contexts.measure_told_noisy,
        contexts.TOLD_NOISY_CONDITIONS,
    ),
    Claim("contexts-noised", "D12", BOTH, contexts.measure_noised, contexts.NOISED_CONDITIONS),
    Claim("contexts-comparison", "D13", BOTH, contexts.measure_all, contexts.COMPARISON_CONDITIONS),
    Claim("few-steps", "steps", few_steps.GAMES, few_steps.measure, few_steps.CONDITIONS),
    Claim("memory", "D17", memory.GAMES, memory.measure, memory.CONDITIONS),
    Claim("clocks", "clocks", clocks.GAMES, clocks.measure, clocks.CONDITIONS),
    Claim("endurance", "long", endurance.GAMES, endurance.measure, endurance.CONDITIONS),
    Claim("search", "D15", search.GAMES, search.measure, search.CONDITIONS),
    Claim("guidance", "D15", guidance.GAMES, guidance.measure, guidance.CONDITIONS),
    Claim("guidance-action", "D15", action.GAMES, action.measure, action.CONDITIONS),
    Claim("guidance-reward", "D15", reward.GAMES, reward.measure, reward.CONDITIONS),
    Claim("guidance-luck", "D15", luck.GAMES, luck.measure, luck.CONDITIONS),
    Claim("composition", "D15", composition.GAMES, composition.measure, composition.CONDITIONS),
    Claim("composition-product", "D15", product.GAMES, product.measure, product.CONDITIONS),
    Claim("uncertainty", "D15", uncertainty.GAMES, uncertainty.measure, uncertainty.CONDITIONS),
    Claim("uncertainty-pyramid", "D15", pyramid.GAMES, pyramid.measure, pyramid.CONDITIONS),
    Claim("horizon", "D15", horizon.GAMES, horizon.measure, horizon.CONDITIONS),
)


@dataclass(frozen=True)
class Config:
    """Try claims: train what is missing, measure, and write figures and numbers.

    What is trained and measured is kept, so a study that was stopped goes on.
    """

    subject: Annotated[str | None, tyro.conf.Positional] = None
    """backbones, objectives, pretraining, chunks, schedules, contexts, few-steps, memory, clocks,
    endurance, search, guidance, composition, uncertainty or horizon; one part of them, such as
    guidance-action; or one row of the deck, D3 to D15, D17, steps or long."""
    all: bool = False
    """Every subject, in this order."""
    page: bool = False
    """Measure nothing: only write the page anew from the numbers in `out`."""
    quick: bool = False
    """A few training steps and a few frames: shows that everything runs, and nothing else."""
    games: tuple[GameName, ...] = ()
    """Only these, of those that a claim is tried on."""
    out: Path = Path("docs/study")
    """Folder for JSON, figures and the page."""
    runs: Path = Path("runs/study")
    """Folder for data, models and measurements."""
    device: str = "auto"
    """Where models are trained: `auto`, `cpu` or `cuda`."""


def study(config: Config) -> None:
    """Try the claims that are chosen.

    Raises:
        ConfigError: there is no such subject, both or neither of a subject and all are given,
            nothing of it is tried on the games, or a page alone is to be written of a part.
        DataError: a model on disk was trained by another version.
        DeviceError: the device is missing.
        MissingPackageError: a game's package is missing.
    """
    scale = QUICK if config.quick else WHOLE
    conditions = {claim.name: claim.conditions for claim in CLAIMS}
    if config.page:
        _check_page_alone(config)
        write_page(config.out, scale, conditions)
        print(f"wrote {config.out / PAGE}")
        return
    claims = choose_claims(config)
    pick_device(config.device)  # refused before hours of recording
    folder = config.runs / ("quick" if config.quick else "whole")
    runner = StudyRunner(folder, scale, config.device)
    for claim, games in claims:
        began = time.monotonic()
        finding = claim.measure(runner, games)
        write_finding(finding, claim.name, claim.row, scale, _command(claim, config), config.out)
        write_page(config.out, scale, conditions)
        spent = time.monotonic() - began
        print(f"{claim.name}: wrote {config.out / claim.name}.json and {PAGE} ({spent:.0f} s)")


def choose_claims(config: Config) -> list[tuple[Claim, list[str]]]:
    """Return the chosen claims, and the games that each is tried on.

    Raises:
        ConfigError: see `study`.
    """
    rows = sorted({claim.row for claim in CLAIMS}, key=lambda row: (row[0] != "D", len(row), row))
    parts = [claim.name for claim in CLAIMS if claim.name not in SUBJECTS]
    allowed = ", ".join([*SUBJECTS, *parts, *rows])
    if config.all == (config.subject is not None):
        raise ConfigError(f"give either one subject ({allowed}) or --all")
    subject = config.subject.lower() if config.subject else None
    selected = [
        claim
        for claim in CLAIMS
        if config.all or subject in (subject_of(claim.name), claim.name, claim.row.lower())
    ]
    if not selected:
        raise ConfigError(f"the subject is {shorten(config.subject)}; allowed are {allowed}")
    claims = [
        (claim, [game for game in claim.games if not config.games or game in config.games])
        for claim in selected
    ]
    if not any(games for _, games in claims):
        possible = ", ".join(dict.fromkeys(game for claim in selected for game in claim.games))
        raise ConfigError(
            f"games are {', '.join(config.games)}; {config.subject} is tried on {possible}"
        )
    return [(claim, games) for claim, games in claims if games]


def _check_page_alone(config: Config) -> None:
    if config.all or config.subject is not None or config.games:
        raise ConfigError(
            "--page is of everything in `out`; leave out the subject, --all and --games"
        )


def _command(claim: Claim, config: Config) -> str:
    games = f" --games {' '.join(config.games)}" if config.games else ""
    return f"dfgym study {claim.name}{games}{' --quick' if config.quick else ''}"
