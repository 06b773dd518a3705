"""Fixed weights: the default."""

from __future__ import annotations

from mtl.balancing import Balancing


class Fixed(Balancing):
    """Weighs each task's mean loss with its `loss_weight`, throughout.

    With equal weights this is unitary scalarisation, which matches most adaptive methods when it is tuned (Kurin et
    al. 2022, https://arxiv.org/abs/2201.04122).

    >>> Fixed({"gad": 1.0, "hoc": 0.5}).factor("hoc")
    0.5
    """
