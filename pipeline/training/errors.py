"""Every error of training on one page.

::

    TrainingError
    ├── WrongOptions    the option file cannot be followed; all of its faults are named at once
    ├── WrongData       pictures or the landmarks file are not what training needs
    ├── Diverged        losses or gradients stopped being numbers, again and again
    └── NotResumable    the checkpoint is of another run

What concerns weights files is ``pipeline.errors``' (WeightsMissing, WeightsCorrupt).
"""

from __future__ import annotations


class TrainingError(Exception):
    """Raised when a run cannot start or go on; the message says what to change."""


class WrongOptions(TrainingError):
    """Raised when an option file has unknown keys, wrong values, or asks for what there is not."""


class WrongData(TrainingError):
    """Raised when the pictures, or the file of their facial components, are not there or not as needed."""


class Diverged(TrainingError):
    """Raised when gradients were not finite in too many steps in a row; the message names network and losses."""


class NotResumable(TrainingError):
    """Raised when a run cannot go on from a checkpoint, since other options or data made it."""
