"""Which module registers a game's id, and whose modules may be imported.

To import a module is to run it. The modules named here are of packages that many use for their
games; they are imported when a game of theirs is opened. Any other module is imported only at its
user's word: written as `module:id`, `--trust` on a command, `trust=True` in Python, or named in
`$DFGYM_TRUST`. A card, a recipe or a data set that names a module is not its user's word.
"""

from __future__ import annotations

import importlib
import json
import os
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import gymnasium as gym

from dfgym.checks import shorten
from dfgym.errors import ConfigError, MissingPackageError

VARIABLE = "DFGYM_TRUST"
"""Environment variable: the modules that may be imported, separated by commas."""
MODULE = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*", re.ASCII)
FORM = "id, module:id (the module registers the id), or module:Class"


class Package(NamedTuple):
    """A package of games: how its ids begin, what registers them, and what installs it."""

    ids: str
    module: str
    install: str


PACKAGES = (
    Package(r"ALE/|\w+NoFrameskip-v", "ale_py", "ale-py"),
    Package(r"MiniGrid-|BabyAI-", "minigrid", "minigrid"),
    Package(r"Vizdoom", "vizdoom.gymnasium_wrapper", "vizdoom"),
    Package(r"MinAtar/", "minatar.gym", "minatar"),
    Package(r"FlappyBird-", "flappy_bird_gymnasium", "flappy-bird-gymnasium"),
    Package(
        r"(highway|merge|roundabout|parking|intersection|racetrack|exit|lane-keeping|u-turn)-",
        "highway_env",
        "highway-env",
    ),
    Package(r"MiniWorld-", "miniworld", "miniworld"),
)
WRAPPERS = ("gymnasium.wrappers", "minigrid.wrappers", "stable_baselines3.common.atari_wrappers")
"""Modules whose wrappers a card may name, but for those that write files or open windows."""
FORBIDDEN = re.compile(r"Record|Human|Render")


def find_package(env_id: str) -> Package | None:
    """Return the known package that an id belongs to."""
    return next((package for package in PACKAGES if re.match(package.ids, env_id)), None)


def plain_hint(module: str, env_id: str) -> str:
    """Return what to say where a module does not register a known package's id; empty otherwise."""
    package = find_package(env_id)
    if package is None or module in ("", package.module):
        return ""
    return f"; this id is known, so give it alone, without {module!r}: {env_id}"


def split_id(text: str) -> tuple[str, str]:
    """Split `module:id`; the module is empty where there is none.

    Raises:
        ConfigError: the text has another form.
    """
    module, _, env_id = text.rpartition(":")
    if ":" in module or not env_id:
        raise ConfigError(f"`env` is {shorten(text)}; expected {FORM}")
    if module.endswith(".py") or (module and not MODULE.fullmatch(module)):
        raise ConfigError(
            f"`env` is {shorten(text)}; expected {FORM}, where module is a name as in an import: "
            f"{Path(module).stem}:{env_id}"
        )
    return module, env_id


def trust(*modules: str) -> None:
    """Let modules be imported, by this process and by those that it starts."""
    os.environ[VARIABLE] = ",".join(sorted({*_vouched(), *filter(None, modules)}))


def is_trusted(module: str) -> bool:
    """Whether the user has said that a module may be imported."""
    return module in _vouched()


def may_import(module: str, wrapper: str = "") -> bool:
    """Whether a module, or a wrapper of it, may be used though only data name it."""
    if is_trusted(module):
        return True
    if wrapper:
        return module in WRAPPERS and not FORBIDDEN.match(wrapper)
    return module in {package.module for package in PACKAGES}


def import_game(module: str, env_id: str, trusted: bool = False) -> ModuleType:
    """Import the module that registers a game's id.

    Args:
        module: its name.
        env_id: the id.
        trusted: whether the user has named the module; the current folder counts then, too.

    Raises:
        ConfigError: the module is neither known nor trusted.
        MissingPackageError: it, or one that it imports, is not installed.
    """
    if not (trusted or may_import(module)):
        raise _untrusted(f"the game {env_id} comes from the module {module!r}")
    imported = _import(module, env_id, trusted or is_trusted(module))
    if module == "minatar.gym" and env_id not in gym.registry:
        imported.register_envs()  # the one package that does not when it is imported
    return imported


