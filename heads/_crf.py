"""A linear-chain conditional random field (Lafferty, McCallum and Pereira 2001).

The score of a tag sequence y over emissions x is start[y_1] + sum_t x[t, y_t] + sum_t transitions[y_(t-1), y_t]
+ end[y_T]; its probability is the softmax of that score over all sequences.

Shapes: B sequences, T words, C tags.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from heads import IGNORE


class Legal(NamedTuple):
    """Which tags may start a sequence [C], follow each other [C, C] (from, to) and end a sequence [C]; bool."""

    start: Tensor
    transitions: Tensor
    end: Tensor


class CRF(nn.Module):
    """Scores of first tags, transitions and last tags, on top of emission scores.

    All scores are 0 at first, which makes the model a softmax for each word.

    Args:
        num_tags: C.
        legal: Sequences that decoding may choose; training is not constrained. None allows all sequences.
    """

    illegal_start: Tensor
    illegal_transitions: Tensor
    illegal_end: Tensor

    def __init__(self, num_tags: int, legal: Legal | None = None) -> None:
        super().__init__()
        self.start = nn.Parameter(torch.zeros(num_tags))
        self.transitions = nn.Parameter(torch.zeros(num_tags, num_tags))
        self.end = nn.Parameter(torch.zeros(num_tags))
        if legal is None:
            legal = Legal(*(torch.ones_like(p, dtype=torch.bool) for p in (self.start, self.transitions, self.end)))
        self.register_buffer("illegal_start", ~legal.start, persistent=False)
        self.register_buffer("illegal_transitions", ~legal.transitions, persistent=False)
        self.register_buffer("illegal_end", ~legal.end, persistent=False)

    def log_likelihood(self, emissions: Tensor, tags: Tensor, mask: Tensor, refuted: Tensor | None = None) -> Tensor:
        """The log-probability of what is known of the tags of each sequence, [B].

        A word whose tag is `IGNORE` is marginalised: the numerator sums over all sequences that agree with what is
        known (Tsuboi et al. 2008). The result is 0 for a sequence of which nothing is known.

        Args:
            emissions: Scores of tags, [B, T, C].
            tags: Tag indices or `IGNORE`, [B, T].
            mask: True at words, [B, T]; words come first, without gaps.
            refuted: True for tags that no word with `IGNORE` has in the sequence, [B, C]; None excludes none.
        """
        is_known = tags != IGNORE
        agrees = nn.functional.one_hot(tags.clamp(min=0), emissions.shape[2]).bool()
        possible = torch.ones_like(agrees) if refuted is None else ~refuted[:, None].expand_as(agrees)
        agrees = torch.where(is_known[..., None], agrees, possible)
        known = emissions.masked_fill(~agrees, -torch.inf)
        sums = self._log_sum(torch.cat([known, emissions]), mask.repeat(2, 1))
        numerator, denominator = sums.chunk(2)
        tells = is_known if refuted is None else is_known | refuted.any(1, keepdim=True)
        return torch.where((tells & mask).any(1), numerator - denominator, 0.0)

    @torch.no_grad()
    def best_path(self, emissions: Tensor) -> list[int]:
        """The most probable legal tags of one sequence [T, C] (Viterbi 1967)."""
        start, transitions, end = self._decoding_scores(emissions)
        score = start + emissions[0]
        origins = []
        for emission in emissions[1:]:
            best, origin = (score[:, None] + transitions).max(0)
            origins.append(origin.tolist())
            score = best + emission
        path = [int((score + end).argmax())]
        for origin in reversed(origins):
            path.append(origin[path[-1]])
        return path[::-1]

    @torch.no_grad()
    def marginals(self, emissions: Tensor) -> Tensor:
        """The probability of each tag at each word of one sequence, over all legal tag sequences, [T, C]."""
        start, transitions, end = self._decoding_scores(emissions)
        ahead = _log_sums(emissions, start, transitions)
        behind = _log_sums(emissions.flip(0), end, transitions.T).flip(0)
        return (ahead + behind - emissions).softmax(1)

    def _log_sum(self, emissions: Tensor, mask: Tensor) -> Tensor:
        """The log-sum-exp of the scores of all sequences, [B]."""
        score = self.start + emissions[:, 0]
        for t in range(1, emissions.shape[1]):
            following = torch.logsumexp(score[:, :, None] + self.transitions, 1) + emissions[:, t]
            score = torch.where(mask[:, t, None], following, score)
        return torch.logsumexp(score + self.end, 1)

    def _decoding_scores(self, emissions: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return (
            self.start.masked_fill(self.illegal_start, -torch.inf).to(emissions),
            self.transitions.masked_fill(self.illegal_transitions, -torch.inf).to(emissions),
            self.end.masked_fill(self.illegal_end, -torch.inf).to(emissions),
        )


def _log_sums(emissions: Tensor, start: Tensor, transitions: Tensor) -> Tensor:
    """The log-sum-exp of the scores of all partial sequences that end with a tag at a word, [T, C]."""
    sums = [start + emissions[0]]
    for emission in emissions[1:]:
        sums.append(torch.logsumexp(sums[-1][:, None] + transitions, 0) + emission)
    return torch.stack(sums)
