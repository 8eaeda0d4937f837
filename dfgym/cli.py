"""The command line, `dfgym COMMAND`: flags come from dataclasses, rooms load when needed."""

import json
import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

import dfgym
from dfgym.checks import parse_table, to_plain
from dfgym.command import fail, run_command
from dfgym.errors import ConfigError, DfgymError, WorldError
from dfgym.play.command import Play, Watch
from dfgym.world import shelf
from dfgym.world.settings import Settings

Parse = Callable[..., Any]
"""Turns a command's flags into a dataclass, or calls a function with them; tyro prints the help."""


@dataclass(frozen=True)
class Record:
    """Record a real environment into a data set; a recording that was stopped goes on."""

    env: Annotated[str, tyro.conf.Positional]
    """Gymnasium id, e.g. DFSource/MinAtar-Breakout-v0 or ALE/Pong-v5. For a game of your own
    `module:id`, where the module registers the id, or `module:Class`; the module may lie in the
    current folder, and it is run."""
    out: Annotated[Path, tyro.conf.Positional]
    """The data set's folder."""
    frames: int = 300_000
    """Record whole episodes until there are so many frames."""
    policies: dict[str, float] | None = None
    """Who plays, and which share of the frames: pairs of random, sticky-random,
    scripted:<epsilon>[:<dawdle>], sb3:<algorithm>:<zip file> or search:<simulations>[:<zip file>],
    and a number. Random alone if left out."""
    seed: int = 0
    """Seed of the environment and of the players."""
    env_kwargs: str = "{}"
    """Keywords of `gymnasium.make`, as JSON."""
    resize: tuple[int, int] | None = None
    """Bring frames to this height and width."""
    filter: Literal["auto", "area", "nearest", "contrast"] = "auto"
    """How: `area` takes means, `nearest` a pixel of each block, `contrast` the one that stands out;
    `auto` looks at the game and says what it takes. preview.png in the folder shows it."""
    wrapper: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """A wrapper around the game, `module:Class`; keywords as JSON behind a space. Can be repeated,
    from the inside out."""
    image_key: str = ""
    """The way to the picture in Dict and Tuple observations, with dots; needed if there are
    several."""
    render: bool = False
    """Record what the game renders though its observations are pictures."""
    max_episode_steps: int = 10_000
    """Longer episodes are truncated there."""
    processes: int = 1
    """How many processes play; the recording is the same with any number."""
    ray: str = ""
    """Let the `processes` be a Ray cluster's, by its address: `auto`, `host:6379`,
    `ray://host:10001`; or `local`, this machine alone. The recording is the same."""
    shard: str = "1/1"
    """`i/n`: record the i-th of n shares, as on n machines; `dfgym verify A B --out C` puts them
    together."""


@dataclass(frozen=True)
class Verify:
    """Compare data sets with the hashes they were written with, and put shards together."""

    data: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Data set folders, which `dfgym record` wrote."""
    out: Path | None = None
    """A new folder: write the data sets there as one; they must be all shards of one recording."""


@dataclass(frozen=True)
class Survey:
    """Say what recordings hold: sizes, colours, chance, rewards, ends, actions, and warnings."""

    data: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Data set folders of one game, which `dfgym record` wrote."""
    json: bool = False
    """Print the facts as JSON."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        arguments: those of the command line if None.

    Returns:
        The exit code: 0, or 2 after an error that the caller can mend, which is printed in one
        line, or 130 after Ctrl-C.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    match words:
        case [] | ["-h" | "--help", *_]:
            return run_command("dfgym", lambda: print(_usage()))
        case ["--version", *_]:
            return run_command("dfgym", lambda: print(dfgym.__version__))
        case _ if any("\0" in word for word in words):
            return fail("dfgym", "an argument holds the character NUL, which no path can")
        case [command, *rest] if command in COMMANDS:
            handler = logging.StreamHandler()
            handler.addFilter(each_once())
            logging.basicConfig(format="%(message)s", handlers=[handler])
            logging.getLogger("dfgym").setLevel(logging.INFO)  # it names the device in use
            parse = partial(tyro.cli, prog=f"dfgym {command}", args=rest)
            return run_command("dfgym", partial(COMMANDS[command][1], parse), command in RESUMED)
        case [command, *_]:
            allowed = ", ".join(COMMANDS)
            return fail("dfgym", f"there is no command {command!r}; allowed are {allowed}")
    return 0


def each_once() -> Callable[[logging.LogRecord], bool]:
    """Return a logging filter that passes each message once.

    A command opens the same game several times, and each time says how it is shown.
    """
    passed: set[str] = set()

    def is_new(record: logging.LogRecord) -> bool:
        count = len(passed)
        passed.add(record.getMessage())
        return len(passed) > count

    return is_new


def worlds() -> int:
    """List the worlds on the shelf, each with its measurements."""
    names, problems = shelf.survey()
    cards = []
    rows = [("world", "source", "frames", "actions", "parameters")]
    for name in names:
        try:
            card, parameters = shelf.card(name), _parameters(shelf.find(name))
        except (DfgymError, OSError) as reason:
            problems.append(f"{name}: {reason}")
            continue
        side = card.frames.observation_scale
        size = f"{card.frames.height * side}x{card.frames.width * side}"
        cards.append(card)
        actions = str(card.actions.count if card.actions.is_discrete else card.actions)
        rows.append((name, card.source.env, size, actions, f"{parameters:,}"))
    code = max([fail("dfgym", problem) for problem in problems], default=0)
    if not cards:
        print(f"no worlds in {', '.join(map(str, shelf.folders()))}")
        return code
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
    print(lines[0])
    for card, line in zip(cards, lines[1:], strict=True):
        print(line)
        for name, value in _flat(card.measured):
            print(f"    {name}: {value}")
    return code


def _parameters(folder: Path) -> int:
    """Count a world's weights, all float32, without loading them."""
    file = folder / "weights.safetensors"
    if not file.is_file():  # a pipe would wait for ever
        raise WorldError(f"{file} is missing or not a plain file; get the world again")
    with file.open("rb") as stream:
        header = int.from_bytes(stream.read(8), "little")
    body = file.stat().st_size - 8 - header
    if body <= 0 or body % 4:
        raise WorldError(f"{file} is not a file of weights; get the world again")
    return body // 4