def wrap(env: gym.Env[Any, Any], text: str, trusted: bool = False) -> gym.Env[Any, Any]:
    """Put a wrapper around an environment.

    Args:
        env: the environment.
        text: `module:Class`, and behind a space its keywords as a JSON object if there are some.
        trusted: whether the user has named the module.

    Raises:
        ConfigError: the wrapper has another form, does not exist, refuses the environment, or is
            neither known nor trusted.
        MissingPackageError: its module is not installed.
    """
    module, name, keywords = split_wrapper(text)
    vouched = trusted or is_trusted(module)
    if not (vouched or may_import(module, name)):
        raise _untrusted(f"the wrapper {name} comes from the module {module!r}")
    kind = getattr(_import(module, text, vouched), name, None)
    if kind is None or not callable(kind):
        raise ConfigError(f"`wrapper` is {shorten(text)}; {module} has no class {name!r}")
    if not vouched and not (isinstance(kind, type) and issubclass(kind, gym.Wrapper)):
        raise _untrusted(f"{module}:{name} is no gymnasium.Wrapper")
    try:
        wrapped = kind(env, **keywords)
    except (TypeError, ValueError, AssertionError, gym.error.Error) as reason:
        raise ConfigError(f"wrapper {text} cannot wrap {env}: {reason}") from reason
    if not isinstance(wrapped, gym.Env):
        raise ConfigError(f"wrapper {text} made {shorten(wrapped)}; expected an environment")
    return wrapped


def split_wrapper(text: str) -> tuple[str, str, dict[str, Any]]:
    """Split a wrapper's text into module, class and keywords.

    Raises:
        ConfigError: it has another form.
    """
    place, _, words = text.strip().partition(" ")
    module, _, name = place.rpartition(":")
    try:
        keywords = json.loads(words or "{}")
    except (ValueError, RecursionError):
        keywords = None
    if not MODULE.fullmatch(module) or not name.isidentifier() or not isinstance(keywords, dict):
        raise ConfigError(
            f"`wrapper` is {shorten(text)}; expected module:Class, and behind a space its keywords "
            'as JSON if it needs some: gymnasium.wrappers:ResizeObservation {"shape": [84, 84]}'
        )
    return module, name, keywords


def _vouched() -> set[str]:
    return {name for name in os.environ.get(VARIABLE, "").split(",") if name}


def _untrusted(use: str) -> ConfigError:
    return ConfigError(
        f"{use}, which would run when it is imported; if you trust it, add --trust to the command "
        f"(in Python: trust=True, or {VARIABLE} in the environment)"
    )


def _import(module: str, use: str, trusted: bool) -> ModuleType:
    top = module.partition(".")[0]
    here = Path.cwd()
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as reason:
        if reason.name is None or reason.name.partition(".")[0] != top:
            raise _missing(use, module, reason) from reason
        if not trusted or not ((here / top).is_dir() or (here / f"{top}.py").is_file()):
            raise _missing(use, module, reason) from reason
    except ImportError as reason:
        raise _missing(use, module, reason) from reason
    sys.path.append(str(here))  # as `python -m` has it; commands do not
    importlib.invalidate_caches()
    try:
        return importlib.import_module(module)
    except ImportError as reason:
        raise _missing(use, module, reason) from reason


def _missing(use: str, module: str, reason: ImportError) -> MissingPackageError:
    package = next((p for p in PACKAGES if p.module == module), None)
    hint = plain_hint(module, use)
    fix = (
        f"pip install {package.install}"
        if package
        else "install it, or run the command in the folder that holds it"
    )
    return MissingPackageError(f"{use} needs a package that is missing: {reason}; {fix}{hint}")
