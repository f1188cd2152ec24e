"""The callable names of batchglm's constrained GLMs (``batchglm.api`` of 0.4 to 0.6) over isthmus' exact fit.

Change one line, ``import isthmus.compat.batchglm as glm``, and code written for ``glm.models.nb_glm`` runs: simulate,
constrain, estimate, compare. Results are xarray's, so this needs the extra ``isthmus[compat]``. What is different:

* Every training strategy ends at the same maximum. batchglm's strategies chose an optimizer and a stopping rule, and
  its default left the scale model far from the maximum.
* Constraints are what batchglm documents: the parameters marked 1 or -1 in a row sum to zero, whatever the order of the
  rows.
* A gene without a finite scale estimate (no overdispersion) has ``inf`` in `par_link_scale`, not a large number.

New work should use :func:`isthmus.fit_glm`.
"""

from isthmus.compat.batchglm import models, utils

__all__ = ["models", "utils"]
