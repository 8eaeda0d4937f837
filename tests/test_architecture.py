"""The house rules of the code itself: who imports whom, what is named how, how long a file may be.

Ruff says the rest (pyproject.toml): nothing unpickles, evaluates, catches everything or touches a
global random state. Every test here looks at all files and lists all offenders.
"""

from __future__ import annotations

import ast
import functools
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
SOURCES = sorted([*(ROOT / "dfgym").rglob("*.py"), *(ROOT / "agents").rglob("*.py")])
TESTS = sorted([*(ROOT / "tests").rglob("*.py"), *(ROOT / ".ci").rglob("*.py")])
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())

BASE = {"errors", "checks", "actions", "files", "frames", "statistics"}
# Which rooms of dfgym each room may import beside itself. Every room stands below those that
# import it. First the main path: what a shipped world or a public feature uses.
MAIN_PATH: dict[str, set[str]] = {
    "errors": set(),
    "checks": {"errors"},
    "actions": {"errors", "checks"},
    "command": {"errors"},
    "device": {"errors"},
    "files": {"errors"},
    "frames": {"errors"},
    "statistics": set(),
    "tracing": {"errors"},
    "diffusion": {"errors"},
    "model": BASE | {"diffusion"},
    "games": BASE,
    "data": BASE | {"games"},
    "world": BASE | {"device", "diffusion", "model", "tracing"},
    "train": BASE | {"device", "diffusion", "model", "world", "data"},
    "env": BASE | {"world", "games", "diffusion"},  # how seeds are mixed
    "__init__": {"errors", "games", "world", "env"},  # env only on call; see test_import_is_light
    "planning": BASE | {"diffusion", "model", "world"},
}
# Players: they meet dfgym as anyone does, through `import dfgym` and what is known of real games.
PLAYERS = {"agents": {"__init__", "actions", "errors", "checks", "command"}}
PLAYERS["agents"] |= {"device", "statistics", "games", "planning"}
# Above the line: optional rooms, which nothing below imports.
BELOW_THE_LINE = {*MAIN_PATH, *PLAYERS, "worlds"}
ABOVE_THE_LINE = {
    "bench": BELOW_THE_LINE,
    "evaluation": BELOW_THE_LINE | {"bench"},
    "play": BELOW_THE_LINE | {"bench", "evaluation"},
    "export": BELOW_THE_LINE | {"play"},
    "study": BELOW_THE_LINE | {"bench", "evaluation", "play"},
}
ROOMS = MAIN_PATH | PLAYERS | ABOVE_THE_LINE
COMMANDS = {name: {*ROOMS, "worlds"} for name in ("demo", "plan_world", "rounds", "share")}
COMMANDS |= {"make_world": {*ROOMS, "worlds", "plan_world", "rounds"}}
ROOMS |= COMMANDS | {"cli": {*ROOMS, *COMMANDS}}
# Which packages a room may import; the others may use all that pyproject.toml declares.
PACKAGES = {
    "__init__": {"gymnasium", "stable_baselines3"},  # SB3 for types; see test_import_is_light
    "errors": set(),
    "checks": {"msgspec"},
    "actions": {"msgspec", "numpy"},
    "files": {"numpy", "cv2", "filelock"},
    "frames": {"numpy", "torch"},
    "statistics": {"numpy"},
    "tracing": {"numpy", "torch", "onnx"},
    "diffusion": {"torch"},
    "model": {"torch", "msgspec"},
    "games": {"numpy", "gymnasium", "cv2", "minatar"},
    "world": {"numpy", "torch", "safetensors", "tomli_w", "msgspec", "psutil"},
    "train": {"numpy", "torch", "safetensors", "tomli_w", "msgspec", "psutil", "tqdm", "PIL"},
    "env": {"numpy", "torch", "gymnasium", "safetensors", "stable_baselines3", "msgspec"},
    "planning": {"numpy", "torch", "msgspec"},
    "agents": {"gymnasium", "msgspec", "stable_baselines3", "numpy", "torch", "tqdm", "tyro"},
}
PACKAGES["world"] |= {"huggingface_hub", "onnxruntime"}  # extras
PACKAGES["agents"] |= {"sb3_contrib"}
# Distribution names whose import name differs.
IMPORT_NAMES = {"opencv-python": "cv2", "pillow": "PIL", "pygame-ce": "pygame"}
BASES = {"Module", "Env", "VectorEnv", "VecEnv", "NamedTuple", "Protocol", "TorchFunctionMode"}
BASES |= {"TorchDispatchMode"}  # how a computation is recorded
BASES |= {"RequestHandler"}  # how aiohttp's replies to what is no request are changed
SB3_BASES = {"BaseCallback", "BaseFeaturesExtractor", "VecEnvWrapper"}  # how SB3 is extended

