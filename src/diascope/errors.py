"""Every error diascope raises on purpose.

DiascopeError
├── ConfigError          a run's settings: misspelt key, wrong type, impossible value
├── ImageError           a picture that cannot be read, with a reason of a closed list
├── ManifestError        a table of pictures: column, label or path
├── SplitError           too few classes or groups to train on honestly
├── TrainingError        a fit that cannot go on
├── DeviceError          a device that is not there
├── BundleError          a model folder that is incomplete or changed
├── GuidanceError        a guidance pack that breaks its own rules
├── OutputError          an output that exists or cannot be written
├── EngineError          worker processes or machines that do not answer
└── MissingExtraError    a command whose packages are not installed

Messages have one to three lines: what is wrong and where, why, and what mends it.
"""

from enum import StrEnum


class UnreadableReason(StrEnum):
    """Why a picture could not be read: the closed list that batch rows use."""

    MISSING = "missing"
    NOT_AN_IMAGE = "not_an_image"
    TRUNCATED = "truncated"
    TOO_LARGE = "too_large"
    TOO_SMALL = "too_small"
    UNSUPPORTED = "unsupported"
    FORBIDDEN = "forbidden"
    NETWORK = "network"


class DiascopeError(Exception):
    """Base of all errors below; catch it to catch them all."""


class ConfigError(DiascopeError):
    """A run's settings are wrong; the message names file, key and mend."""


class ImageError(DiascopeError):
    """A picture cannot be read; ``reason`` is of the closed list, ``name`` the input's name."""

    def __init__(self, reason: UnreadableReason, name: str, detail: str) -> None:
        super().__init__(f"{name}: {detail}")
        self.reason = reason
        self.name = name
        self.detail = detail

    def __reduce__(self) -> tuple[type["ImageError"], tuple[UnreadableReason, str, str]]:
        """Keep the three parts when the error crosses a process boundary."""
        return (ImageError, (self.reason, self.name, self.detail))


class ManifestError(DiascopeError):
    """A manifest lacks a column, names an unknown label, or points at nothing."""


class SplitError(DiascopeError):
    """Rows that cannot be split without leaking, or that hold one class only."""


class TrainingError(DiascopeError):
    """A fit that cannot go on, such as a loss that is not finite."""


class DeviceError(DiascopeError):
    """A device was asked for that this machine does not have."""


class BundleError(DiascopeError):
    """A model folder is incomplete, of another schema, or changed since it was saved."""


class GuidanceError(DiascopeError):
    """A guidance pack breaks its schema; the message names file, claim and mend."""


class OutputError(DiascopeError):
    """An output exists already or cannot be written."""


class EngineError(DiascopeError):
    """Worker processes or machines that cannot start or do not answer."""


class MissingExtraError(DiascopeError):
    """A command needs an optional set of packages; the message says how to install it."""
