"""Worlds and states of format 1, read as those of format 2.

Format 2 left out rivals that no released world used, writes a palette as "#163d4e" and renames
weights; no number in a file has changed.
"""

from __future__ import annotations

from typing import Any

from dfgym.errors import WorldError

STATE_NAMES = {"dynamics.rings": "dynamics.cache"}
_WEIGHT_NAMES = {  # parts of a weight's dotted name, new and old
    "global_pool_proj": "everywhere",
    "mlp_in": "wide",
    "mlp_out": "narrow",
    "embed_position": "embed_site",
    "mixture_logits": "odds",
    "out_mixture": "out_apart",
    "project_frame": "news",
    "project_latent": "carry",
    "read_out": "read",
}


def upgrade_card(table: dict[str, Any]) -> dict[str, Any]:
    """Return a card's table of format 1 as one of format 2; what is malformed stays so.

    Raises:
        WorldError: the world learned jumps or another target than clean frames.
    """
    table = dict(table)
    if isinstance(model := table.get("model"), dict):
        model = table["model"] = dict(model)
        for name, plain in (("shortcut", 0), ("target", "x")):
            value = model.pop(name, plain)
            if type(value) is not type(plain) or value != plain:
                raise WorldError(
                    f"model.{name} is not {plain!r}: such worlds were experiments of format 1; "
                    "train the world again"
                )
    if isinstance(frames := table.get("frames"), dict):
        frames = table["frames"] = dict(frames)
        if isinstance(palette := frames.get("palette"), list):
            frames["palette"] = [_hexadecimal(colour) for colour in palette]
    return table


def old_weight_name(name: str) -> str:
    """Return the name that a weight of format 2 had in format 1."""
    return ".".join(_WEIGHT_NAMES.get(piece, piece) for piece in name.split("."))


def _hexadecimal(colour: Any) -> Any:
    if not isinstance(colour, list) or len(colour) != 3:
        return colour
    if not all(type(value) is int and 0 <= value <= 255 for value in colour):
        return colour
    return "#{:02x}{:02x}{:02x}".format(*colour)