MAX_FILE = 450
MAX_FUNCTION = 60  # lines below its docstring
# Functions that are longer, and why.
LONG_FUNCTIONS: dict[str, str] = {
    "dfgym/evaluation/run.py evaluate": "one question after the other",
    "dfgym/train/config.py __post_init__": "rules that cross fields",
}

# Names that say nothing to an engineer of the field: participles and verbs of speech.
DIALECT = set(
    """
    told found said seen shown known led asked made part each how what hear heard say says see tell
    ask leave lack lacks settle stand think gone meant felt drawn chosen given taken kept learned
""".split()
)
# Not even as a word of a longer name, but for a context mode's.
DIALECT_WORDS = set(
    "told said hear heard say says tell led seen asked lack found shown known".split()
)


def room_of(path: Path) -> str:
    """The room that a file is in: a folder of dfgym, a module at its top, or `agents`."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return parts[0] if parts[0] == "agents" else parts[1]


@functools.cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def name_of(path: Path, node: ast.AST | None = None) -> str:
    """A place that a person can go to: file, and line."""
    line = f":{node.lineno}" if node is not None and hasattr(node, "lineno") else ""
    return f"{path.relative_to(ROOT)}{line}"


def complain(offenders: Iterable[str], rule: str) -> None:
    listed = sorted(set(offenders))
    assert not listed, "\n  ".join([rule, *listed])


def imports(path: Path) -> set[str]:
    """Full names of all that a file imports: at its top, later, and for types alone."""
    names: set[str] = set()
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def dfgym_room(name: str) -> str:
    """The room of dfgym that an import reaches; `import dfgym` itself reaches `__init__`."""
    room = name.split(".")[1] if "." in name else "__init__"
    return room if (ROOT / "dfgym" / room).is_dir() or room in {*ROOMS, "worlds"} else "__init__"


def packages_of(path: Path) -> set[str]:
    return {name.split(".")[0] for name in imports(path)} - sys.stdlib_module_names - {"dfgym"}


def declared() -> set[str]:
    """Import names of all packages that pyproject.toml declares, extras included."""
    project = PROJECT["project"]
    lists = [project["dependencies"], *project["optional-dependencies"].values()]
    names = {re.split(r"[\[<>=~!; ]", entry)[0] for entries in lists for entry in entries}
    return {IMPORT_NAMES.get(name, name.replace("-", "_")) for name in names}


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def named(path: Path) -> Iterator[tuple[str, ast.AST]]:
    """Every name that a file gives: to functions, classes, variables, parameters, attributes."""
    for node in ast.walk(parsed(path)):
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                if not name.startswith("test_"):  # a sentence
                    yield name, node
            case ast.ClassDef(name=name) | ast.arg(arg=name):
                yield name, node
            case ast.Name(id=name, ctx=ast.Store()) | ast.Attribute(attr=name, ctx=ast.Store()):
                yield name, node


def is_dialect(name: str) -> bool:
    words = re.sub("(?<=[a-z])(?=[A-Z])", "_", name.strip("_")).lower()
    return words in DIALECT - {"kept"} or bool(
        set(re.sub("told_noisy|^kept$", "", words).split("_")) & DIALECT_WORDS
    )


def body_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """The lines of a function below its docstring."""
    docstring = ast.get_docstring(function, clean=False) is not None
    first = function.body[0]
    begin = (first.end_lineno or 0) + 1 if docstring else first.lineno
    return (function.end_lineno or 0) - begin + 1


def test_rooms_stand_in_order() -> None:
    """Every arrow of the table points down, and none crosses the line from below."""
    order = {room: place for place, room in enumerate(ROOMS)}
    complain(
        (
            f"{room} -> {target}"
            for room, targets in ROOMS.items()
            for target in targets - {"worlds"}
            if order[target] >= order[room]
        ),
        "The table has arrows that point up:",
    )
    assert not set().union(*MAIN_PATH.values()) - set(MAIN_PATH)


def test_imports_follow_the_table() -> None:
    complain(
        (
            f"{name_of(path)} imports {name}"
            for path in SOURCES
            for name in imports(path)
            if name.split(".")[0] == "dfgym"
            and dfgym_room(name) not in {*ROOMS.get(room_of(path), ()), room_of(path)}
        ),
        "These rooms may not import that (see ROOMS above):",
    )
    complain(
        (name_of(path) for path in SOURCES if room_of(path) not in ROOMS),
        "These files are in no room of the table:",
    )


def test_packages_follow_the_table() -> None:
    allowed = declared()
    complain(
        (
            f"{name_of(path)} imports {package}"
            for path in SOURCES
            for package in packages_of(path) - (PACKAGES.get(room_of(path), allowed) & allowed)
        ),
        "These packages are not this room's, or not declared in pyproject.toml:",
    )


def test_nothing_unpickles() -> None:
    """SB3's files are pickles: only `agents` reads them, through SB3, from a path it was given."""
    complain(
        (
            name_of(path, node)
            for path in SOURCES
            for node in ast.walk(parsed(path))
            if isinstance(node, ast.Call)
            and "allow_pickle" in {keyword.arg for keyword in node.keywords}
        ),
        "NumPy may not unpickle (ruff refuses the other ways):",
    )


