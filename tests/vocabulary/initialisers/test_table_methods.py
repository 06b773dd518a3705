"""The methods that read old rows only."""

from __future__ import annotations

import pytest
import torch

from mtl.problems import InputError
from mtl.vocabulary.exchange import NewToken
from mtl.vocabulary.initialisers.mean import Mean
from mtl.vocabulary.initialisers.pieces_mean import PiecesMean
from mtl.vocabulary.initialisers.random import Random

TABLE = torch.arange(12.0).view(4, 3)
TOKENS = (NewToken(4, "ab", (0, 2)), NewToken(5, "c", ()))


def test_mean_is_the_mean_of_all_rows() -> None:
    assert Mean().table_rows(TABLE, TOKENS, 1).tolist() == [[4.5, 5.5, 6.5]] * 2


def test_pieces_mean_is_the_mean_of_the_pieces_and_of_all_rows_without_pieces() -> None:
    assert PiecesMean().table_rows(TABLE, TOKENS, 1).tolist() == [[3.0, 4.0, 5.0], [4.5, 5.5, 6.5]]


def test_random_rows_have_the_stated_deviation() -> None:
    table = torch.zeros(1, 4000)
    for std in (0.02, 0.5):
        rows = Random(std=std).table_rows(table, TOKENS, 1)
        assert rows.std() == pytest.approx(std, rel=0.05)
        assert rows.mean() == pytest.approx(0.0, abs=std / 20)


def test_a_random_row_depends_on_seed_and_token_only() -> None:
    both, alone = Random().table_rows(TABLE, TOKENS, 1), Random().table_rows(TABLE, TOKENS[1:], 1)
    assert torch.equal(both[1], alone[0])
    assert not torch.equal(both[0], both[1])
    assert not torch.equal(both, Random().table_rows(TABLE, TOKENS, 2))


@pytest.mark.parametrize("std", [0.0, -1.0, float("nan")])
def test_a_deviation_must_be_above_0(std: float) -> None:
    with pytest.raises(InputError) as caught:
        Random(std=std)
    assert [problem.key for problem in caught.value.problems] == ["init.std"]
