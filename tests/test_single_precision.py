from __future__ import annotations

import pytest
import torch
from torch import nn

from mtl.single_precision import InSinglePrecision, single_precision


class Kept(InSinglePrecision):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 2)
        self.register_buffer("counts", torch.zeros(2, dtype=torch.int64))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_a_module_keeps_its_precision_and_moves_to_other_devices(dtype: torch.dtype) -> None:
    model = nn.Sequential(nn.Linear(2, 2), Kept()).to(dtype)
    assert model[0].weight.dtype == dtype
    assert {parameter.dtype for parameter in model[1].parameters()} == {torch.float32}
    model.to("meta")
    assert {value.device.type for value in model[1].state_dict().values()} == {"meta"}
    assert model[1].counts.dtype == torch.int64


def test_the_context_computes_in_fp32_and_restores_what_was_set() -> None:
    layer, values = nn.Linear(2, 2), torch.ones(1, 2)
    with torch.autocast("cpu", torch.bfloat16):
        assert layer(values).dtype == torch.bfloat16
        torch.set_default_dtype(torch.float64)
        try:
            with single_precision(torch.device("cpu")):
                assert layer(values).dtype == torch.float32
                assert torch.zeros(1).dtype == torch.float32
            assert torch.get_default_dtype() == torch.float64
            with pytest.raises(ZeroDivisionError), single_precision(torch.device("cpu")):
                _ = 1 / 0
            assert torch.get_default_dtype() == torch.float64
        finally:
            torch.set_default_dtype(torch.float32)
        assert layer(values).dtype == torch.bfloat16
