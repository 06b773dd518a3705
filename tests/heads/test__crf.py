"""The conditional random field, against pytorch-crf and sums over all sequences."""

from __future__ import annotations

import itertools

import pytest
import torch
import torchcrf
from torch import Tensor

from heads import IGNORE
from heads._crf import CRF, Legal

NUM_TAGS = 5


def random_crf(seed: int, num_tags: int = NUM_TAGS, legal: Legal | None = None) -> CRF:
    generator = torch.Generator().manual_seed(seed)
    crf = CRF(num_tags, legal).double()
    for parameter in crf.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
    return crf


def oracle_of(crf: CRF) -> torchcrf.CRF:
    oracle = torchcrf.CRF(len(crf.start), batch_first=True).double()
    oracle.start_transitions.data = crf.start.data.clone()
    oracle.transitions.data = crf.transitions.data.clone()
    oracle.end_transitions.data = crf.end.data.clone()
    return oracle


def random_batch(seed: int, lengths: list[int]) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    size = (len(lengths), max(lengths))
    emissions = 2 * torch.randn(*size, NUM_TAGS, generator=generator, dtype=torch.float64)
    tags = torch.randint(0, NUM_TAGS, size, generator=generator)
    mask = torch.arange(size[1]) < torch.tensor(lengths)[:, None]
    return emissions, tags, mask


def path_scores(crf: CRF, emissions: Tensor) -> dict[tuple[int, ...], float]:
    """The score of every tag sequence of one text, by the definition."""
    scores = {}
    start, transitions, end = crf.start.detach(), crf.transitions.detach(), crf.end.detach()
    for path in itertools.product(range(emissions.shape[1]), repeat=len(emissions)):
        score = start[path[0]] + end[path[-1]] + sum(emissions[t, y] for t, y in enumerate(path))
        scores[path] = float(score + sum(transitions[a, b] for a, b in itertools.pairwise(path)))
    return scores


def log_sum(scores: list[float]) -> float:
    return float(torch.tensor(scores, dtype=torch.float64).logsumexp(0))


