"""`dfgym evaluate`: measure a world against its real game, into one JSON file and one HTML page."""

from __future__ import annotations

import contextlib
import functools
import os
import platform
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from dfgym.data.cluster import Cluster, share_out
from dfgym.device import available_cores
from dfgym.errors import ConfigError, NotMeasuredError
from dfgym.evaluation import (
    chance,
    classifier,
    comparison,
    counterfactual,
    drift,
    horizon,
    inverse,
    legality,
    lifetime,
    lift,
    motion,
    next_frame,
    objects,
    occupancy,
    payoff,
    peer,
    ranking,
    rates,
    report,
    speed,
    transfer,
    uncertainty,
)
from dfgym.evaluation.film import encode_gif, side_by_side
from dfgym.evaluation.rollout import Dream, Real, Rows, open_real, policies, roll
from dfgym.evaluation.subject import Question, Subject
from dfgym.evaluation.verdict import Finding, Verdict, conclude
from dfgym.files import plain, write_atomic, write_json
from dfgym.world import shelf
from dfgym.world.settings import Settings

QUESTIONS: tuple[Question, ...] = (
    rates,
    legality,
    lifetime,
    counterfactual,
    inverse,
    chance,
    payoff,
    ranking,
    transfer,
    lift,
    horizon,
    next_frame,
    classifier,
    occupancy,
    objects,
    uncertainty,
    motion,
    drift,
    speed,
)
"""In the order of the report. A new question is a module of this folder, and an entry here."""
RESULTS = comparison.FILE
"""The file of the answers, written after each of them, so that an early end leaves some."""
UNREACHED = "the evaluation ended before it came to this"
FILM, QUICK_FILM = 240, 48
"""Frames of the film."""


