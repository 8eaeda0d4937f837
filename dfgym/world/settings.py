"""How a world is run: one dataclass of settings, whose import is light.

Environments and `make_sb3` take its fields as keywords; every command has them as flags.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Annotated, Any, Literal

import numpy as np
from msgspec import Meta

from dfgym import checks
from dfgym.checks import shorten
from dfgym.diffusion.context import ContextMode
from dfgym.errors import ConfigError, KeywordError

MAX_DENOISING_STEPS = 128

Precision = Literal["float32", "bfloat16"]
Runtime = Literal["torch", "onnx"]


@dataclass(frozen=True)
class Settings:
    """How a world is run. None leaves a choice to the world's card.

    Raises:
        ConfigError: a value is not allowed.
    """

    device: str = "auto"
    """Where the network runs: `cpu`, `cuda`, `cuda:N`, or `auto`, which prefers CUDA."""
    denoising_steps: Annotated[int, Meta(ge=1, le=MAX_DENOISING_STEPS)] | None = None
    """Network passes that make a frame; one more commits it, but in the context mode `kept`."""
    context_mode: ContextMode | None = None
    """How finished frames are shown to the network, see `dfgym.diffusion.context`."""
    context_noise: Annotated[float, Meta(ge=0, lt=1)] | None = None
    """How noisy finished frames are shown, where the context mode shows them noisy."""
    compile: bool = False
    """Fuse the network with `torch.compile`, which needs a C++ compiler, and up to a minute."""
    precision: Precision = "float32"
    """Number format of the matrix products; what is kept between passes is float32 in either."""
    runtime: Runtime = "torch"
    """What steps the world: PyTorch, or onnxruntime, which is faster at a single environment on the
    CPU and needs `dfgym[export]`. The rounding differs."""
    luck: float = 0.0
    """How kind chance is, below 0 harsher than the game's: outcomes are reweighted by exp(luck *
    value), see `dfgym.world.luck`. For worlds that tell outcomes apart, in one denoising step."""

    def __post_init__(self) -> None:
        checks.check(self, ConfigError)
        if self.luck and self.compile:
            raise ConfigError(
                f"luck is {self.luck} and compile is True, which would be of no effect: outcomes "
                "are valued in batches of changing sizes; leave one out"
            )
        if self.runtime == "onnx":
            self._check_onnx()

    def _check_onnx(self) -> None:
        """Refuse what an ONNX file cannot express, or what it leaves to whoever runs it."""
        keywords = self.keywords()
        for name in ("luck", "precision", "compile"):
            if name in keywords:
                raise ConfigError(
                    f"{name} is {keywords[name]!r}, which an ONNX file cannot express; leave it "
                    "out, or runtime='onnx'"
                )
        if self.context_mode == "kept":
            raise ConfigError(
                "context_mode is 'kept', in which given frames take a pass that others do not; an "
                "ONNX file has one way for both: choose another context_mode"
            )
        if self.device not in ("auto", "cpu"):
            raise ConfigError(f"device is {self.device!r}; runtime='onnx' is for the CPU alone")

    @classmethod
    def from_keywords(cls, keywords: dict[str, Any]) -> Settings:
        """Return the settings among an environment's keywords; NumPy's numbers count as numbers.

        Raises:
            KeywordError: a keyword is unknown.
            ConfigError: one has a value that is not allowed.
        """
        names = [field.name for field in fields(cls)]
        if unknown := keywords.keys() - set(names):
            allowed = ", ".join(("world", "render_mode", "max_episode_steps", *names))
            raise KeywordError(
                f"unexpected keyword argument {shorten(min(unknown))}; allowed are {allowed}"
            )
        plain = {n: v.item() if isinstance(v, np.generic) else v for n, v in keywords.items()}
        return checks.convert(cls, plain, ConfigError)

    def keywords(self) -> dict[str, Any]:
        """Return the settings that are not left at their defaults, as an environment's keywords."""
        defaults = {field.name: field.default for field in fields(self)}
        return {name: value for name, value in vars(self).items() if value != defaults[name]}
