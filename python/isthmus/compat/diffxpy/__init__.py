"""The callable names of diffxpy (``diffxpy.api``) over isthmus' models: ``import isthmus.compat.diffxpy as de``.

`fit.model` has diffxpy's documented signature. Where it behaves differently, it is on purpose:

* ``size_factors`` are linear and logged once; diffxpy 0.7.4 added them to log mu as they were.
* Columns of floats stay numeric; diffxpy turned every column that ``as_numeric`` did not name into a factor. Columns of
  text, booleans and categories are factors in both.
* An array of constraints may hold rows in which the parameters marked 1 or -1 sum to zero, as diffxpy documents, or be
  the matrix of all x free parameters, as it expected.
* Right-hand sides and coefficients of constraint strings count.
* The scale model may have any design.
* All strategies end at the maximum of the likelihood; options that chose an optimizer say that they have no effect.

New work should use :func:`isthmus.fit_glm`.
"""

from isthmus.compat.diffxpy import fit, test, utils

__all__ = ["fit", "test", "utils"]
