"""The four things that isthmus raises or warns with on purpose.

Everything else that comes out of a call is a bug of ours or of a library: the bridge to R turns only these classes
into R conditions.
"""

from __future__ import annotations


class InputError(ValueError):
    """The caller can mend it: the text names the argument, the rule, what came and what to do."""


class MissingDependencyError(ImportError):
    """An optional package is missing: the text holds the command that installs it."""


class ConvergenceWarning(UserWarning):
    """A fit stopped before it met its tolerance: the text holds the number reached and the option to raise."""


class ReplicateWarning(UserWarning):
    """Cells that belong together are taken for replicates, or there are too few replicates: the text says which."""


class IdentifiabilityWarning(UserWarning):
    """The data leave part of the answer open: the text says what is then assumed and what would settle it."""


class ConversionWarning(UserWarning):
    """A conversion between AnnData and SingleCellExperiment could not carry something: the text names all of it."""
