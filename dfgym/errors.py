"""The errors of dfgym: each is for the caller and names the value, what is allowed, and the fix."""

from __future__ import annotations


class DfgymError(Exception):
    """Base of every error that dfgym raises on purpose."""


class WorldError(DfgymError, ValueError):
    """A world's name, card, weights or starts are malformed, unknown, damaged or foreign."""


class DataError(DfgymError, ValueError):
    """A data set is malformed, damaged, empty or does not fit what is asked of it."""


class ActionError(DfgymError, ValueError):
    """An action has the wrong type, range or batch length; nothing has advanced."""


class ConfigError(DfgymError, ValueError):
    """A keyword or configuration value is not allowed."""


class KeywordError(ConfigError, TypeError):
    """A keyword is unknown.

    It is a TypeError, as Python's own, since libraries try keywords out (TorchRL's `GymEnv`).
    """


class StateError(DfgymError, RuntimeError):
    """A call came at the wrong time, or a state belongs to another world."""


class DeviceError(DfgymError, RuntimeError):
    """A device was asked for that this machine or this torch build lacks."""


class MissingPackageError(DfgymError, ImportError):
    """An optional package is needed; the message names the extra that installs it."""


class NotMeasuredError(DfgymError):
    """A question of the evaluation has no answer for a world; the message says what would help."""