def _flat(table: dict[str, Any], above: str = "") -> Iterator[tuple[str, str]]:
    """Yield the dotted keys and the values of nested tables, as text."""
    for key, value in table.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{above}{key}.")
        else:
            yield f"{above}{key}", f"{value:.4g}" if isinstance(value, float) else str(value)


def _record(parse: Parse) -> None:
    config: Record = parse(Record)
    from dfgym.agents.players import make_factory
    from dfgym.data.cluster import Cluster
    from dfgym.data.record import Recording, record

    recording = Recording(
        config.env,
        config.frames,
        {"random": 1.0} if config.policies is None else config.policies,
        seed=config.seed,
        env_kwargs=parse_table(config.env_kwargs, "env-kwargs", ConfigError),
        resize=config.resize or (),
        filter=config.filter,
        wrappers=config.wrapper,
        image_key=config.image_key,
        render=config.render,
        max_episode_steps=config.max_episode_steps,
    )
    index, _, count = config.shard.partition("/")
    if not (index.isdecimal() and count.isdecimal()):
        raise ConfigError(f"shard is {config.shard!r}; expected i/n, like 1/4")
    shard, processes = (int(index), int(count)), config.processes
    crew = Cluster(config.ray, processes) if config.ray else processes
    store = record(recording, config.out, make_factory, processes=crew, shard=shard)
    from dfgym.data.summary import describe
    from dfgym.data.survey import look

    print(f"{config.out}:\n{describe(look([store]))}")


def _import(parse: Parse) -> None:
    from dfgym.data.imports import Import, import_files

    config: Import = parse(Import)
    from dfgym.data.minari import from_minari
    from dfgym.data.summary import describe
    from dfgym.data.survey import look

    kind, _, name = str(config.source).partition(":")
    if kind != "minari":
        store = import_files(config)
    elif config != Import(config.source, config.out):
        raise ConfigError(f"source is {config.source}, which is copied as it is; leave flags out")
    else:
        store = from_minari(name, config.out)
    print(f"{config.out}:\n{describe(look([store]))}")


def _verify(parse: Parse) -> None:
    config: Verify = parse(Verify)
    from dfgym.data.merge import merge, verify

    if not config.data:
        raise ConfigError("no data set is named; give the folders that `dfgym record` wrote")
    stores = verify(config.data) if config.out is None else [merge(config.data, config.out)]
    for store in stores:
        print(f"{store.path}: {store.num_frames:,} frames in {len(store):,} episodes, as recorded")


def _survey(parse: Parse) -> None:
    config: Survey = parse(Survey)
    from dfgym.data.store import EpisodeStore
    from dfgym.data.summary import describe, warnings
    from dfgym.data.survey import look

    facts = look([EpisodeStore.open(path) for path in config.data])
    if config.json:
        print(json.dumps({**to_plain(facts), "warnings": warnings(facts)}, indent=2))
    else:
        print(describe(facts))


def _train(parse: Parse) -> None:
    from dfgym.train.command import Flags, train
    from dfgym.train.config import TrainConfig

    @dataclass(frozen=True)
    class Train:
        """Train a model on data sets; what is not given is chosen from the data and the time."""

        config: Annotated[TrainConfig, tyro.conf.arg(name="")]
        recipe: Path | None = None
        """Take the training of this recipe's TOML file instead of choosing one."""
        processes: int | None = None
        """Training processes, which must divide the batch. If left out, the largest number that
        does, with a CPU core or a CUDA device for each."""

    def flags(default: TrainConfig | None) -> Flags:
        config = parse(Train, **({} if default is None else {"default": Train(default)}))
        return Flags(config.config, config.recipe, config.processes)

    train(flags)


