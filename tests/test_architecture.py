"""The house rules of the code itself: who imports whom, what is banned, how long a file may be."""

from __future__ import annotations

import ast
import functools
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = sorted([*(ROOT / "dfgym").rglob("*.py"), *(ROOT / "agents").rglob("*.py")])
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())

BASE = {"checks", "errors", "files", "frames"}
MODEL = BASE | {"diffusion", "model"}
EVERYTHING = MODEL | {"__init__", "world", "data", "games", "train", "env", "evaluation", "bench"}
EVERYTHING |= {"agents", "worlds", "demo"}
# Which rooms of dfgym each room may import, beside itself.
ROOMS = {
    "__init__": {"errors", "world", "env"},  # env only on call; see test_import_is_light
    "checks": {"errors"},
    "errors": set(),
    "files": {"errors"},
    "frames": {"errors"},
    "diffusion": {"errors"},
    "model": BASE | {"diffusion"},
    "world": MODEL,
    "games": BASE | {"evaluation"},
    "data": BASE | {"games", "agents"},
    "train": MODEL | {"world", "data"},
    "env": BASE | {"world", "games", "diffusion"},
    "evaluation": EVERYTHING,
    "bench": EVERYTHING,
    "demo": EVERYTHING,
    "make_world": EVERYTHING,
    "play": EVERYTHING,
    "study": EVERYTHING,
    "cli": EVERYTHING | {"make_world", "play", "study"},
    "agents": {"__init__", "errors", "world", "games"},
}
# Which packages each room may import; the others may use all that pyproject.toml declares.
PACKAGES = {
    "__init__": {"gymnasium"},
    "checks": {"msgspec"},
    "errors": set(),
    "files": {"numpy", "cv2"},
    "frames": {"numpy", "torch"},
    "diffusion": {"torch"},
    "model": {"torch", "msgspec"},
    "world": {"numpy", "torch", "safetensors", "tomli_w", "msgspec", "psutil"},
    "agents": {"gymnasium", "msgspec", "stable_baselines3", "numpy", "torch", "tqdm", "tyro"},
}
# Distribution names whose import name differs.
IMPORT_NAMES = {"opencv-python": "cv2", "pillow": "PIL", "pygame-ce": "pygame"}
UNPICKLERS = {"pickle", "cPickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}
BASES = {"Module", "Env", "VectorEnv", "VecEnv", "NamedTuple", "Protocol", "TorchFunctionMode"}
BASES |= {"RequestHandler"}  # how aiohttp's replies to what is no request are changed
SB3_BASES = {"BaseCallback", "BaseFeaturesExtractor"}  # how SB3 is extended


def room_of(path: Path) -> str:
    """The room that a file is in: a folder of dfgym, a module at its top, or `agents`."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return parts[0] if parts[0] == "agents" else parts[1]


@functools.cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")


def is_dataclass(node: ast.ClassDef) -> bool:
    return any(ast.unparse(mark).startswith("dataclass") for mark in node.decorator_list)


def nodes(tree: ast.AST) -> Iterator[ast.AST]:
    """All nodes that can run: not those under `if TYPE_CHECKING`."""
    yield tree
    for child in ast.iter_child_nodes(tree):
        if not is_type_checking(child):
            yield from nodes(child)


def imports(path: Path) -> set[str]:
    """Full names of all that a file imports, at its top or later."""
    found: set[str] = set()
    for node in nodes(parsed(path)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: import by full names"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def forks_random_state(node: ast.AST) -> bool:
    """Whether a node is `with torch.random.fork_rng(...)`, which gives the state back."""
    return isinstance(node, ast.With) and "fork_rng" in ast.unparse(node.items[0].context_expr)


def dfgym_room(name: str) -> str:
    """The room of dfgym that an import reaches; `import dfgym` itself reaches `__init__`."""
    rest = name.split(".")[1:]
    known = rest and (
        (ROOT / "dfgym" / rest[0]).is_dir() or rest[0] in ROOMS or rest[0] == "worlds"
    )
    return rest[0] if known else "__init__"


def sources() -> list[object]:
    return [pytest.param(path, id=str(path.relative_to(ROOT))) for path in SOURCES]


def declared() -> set[str]:
    """Import names of all packages that pyproject.toml declares, extras included."""
    project = PROJECT["project"]
    lists = [project["dependencies"], *project["optional-dependencies"].values()]
    names = {re.split(r"[\[<>=~!; ]", entry)[0] for entries in lists for entry in entries}
    return {IMPORT_NAMES.get(name, name.replace("-", "_")) for name in names}


@pytest.mark.parametrize("path", sources())
def test_every_file_has_a_room(path: Path) -> None:
    assert room_of(path) in ROOMS


@pytest.mark.parametrize("path", sources())
def test_import_table(path: Path) -> None:
    room = room_of(path)
    reached = {dfgym_room(name) for name in imports(path) if name.split(".")[0] == "dfgym"}
    assert reached <= ROOMS[room] | {room}


@pytest.mark.parametrize("path", sources())
def test_packages(path: Path) -> None:
    used = {name.split(".")[0] for name in imports(path)} - sys.stdlib_module_names - {"dfgym"}
    assert used <= PACKAGES.get(room_of(path), declared())
    assert used <= declared(), "declare it in pyproject.toml"


@pytest.mark.parametrize("path", sources())
def test_nothing_unpickles_or_evaluates(path: Path) -> None:
    """SB3's files are pickles: only `agents` reads them, through SB3, from a path it was given."""
    assert not {name.split(".")[0] for name in imports(path)} & UNPICKLERS
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            assert called not in {"eval", "exec", "compile", "__import__", "torch.load"}
            assert "allow_pickle" not in {keyword.arg for keyword in node.keywords}


@pytest.mark.parametrize("path", sources())
def test_inheritance(path: Path) -> None:
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.ClassDef) and path.name != "errors.py" and not is_dataclass(node):
            names = {ast.unparse(base).split("[")[0].split(".")[-1] for base in node.bases}
            allowed = BASES | (SB3_BASES if room_of(path) == "agents" else set())
            assert names <= allowed, f"{node.name} inherits"