def evaluate(
    world: str | os.PathLike[str],
    out: str | os.PathLike[str],
    quick: bool = False,
    settings: Settings = Settings(),
    rungs: Sequence[str] = (),
    cluster: Cluster | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Measure a world.

    Writes `evaluation.json`, `evaluation.html` and `dream.gif`. Agents are not trained here, since
    that takes hours: results of `dfgym.evaluation.transfer` in the folder `out/transfer` are read.

    Args:
        world: a name on the shelf, or the path of a folder.
        out: the folder to write to.
        quick: whether to take a twentieth of the frames: a look, not a measurement.
        settings: how the world is run.
        rungs: the names of the questions to ask; none for all.
        cluster: where to ask them; None: here, one after the other.
        seed: 0 to 9,999, of all games, players, dreams and choices.

    Returns:
        The content of the JSON file: `world`, `settings`, `machine`, the answer of each question
        by its name, `absent`: for each question without an answer, the reason, and `verdict`: one
        line over all (`overall`), and the `findings`, each as its level and its words. The verdict
        is also printed.

    Raises:
        WorldError: there is no such world, or it is damaged.
        MissingPackageError: its real game, or ray, is not installed.
        ConfigError: `out` cannot be a folder, or holds a damaged result of agents; or there is no
            such rung or cluster.
    """
    selection = choose(rungs)
    subject = Subject(shelf.load(world), Path(out), settings, quick, seed)
    open_real(subject.card).env.close()  # first of all, before anything takes time
    make_folder(out)
    _check_files(subject, selection)
    results: dict[str, Any] = {
        "world": {
            "name": subject.card.name,
            "hash": subject.world.hash,
            "description": subject.card.description,
            "source": subject.card.source.env,
        },
        "settings": _settings(subject),
        "machine": machine(subject),
    }
    absent = results["absent"] = dict.fromkeys((q.NAME for q in selection), UNREACHED)
    _conclude(subject.folder, results)
    answers = _answers(subject, selection, cluster)
    with tqdm(selection, bar_format="{desc:14}{bar}| {n}/{total} {elapsed}") as questions:
        for question in questions:
            questions.set_description(question.NAME)
            answer = next(answers)
            if isinstance(answer, str):
                absent[question.NAME] = answer
            else:
                results[question.NAME] = answer
                del absent[question.NAME]
            _conclude(subject.folder, results)
    film = encode_gif(_film(subject), subject.card.frames.fps)
    write_atomic(subject.folder / "dream.gif", film)
    _publish(subject.folder, results, film)
    return results


def make_folder(out: str | os.PathLike[str]) -> None:
    """Make the folder of the results, before anything takes time."""
    try:
        Path(out).mkdir(parents=True, exist_ok=True)
    except OSError as reason:
        raise ConfigError(
            f"`out` is {os.fspath(out)!r}; expected a folder that can be made ({reason})"
        ) from reason


def _check_files(subject: Subject, selection: Sequence[Question]) -> None:
    """Read what other commands have left in the folder, before anything takes time."""
    players = subject.folder / ranking.NAME / ranking.FILE
    if ranking in selection and players.is_file():
        ranking.read(players)
    for question in (transfer, lift):
        if question in selection:
            with contextlib.suppress(NotMeasuredError):
                question.measure(subject)


Answer = dict[str, Any] | str
"""What a question measured, or why it measured nothing."""


def _answers(
    subject: Subject, selection: Sequence[Question], cluster: Cluster | None
) -> Iterator[Answer]:
    if cluster is not None:
        path, folder = subject.world.path.resolve(), subject.folder.resolve()
        place = (path, folder, subject.settings, subject.quick, subject.seed)
        works = [(q.NAME, place) for q in selection if q is not speed]
        yield from share_out(_answer_elsewhere, works, cluster)
        selection = [q for q in selection if q is speed]  # the last, and of this machine
    yield from (_answer(question, subject) for question in selection)


def _answer(question: Question, subject: Subject) -> Answer:
    try:
        return question.measure(subject)
    except NotMeasuredError as reason:
        return str(reason)


def _answer_elsewhere(work: tuple[str, tuple[Path, Path, Settings, bool, int]]) -> Answer:
    name, place = work
    (question,) = choose([name])
    return _answer(question, _open_subject(*place))


@functools.lru_cache(1)  # several questions look at the same play
def _open_subject(path: Path, folder: Path, settings: Settings, quick: bool, seed: int) -> Subject:
    return Subject(shelf.load(path), folder, settings, quick, seed)


def evaluate_peer(
    world: str | os.PathLike[str], peer_folder: str | os.PathLike[str], out: str | os.PathLike[str]
) -> dict[str, Any]:
    """Judge another system's rollouts by a world's real game.

    Args:
        world: whose real game they dream, and whose size they have.
        peer_folder: see `dfgym.evaluation.peer`.
        out: the folder to write to.

    Returns:
        The content of the JSON file; see `evaluate`.

    Raises:
        ConfigError: the rollouts do not fit, see `peer.load`; or `out` cannot be a folder.
        WorldError: there is no such world, or it is damaged.
        MissingPackageError: its real game is not installed.
    """
    card = shelf.load(world).card
    make_folder(out)
    answers, absent = peer.measure(peer_folder, card)
    for question in QUESTIONS:
        if question.NAME not in answers:
            words = "rollouts alone are not asked this; it takes the system itself"
            absent.setdefault(question.NAME, words)
    name = Path(peer_folder).resolve().name
    table = {"name": name, "hash": "", "description": f"Rollouts of another system: {name}."}
    results: dict[str, Any] = {"world": {**table, "source": card.source.env}}
    results |= {"settings": {"quick": False}, "machine": {}, **answers, "absent": absent}
    _conclude(Path(out), results)
    _publish(Path(out), results)
    return results


def _conclude(folder: Path, results: dict[str, Any]) -> None:
    """Draw the verdict over the answers so far, and write them."""
    verdict = judge(results)
    results["verdict"] = {
        "overall": verdict.overall,
        "findings": [[finding.level, finding.words] for finding in verdict.findings],
    }
    write_json(folder / RESULTS, results)


def _publish(folder: Path, results: dict[str, Any], film: bytes | None = None) -> None:
    """Write the page, and print the ladder and the verdict."""
    sections = write_sections(results)
    write_atomic(folder / "evaluation.html", render(results, sections, film).encode())
    for name, why in results["absent"].items():
        print(f"not measured: {name}: {why}")
    print(comparison.lay_out(ladder(results, sections)))
    print(f"wrote {folder / 'evaluation.html'}")
    print("\n".join(judge(results).lines()))


def compare_worlds(
    places: tuple[str | os.PathLike[str], str | os.PathLike[str]], out: str | os.PathLike[str]
) -> Path:
    """Put two measured worlds side by side, in the terminal and on a page; returns its path.

    Args:
        places: the folders that `evaluate` wrote.
        out: the folder to write to.

    Raises:
        ConfigError: `evaluate` did not write one of them, or `out` cannot be a folder.
    """
    one, two = (comparison.read(place) for place in places)
    names = comparison.name_both(one, two, [Path(place) for place in places])
    first, second = map(_read_ladder, places, (one, two))
    make_folder(out)
    table = comparison.beside(first, second, names)
    quick = any(results["settings"]["quick"] for results in (one, two))
    print(comparison.lay_out(table))
    return comparison.write(table, names, quick, Path(out))


def _read_ladder(place: str | os.PathLike[str], results: dict[str, Any]) -> report.Table:
    """Return the ladder of answers that were read from a file."""
    for question in QUESTIONS:
        if question.NAME in results:
            try:
                ladder(results, {question.NAME: question.section(results[question.NAME])})
            except (KeyError, TypeError, ValueError, IndexError, AttributeError) as reason:
                raise ConfigError(
                    f"`compare` has {os.fspath(place)!r}, whose answer to {question.NAME} is "
                    f"damaged or of another version; {comparison.AGAIN} ({reason!r})"
                ) from reason
    return ladder(results, write_sections(results))


def choose(names: Sequence[str]) -> tuple[Question, ...]:
    """Return the questions of these names, in the order of the report; all if there is none.

    Raises:
        ConfigError: there is no question of a name.
    """
    allowed = [question.NAME for question in QUESTIONS]
    for name in names:
        if name not in allowed:
            raise ConfigError(f"`rungs` has {name!r}; allowed are {', '.join(allowed)}")
    return tuple(q for q in QUESTIONS if not names or q.NAME in names)


def write_sections(results: dict[str, Any]) -> dict[str, report.Section]:
    """Return the section of each question that has an answer, by its name.

    Args:
        results: the content of the JSON file.
    """
    return {q.NAME: q.section(results[q.NAME]) for q in QUESTIONS if q.NAME in results}


def ladder(results: dict[str, Any], sections: dict[str, report.Section]) -> report.Table:
    """Return the ladder: each question with its figures, and the verdict of its findings.

    Args:
        results: the content of the JSON file.
        sections: see `write_sections`.
    """
    steps: list[report.Step] = []
    for question in QUESTIONS:
        if question.NAME in sections:
            levels = {finding.level for finding in question.findings(results[question.NAME])}
            verdict = next((v for v in ("fault", "flaw", "merit", "untested") if v in levels), "")
            steps += [report.Step(rung, verdict) for rung in sections[question.NAME].rungs]
    return report.climb(steps)


def judge(results: dict[str, Any]) -> Verdict:
    """Gather what all answers say of the world, what matters most first.

    Args:
        results: the content of the JSON file.
    """
    items = [
        item
        for question in QUESTIONS
        if question.NAME in results
        for item in question.findings(results[question.NAME])
    ]
    if results["absent"]:
        words = f"nothing was tested of {', '.join(results['absent'])}: the report says why"
        items.append(Finding("untested", words))
    return conclude(items)


def card_entries(results: dict[str, Any]) -> dict[str, Any]:
    """Return the numbers of an evaluation that belong on the world's card, to four digits.

    Args:
        results: the content of the JSON file.
    """
    entries: dict[str, Any] = {
        "verdict": results["verdict"]["overall"],
        "machine": results["machine"],
    }
    for question in QUESTIONS:
        if question.NAME in results:
            entries |= question.card_entries(results[question.NAME])
    return dict(plain(entries))


def render(
    results: dict[str, Any], sections: dict[str, report.Section], film: bytes | None = None
) -> str:
    """Return the report as one HTML page.

    Args:
        results: the content of the JSON file.
        sections: see `write_sections`.
        film: a GIF, put into the page.
    """
    world, settings = results["world"], dict(results["settings"])
    heading = report.Heading(
        world["name"],
        world["description"],
        quick=settings.pop("quick"),
        verdict=judge(results),
        conditions={
            "real game": world["source"],
            "world's hash": world["hash"],
            **settings,
            **results["machine"],
        },
    )
    steps = ladder(results, sections)
    return report.render(heading, [*sections.values()], results["absent"], film, steps)


def machine(subject: Subject) -> dict[str, Any]:
    """Describe what a world is measured on, in values that a card can hold."""
    dynamics = subject.make(1)
    return {
        "device": str(dynamics.device),
        "processor": platform.machine(),
        "cores": available_cores(),
        "threads": dynamics.threads.count,
        "torch": str(torch.__version__),  # a subclass of str, which no card takes
        "python": platform.python_version(),
    }


def _film(subject: Subject) -> np.ndarray:
    """Film the same policy in the dream and in the real game, side by side."""
    length = QUICK_FILM if subject.quick else FILM
    seed = subject.seed_of(0)
    sides: tuple[Rows, ...] = (Dream(subject.make(1), seed), Real(subject.card, 1, seed))
    films = []
    for rows in sides:
        episodes = roll(rows, policies(subject.card, 1, 0.05, seed), length - 1)
        films.append(np.concatenate([episode.frames for episode in episodes])[:length])
    dream, real = films
    side = max(subject.card.frames.height, subject.card.frames.width)
    return side_by_side(dream, real, cell=max(1, 120 // side))


def _settings(subject: Subject) -> dict[str, Any]:
    """Return how the world was run, with the card's choices where the settings leave them open."""
    names = ("denoising_steps", "context_mode", "context_noise")
    values = {name: getattr(subject.settings, name) for name in names}
    card = {name: getattr(subject.card.sampler, name) for name in names}
    bent = {"luck": subject.settings.luck} if subject.settings.luck else {}
    return {
        **{name: card[name] if value is None else value for name, value in values.items()},
        "precision": subject.settings.precision,
        "runtime": subject.settings.runtime,
        **bent,
        "seed": subject.seed,
        "quick": subject.quick,
    }