def test_inheritance() -> None:
    def is_dataclass(node: ast.ClassDef) -> bool:
        return any(ast.unparse(mark).startswith("dataclass") for mark in node.decorator_list)

    offenders = []
    for path in SOURCES:
        allowed = BASES | (SB3_BASES if room_of(path) == "agents" else set())
        for node in ast.walk(parsed(path)):
            if isinstance(node, ast.ClassDef) and path.name != "errors.py":
                bases = {ast.unparse(base).split("[")[0].split(".")[-1] for base in node.bases}
                if not bases <= allowed and not is_dataclass(node):
                    offenders.append(f"{name_of(path, node)} {node.name} inherits {bases}")
    complain(offenders, "Inherit only from what a library asks to be extended:")


def test_sizes_and_names_of_files() -> None:
    complain(
        (
            f"{name_of(path)} has {lines} lines"
            for path in [*SOURCES, *TESTS]
            if (lines := len(path.read_text().splitlines())) > MAX_FILE
        ),
        f"A file holds one thing, and at most {MAX_FILE} lines:",
    )
    complain(
        (
            f"{name_of(path, function)} {function.name} has {body_lines(function)} lines"
            for path in [*SOURCES, *TESTS]
            for function in functions(path)
            if body_lines(function) > MAX_FUNCTION
            and f"{name_of(path)} {function.name}" not in LONG_FUNCTIONS
        ),
        f"A function has at most {MAX_FUNCTION} lines below its docstring:",
    )
    vague = {"utils", "util", "helpers", "misc", "common"}
    complain(
        (name_of(path) for path in [*SOURCES, *TESTS] if path.stem in vague),
        "Name the one thing that the file holds:",
    )


def test_names_are_the_fields_own() -> None:
    complain(
        (
            f"{name_of(path, node)} {name}"
            for path in [*SOURCES, *TESTS]
            for name, node in named(path)
            if is_dialect(name)
        ),
        "Name things by nouns and functions by verbs, as the field does:",
    )


def test_packages_are_all_installed() -> None:
    """Every folder with code is in the wheel, under the one top-level name dfgym."""
    folders = {path.parent.relative_to(ROOT) for path in SOURCES}
    mapped = {"agents": "dfgym.agents", "envs_registry": "dfgym.worlds"}
    names = {mapped.get(str(folder), ".".join(folder.parts)) for folder in folders}
    setuptools = PROJECT["tool"]["setuptools"]
    assert names | {"dfgym.worlds"} == set(setuptools["packages"])
    assert {name.split(".")[0] for name in setuptools["packages"]} == {"dfgym"}


def test_top_level_is_what_the_design_says() -> None:
    """Folders that git would take; a build's or a tool's are ignored."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout.splitlines()  # fmt: skip
    allowed = {"dfgym", "agents", "tests", "envs_registry", "docs", ".ci", ".github"}
    assert {name.split("/")[0] for name in listed if "/" in name} <= allowed


LIGHT = """
import sys, time
began = time.process_time()
import gymnasium
gymnasium_took = time.process_time() - began
before = set(sys.modules)
began = time.process_time()
import dfgym
took = time.process_time() - began
new = {name.split(".")[0] for name in set(sys.modules) - before}
print(took / gymnasium_took, *sorted(new - sys.stdlib_module_names))
"""


def test_import_is_light() -> None:
    """Importing dfgym brings no package beyond Gymnasium's but msgspec, torch least of all."""
    ratios = []
    for _ in range(3):
        ratio, *packages = subprocess.run(
            [sys.executable, "-c", LIGHT], capture_output=True, text=True, check=True
        ).stdout.split()
        assert set(packages) <= {"dfgym", "msgspec"}
        ratios.append(float(ratio))
    # The bar is 0.1 s, which is what Gymnasium itself takes on two cores of today; half of that
    # leaves room for slower ones. By the processor's time, and the best of three, as machines are
    # busy.
    assert min(ratios) < 1 / 2
