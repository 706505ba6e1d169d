"""What can go wrong, said to a person: what was given, what was expected, what to type next.

Only :mod:`degas_ray.cli.main` turns these into a message and an exit code.
"""

from collections.abc import Iterable

SHOWN_FAULTS = 20  # of a configuration, all of which are counted


class DegasError(Exception):
    """Root of every error that this package raises on purpose; the run failed (exit code 1)."""

    exit_code = 1


class InputError(DegasError):
    """The user gave something that cannot be used (exit code 2); nothing has been written."""

    exit_code = 2


class ConfigError(InputError):
    """One or more faults in a configuration, all of them at once.

    Args:
        faults: One sentence each, beginning with the dotted path of the key.
    """

    def __init__(self, faults: Iterable[str]) -> None:
        self.faults = tuple(faults)
        head = "1 fault" if len(self.faults) == 1 else f"{len(self.faults)} faults"
        shown = [f"  {fault}" for fault in self.faults[:SHOWN_FAULTS]]
        if len(self.faults) > SHOWN_FAULTS:
            shown.append(f"  and {len(self.faults) - SHOWN_FAULTS} more")
        super().__init__(f"{head} in the configuration:\n" + "\n".join(shown))


class GenotypeError(InputError):
    """A text, file or name that is no genotype."""


class DataError(InputError):
    """A data source, pack or image that cannot be read."""


class CheckpointError(InputError):
    """A checkpoint that is truncated, of another kind, or not ours."""


class ProtocolMismatchError(InputError):
    """Scores of different protocols were about to be compared."""


class DivergedError(DegasError):
    """A loss, a gradient or an image became non-finite."""


class DiskError(DegasError):
    """The disk does not take what must be kept; nothing is wrong with the work, which goes on once there is room."""


class Interrupted(DegasError):  # noqa: N818 - an outcome, not a fault
    """The run was stopped by the user and can be resumed (exit code 130)."""

    exit_code = 130


class DegasWarning(UserWarning):
    """Something that a user should know and can act on."""