@pytest.mark.parametrize("seed", range(5))
def test_likelihood_and_gradients_equal_those_of_pytorch_crf(seed: int) -> None:
    crf = random_crf(seed)
    oracle = oracle_of(crf)
    emissions, tags, mask = random_batch(seed, [7, 1, 4, 2])
    ours, theirs = emissions.clone().requires_grad_(), emissions.clone().requires_grad_()
    likelihood = crf.log_likelihood(ours, tags.masked_fill(~mask, IGNORE), mask)
    expected = oracle(theirs, tags, mask, reduction="none")
    torch.testing.assert_close(likelihood, expected, rtol=1e-10, atol=1e-10)
    likelihood.sum().backward()
    expected.sum().backward()
    pairs = [(ours, theirs), (crf.start, oracle.start_transitions), (crf.end, oracle.end_transitions)]
    for mine, other in [*pairs, (crf.transitions, oracle.transitions)]:
        torch.testing.assert_close(mine.grad, other.grad, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("seed", range(5))
def test_best_path_equals_that_of_pytorch_crf(seed: int) -> None:
    crf = random_crf(seed)
    emissions, _, mask = random_batch(seed, [9, 1, 4, 2])
    expected = oracle_of(crf).decode(emissions, mask)
    assert [crf.best_path(e[m]) for e, m in zip(emissions, mask, strict=True)] == expected


def test_tags_of_padding_have_no_effect() -> None:
    crf = random_crf(0)
    emissions, tags, mask = random_batch(0, [3, 6])
    torch.testing.assert_close(
        crf.log_likelihood(emissions, tags, mask),
        crf.log_likelihood(emissions, tags.masked_fill(~mask, IGNORE), mask),
    )


def test_words_without_a_tag_are_marginalised() -> None:
    crf = random_crf(1, num_tags=3)
    emissions = torch.randn(1, 4, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    scores = path_scores(crf, emissions[0])
    agreeing = [score for path, score in scores.items() if path[0] == 2 and path[2] == 1]
    likelihood = crf.log_likelihood(emissions, torch.tensor([[2, IGNORE, 1, IGNORE]]), torch.ones(1, 4).bool())
    assert float(likelihood.detach()) == pytest.approx(log_sum(agreeing) - log_sum(list(scores.values())))


def test_refuted_tags_are_left_out_at_words_without_a_tag_only() -> None:
    crf = random_crf(1, num_tags=3)
    emissions = torch.randn(1, 4, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    scores, refuted = path_scores(crf, emissions[0]), torch.tensor([[False, False, True]])
    for known in (2, IGNORE):
        agreeing = [
            score for path, score in scores.items() if path[0] in ((2,) if known == 2 else (0, 1)) and 2 not in path[1:]
        ]
        tags = torch.tensor([[known, IGNORE, IGNORE, IGNORE]])
        emissions.grad = None
        likelihood = crf.log_likelihood(emissions.requires_grad_(), tags, torch.ones(1, 4).bool(), refuted)
        assert float(likelihood.detach()) == pytest.approx(log_sum(agreeing) - log_sum(list(scores.values())))
        likelihood.sum().backward()
        assert emissions.grad is not None
        assert emissions.grad.isfinite().all()


def test_a_sequence_without_known_tags_or_words_contributes_exactly_0() -> None:
    crf = random_crf(2)
    emissions, tags, mask = random_batch(2, [5, 3])
    emissions.requires_grad_()
    mask[1] = False
    tags[0] = IGNORE
    likelihood = crf.log_likelihood(emissions, tags, mask)
    assert likelihood.tolist() == [0.0, 0.0]
    likelihood.sum().backward()
    assert emissions.grad is not None
    assert not emissions.grad.any()
    assert crf.transitions.grad is not None
    assert not crf.transitions.grad.any()


def test_gradients_are_finite_with_words_without_a_tag() -> None:
    crf = random_crf(3)
    emissions, tags, mask = random_batch(3, [5, 2])
    tags[0, 1:3] = IGNORE
    crf.log_likelihood(emissions.requires_grad_(), tags, mask).sum().backward()
    assert emissions.grad is not None
    assert emissions.grad.isfinite().all()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in crf.parameters())


def bio() -> Legal:
    """O, B and I of one type: I can neither begin a sequence nor follow O."""
    transitions = torch.ones(3, 3, dtype=torch.bool)
    transitions[0, 2] = False
    return Legal(torch.tensor([True, True, False]), transitions, torch.tensor([True, True, True]))


def is_allowed(path: tuple[int, ...]) -> bool:
    return path[0] != 2 and (0, 2) not in itertools.pairwise(path)


@pytest.mark.parametrize("seed", range(5))
def test_decoding_chooses_among_legal_sequences_only(seed: int) -> None:
    crf = random_crf(seed, num_tags=3, legal=bio())
    emissions = 2 * torch.randn(5, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    scores = {path: score for path, score in path_scores(crf, emissions).items() if is_allowed(path)}
    assert tuple(crf.best_path(emissions)) == max(scores, key=scores.__getitem__)
    total = log_sum(list(scores.values()))
    for word, tag in itertools.product(range(5), range(3)):
        through = [score for path, score in scores.items() if path[word] == tag]
        expected = float(torch.tensor(log_sum(through) - total).exp()) if through else 0.0
        assert float(crf.marginals(emissions)[word, tag]) == pytest.approx(expected, abs=1e-6)


def test_constraints_do_not_change_the_likelihood() -> None:
    emissions, tags, mask = torch.randn(2, 4, 3).double(), torch.tensor([[2, 0, 2, 1], [0, 2, 2, 0]]), torch.ones(2, 4)
    free, bound = random_crf(4, num_tags=3), random_crf(4, num_tags=3, legal=bio())
    assert torch.equal(
        free.log_likelihood(emissions, tags, mask.bool()), bound.log_likelihood(emissions, tags, mask.bool())
    )


def test_a_new_crf_is_a_softmax_for_each_word() -> None:
    emissions, tags, mask = random_batch(5, [4, 4])
    expected = emissions.log_softmax(-1).gather(2, tags[..., None]).sum((1, 2))
    torch.testing.assert_close(CRF(NUM_TAGS).double().log_likelihood(emissions, tags, mask), expected)


def test_constraints_are_not_saved() -> None:
    assert set(CRF(3, bio()).state_dict()) == {"start", "transitions", "end"}


def test_computation_stays_in_float32_under_autocast() -> None:
    crf = random_crf(6).float()
    emissions, tags, mask = random_batch(6, [6, 3])
    plain = crf.log_likelihood(emissions.float(), tags, mask)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(crf.log_likelihood(emissions.float(), tags, mask), plain)
