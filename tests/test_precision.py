import pytest
import torch

from mtl import precision as module
from mtl.precision import GAIN, agreed_precision, bf16_gain, natural_precision


def set_cpu(monkeypatch: pytest.MonkeyPatch, *found: str, gain: float = 2.0) -> None:
    monkeypatch.setattr(module, "bf16_gain", lambda: gain)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: dict.fromkeys(found, True))


@pytest.mark.parametrize("capability", ["avx512_bf16", "amx_bf16", "bf16"])
@pytest.mark.parametrize("accelerator", ["auto", "cpu"])
def test_a_cpu_with_native_bf16_computes_in_it(
    capability: str, accelerator: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_cpu(monkeypatch, "avx2", capability)
    assert natural_precision(accelerator) == "bf16-mixed"


def test_a_cpu_that_is_no_quicker_in_bf16_computes_in_fp32(monkeypatch: pytest.MonkeyPatch) -> None:
    set_cpu(monkeypatch, "avx512_bf16", gain=0.6)
    assert natural_precision("cpu") == "32-true"


def test_a_cpu_without_bf16_computes_in_fp32(monkeypatch: pytest.MonkeyPatch) -> None:
    set_cpu(monkeypatch, "avx2", "avx512_f")
    assert natural_precision() == natural_precision("cpu") == "32-true"


@pytest.mark.parametrize(("native", "precision"), [(True, "bf16-mixed"), (False, "32-true")])
def test_a_gpu_that_only_emulates_bf16_computes_in_fp32(
    native: bool, precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_cpu(monkeypatch, "amx_bf16")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: native or including_emulation)
    for accelerator in ("auto", "gpu", "cuda"):
        assert natural_precision(accelerator) == precision
    assert natural_precision("cpu") == "bf16-mixed"


def test_this_machine_is_judged_by_what_it_can_do() -> None:
    flags = torch.cpu.get_capabilities()
    native = any(flags.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16")) and bf16_gain() >= GAIN
    assert natural_precision("cpu") == ("bf16-mixed" if native else "32-true")


def test_other_processes_of_a_training_take_the_precision_of_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(module.VARIABLE, raising=False)
    set_cpu(monkeypatch, "avx512_bf16")
    assert agreed_precision("cpu") == "bf16-mixed"
    set_cpu(monkeypatch, "avx512_bf16", gain=0.6)  # timed anew, with another result
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert agreed_precision("cpu") == "bf16-mixed"
    monkeypatch.setenv("LOCAL_RANK", "0")
    assert agreed_precision("cpu") == "32-true"


def test_timing_leaves_the_number_of_threads_as_it_was() -> None:
    bf16_gain.cache_clear()
    before = torch.get_num_threads()
    assert bf16_gain() > 0
    assert torch.get_num_threads() == before
