"""Proportions of a 2 x 2 table. Each public function is a metric under its own name.

Each takes the tables [..., 2, 2] of one or many corpora, where `table[..., i, j]` counts gold i predicted as j and 1 is
positive, and returns the two counts of the proportion, both [...]. The metric is their ratio, or 0 without cases.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class Proportion(NamedTuple):
    """A number of cases, and how many of them there could have been."""

    part: Tensor
    whole: Tensor


def sensitivity(table: Tensor) -> Proportion:
    """The share of positive cases that are predicted as positive: recall, the true-positive rate.

    >>> import torch
    >>> [int(count) for count in sensitivity(torch.tensor([[8, 2], [1, 4]]))]
    [4, 5]
    """
    return Proportion(table[..., 1, 1], table[..., 1, :].sum(-1))


def specificity(table: Tensor) -> Proportion:
    """The share of negative cases that are predicted as negative: the true-negative rate.

    >>> import torch
    >>> [int(count) for count in specificity(torch.tensor([[8, 2], [1, 4]]))]
    [8, 10]
    """
    return Proportion(table[..., 0, 0], table[..., 0, :].sum(-1))


def ppv(table: Tensor) -> Proportion:
    """The share of positive predictions that are right: precision, the positive predictive value.

    >>> import torch
    >>> [int(count) for count in ppv(torch.tensor([[8, 2], [1, 4]]))]
    [4, 6]
    """
    return Proportion(table[..., 1, 1], table[..., :, 1].sum(-1))


def npv(table: Tensor) -> Proportion:
    """The share of negative predictions that are right: the negative predictive value.

    >>> import torch
    >>> [int(count) for count in npv(torch.tensor([[8, 2], [1, 4]]))]
    [8, 9]
    """
    return Proportion(table[..., 0, 0], table[..., :, 0].sum(-1))
