"""Fixed weights: the default."""

from __future__ import annotations

from mtl.balancing import Balancing


class Fixed(Balancing):
    """Multiplies each task's mean loss by its `loss_weight`, which stays the same.

    With equal weights this is unitary scalarisation, which matches most adaptive methods when it is tuned (Kurin et
    al. 2022, https://arxiv.org/abs/2201.04122).

    >>> Fixed({"gad": 1.0, "hoc": 0.5}).factor("hoc")
    0.5
    """
