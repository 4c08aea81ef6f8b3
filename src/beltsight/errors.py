"""Every error that Beltsight raises on purpose.

::

    BeltsightError
    ├── ConfigError            a setting, option or TOML file is wrong
    │   ├── TaxonomyError      a task, class or level is not in the taxonomy
    │   └── PolicyError        a policy is wrong or does not fit the model
    ├── MissingExtraError      an optional dependency is not installed
    ├── ImageError             one photo cannot be used
    │   ├── DecodeError        not a photo, truncated or corrupt
    │   └── TooLargeError      more pixels or bytes than the limit
    ├── DatasetError           a data set cannot be read or cannot serve the purpose
    │   ├── SplitError         a split is missing, empty or is not what it is called
    │   └── FetchError         a download failed or does not match its checksum
    ├── ModelError             a model cannot be used
    │   ├── ModelFileError     not a Beltsight model file, damaged, or of a newer schema
    │   └── ParityError        two forms of one model disagree
    ├── ResumeError            the work on disk is not the work asked for
    ├── TrainError             a training run cannot start or go on
    │   └── DivergedError      the loss is no longer a number
    ├── LineError              the belt line cannot run
    │   ├── CameraError        a camera gives no frames
    │   └── LinkError          a controller or broker does not answer as it should
    └── StoreError             the event store cannot be read or written

Each message says what was expected, what came and what to do. Errors of other
libraries are translated where they are met, with the original as ``__cause__``.
"""

from __future__ import annotations

ANEW = "copy the file again from its source, or write it anew with 'beltsight export'"
"""What to do about a model file that cannot be used."""


class BeltsightError(Exception):
    """Base of all deliberate errors; the command line prints its message and exits with 1."""


class ConfigError(BeltsightError):
    """A setting, option or TOML file is wrong."""


class TaxonomyError(ConfigError):
    """A task, class or level is not in the taxonomy."""


class PolicyError(ConfigError):
    """A policy is wrong or does not fit the model."""


class MissingExtraError(BeltsightError):
    """An optional dependency is not installed.

    Example:
        >>> print(MissingExtraError("a plot", "lab"))
        a plot needs Beltsight's extra 'lab'; in a clone: pip install -c constraints.txt '.[lab]', \
else: pip install 'beltsight[lab]'
    """

    def __init__(self, purpose: str, extra: str) -> None:
        self.purpose = purpose
        self.extra = extra
        super().__init__(
            f"{purpose} needs Beltsight's extra '{extra}'; in a clone: "
            f"pip install -c constraints.txt '.[{extra}]', else: pip install 'beltsight[{extra}]'"
        )

    def __reduce__(self) -> tuple[type[MissingExtraError], tuple[str, str]]:
        # By default a copy is made from the message, which is not what __init__ takes: the error
        # of a worker process would break the pool instead of reaching the user.
        return type(self), (self.purpose, self.extra)


class ImageError(BeltsightError):
    """One photo cannot be used."""


class DecodeError(ImageError):
    """Not a photo, truncated or corrupt."""


class TooLargeError(ImageError):
    """More pixels or bytes than the limit."""


class DatasetError(BeltsightError):
    """A data set cannot be read or cannot serve the purpose."""


class SplitError(DatasetError):
    """A split is missing, empty or is not what it is called."""


class FetchError(DatasetError):
    """A download failed or does not match its checksum."""


class ModelError(BeltsightError):
    """A model cannot be used."""


class ModelFileError(ModelError):
    """Not a Beltsight model file, damaged, or of a newer schema."""


class ParityError(ModelError):
    """Two forms of one model disagree."""


class TrainError(BeltsightError):
    """A training run cannot start or go on."""


class DivergedError(TrainError):
    """The loss is no longer a number."""


class ResumeError(BeltsightError):
    """The work on disk is not the work asked for."""


class LineError(BeltsightError):
    """The belt line cannot run."""


class CameraError(LineError):
    """A camera gives no frames."""


class LinkError(LineError):
    """A controller or broker does not answer as it should."""


class StoreError(BeltsightError):
    """The event store cannot be read or written."""