@pytest.mark.parametrize("path", sources())
def test_no_blanket_except(path: Path) -> None:
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.ExceptHandler):
            kind = ast.unparse(node.type) if node.type else "BaseException"
            cleans_up = isinstance(node.body[-1], ast.Raise) and node.body[-1].exc is None
            assert kind not in {"Exception", "BaseException"} or cleans_up


@pytest.mark.parametrize("path", sources())
def test_no_global_random_state(path: Path) -> None:
    """Drawing from, or seeding, what others share would break their reproducibility."""
    tree = parsed(path)
    forked = {
        child for node in ast.walk(tree) if forks_random_state(node) for child in ast.walk(node)
    }
    for node in set(ast.walk(tree)) - forked:
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            assert not re.fullmatch(r"random\.(?!Random)\w+|torch\.(cuda\.)?manual_seed\w*", called)
            assert not re.fullmatch(
                r"(np|numpy)\.random\.(?!default_rng|Generator|PCG64|Philox|RandomState|SeedSequence)\w+",
                called,
            )


@pytest.mark.parametrize("path", [*sources(), *sorted((ROOT / "tests").rglob("*.py"))])
def test_size_and_name(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 300
    assert path.stem not in {"utils", "util", "helpers", "misc", "common"}


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
    allowed = {"dfgym", "agents", "tests", "envs_registry", "docs", ".ci"}
    assert {name.split("/")[0] for name in listed if "/" in name} <= allowed


LIGHT = """
import sys, time
began = time.perf_counter()
import gymnasium
gymnasium_took = time.perf_counter() - began
before = set(sys.modules)
began = time.perf_counter()
import dfgym
took = time.perf_counter() - began
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
    # The bar is 0.1 s, where Gymnasium takes 0.3 s; the best of three, as machines are busy.
    assert min(ratios) < 1 / 3