def _pack(parse: Parse) -> None:
    from dfgym.train.pack import Presentation, pack

    def command(
        run: Annotated[Path, tyro.conf.Positional],
        out: Annotated[Path, tyro.conf.Positional],
        name: str,
        presentation: Presentation,
        data: tuple[Path, ...] = (),
    ) -> None:
        """Turn a training's checkpoint into a world.

        Args:
            run: the folder that `dfgym train` wrote.
            out: the world's folder, which must not exist yet.
            name: the world's name, like minatar-breakout-v0.
            presentation: how the world is presented to its users.
            data: the folders of its data sets, if they have moved since.
        """
        print(f"wrote {pack(run, out, name, presentation, data)}")

    parse(command)


def _make_world(parse: Parse) -> None:
    from dfgym.make_world import Config, make_world

    make_world(parse(Config))


def _share(command: Literal["export_data", "push", "pull"], parse: Parse) -> None:
    from dfgym import share

    parse(getattr(share, command))


def _evaluate(parse: Parse) -> None:
    from dfgym.evaluation.command import Config, run

    run(parse(Config))


def _trust(world: str) -> None:
    from dfgym.env.real import trust_source

    trust_source(world)


def _contact_sheet(parse: Parse) -> None:
    from dfgym.evaluation.sheet import Config, contact_sheet

    print(f"wrote {contact_sheet(parse(Config))}")


def _bench(parse: Parse) -> None:
    from dfgym.bench.command import Config, bench

    def command(
        config: Annotated[Config, tyro.conf.arg(name="")],
        settings: Annotated[Settings, tyro.conf.arg(name="")],
    ) -> None:
        """Time a world, or a shape of random weights: speed, what it costs, where time goes.

        Args:
            config: what to measure.
            settings: how it is run.
        """
        bench(config, settings)

    parse(command)


def _study(parse: Parse) -> None:
    from dfgym.study.command import Config, study

    study(parse(Config))


def _play(kind: type[Play] | type[Watch], parse: Parse) -> None:
    config: Play | Watch = parse(kind)
    if config.trust:
        _trust(config.world)
    from dfgym.play.command import play

    play(config)


def _export(parse: Parse) -> None:
    from dfgym.export.command import Export, export

    for path in export(parse(Export)):
        print(f"wrote {path}, {path.stat().st_size / 1e6:.2f} MB")


def _demo(parse: Parse) -> None:
    from dfgym.demo import Config, demo

    demo(parse(Config))


COMMANDS: dict[str, tuple[str, Callable[[Parse], int | None]]] = {
    "worlds": ("list the worlds on the shelf", lambda parse: parse(worlds)),
    "record": ("record a real environment into a data set", _record),
    "import": ("make a data set of npz files, of videos with a table, or of Minari", _import),
    "export-data": ("copy a recording into a Minari data set", partial(_share, "export_data")),
    "verify": ("compare recordings with their hashes, and put shards together", _verify),
    "survey": ("say what recordings hold, and what is wrong with them", _survey),
    "train": ("train a model on data sets", _train),
    "pack": ("turn a training's checkpoint into a world", _pack),
    "make-world": ("record, train, pack and evaluate: a world's whole recipe", _make_world),
    "push": ("publish a world on the Hugging Face Hub", partial(_share, "push")),
    "pull": ("copy a world from the Hugging Face Hub", partial(_share, "pull")),
    "play": ("play a world in the browser, beside its real game", partial(_play, Play)),
    "watch": ("watch an agent play a world in the browser", partial(_play, Watch)),
    "evaluate": ("measure a world against its real game", _evaluate),
    "contact-sheet": ("draw real strips and dreamed ones into one PNG", _contact_sheet),
    "export": ("write a world as ONNX, and as a page that needs no server", _export),
    "bench": ("time a world, or a shape of random weights", _bench),
    "study": ("try the claims of diffusion forcing, each against its rivals", _study),
    "demo": ("train an agent in the dream and let it play the real game", _demo),
}
RESUMED = ("record", "train", "make-world", "study")  # the same command continues what was stopped


def _usage() -> str:
    width = max(map(len, COMMANDS))
    return "\n".join(
        [
            "usage: dfgym COMMAND [flags]",
            "",
            *(f"  {name:{width}}  {summary}" for name, (summary, _) in COMMANDS.items()),
            "",
            "`dfgym COMMAND --help` lists its flags. Agents are trained and scored by",
            "`python -m` dfgym.agents.ppo, dfgym.agents.dqn and dfgym.agents.evaluate.",
        ]
    )


if __name__ == "__main__":  # torchrun -m dfgym.cli train ...
    sys.exit(main())
