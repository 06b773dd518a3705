import copy
import io
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.nn import functional

from tests import emulated
from tests.emulated import forbid_sync

HOST = torch.arange(12.0).reshape(3, 4)


@pytest.fixture(scope="module", autouse=True)
def device() -> None:
    emulated.register()


def on_device(tensor: Tensor = HOST) -> Tensor:
    return tensor.to("emulated")


# --- location of tensors ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "make",
    [
        lambda **options: torch.zeros(2, **options),
        lambda **options: torch.full((2,), 3.0, **options),
        lambda **options: torch.tensor([1.0, 2.0], **options),
        lambda **options: torch.arange(5, **options),
        lambda **options: torch.eye(2, **options),
        lambda **options: torch.linspace(0, 1, 5, **options),
        lambda **options: HOST.new_ones(2, **options),
        lambda **options: torch.ones_like(HOST, **options),
        lambda **options: HOST.to(dtype=torch.bfloat16, **options),
    ],
)
def test_a_tensor_made_on_the_device_has_the_values_of_one_made_on_the_host(make: Callable[..., Tensor]) -> None:
    made = make(device="emulated")
    assert made.device == torch.device("emulated", 0)
    assert made.cpu().device.type == "cpu"
    assert torch.equal(made.cpu(), make(device="cpu"))


def test_results_and_views_stay_on_the_device() -> None:
    values = on_device()
    for result in (values + 1, values[0], values.T, values.sum(), values > 3, values.view(2, 6), values.clone()):
        assert result.device.type == "emulated"


def test_a_view_shares_its_values() -> None:
    values = on_device()
    values[1] = 7.0
    values[:, 0].add_(1.0)
    expected = HOST.clone()
    expected[1] = 7.0
    expected[:, 0].add_(1.0)
    assert torch.equal(values.cpu(), expected)


def test_a_copy_does_not_share_its_values() -> None:
    values = on_device()
    for other in (values.cpu(), values.clone(), copy.deepcopy(values), on_device()):
        other.zero_()
    assert torch.equal(values.cpu(), HOST)


# --- mixing devices ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "mix",
    [
        lambda host, there: there + host,
        lambda host, there: host @ there.T,
        lambda host, there: torch.cat([there, host]),
        lambda host, there: torch.stack([there.sum(), host.sum()]),
        lambda host, there: torch.where(there > 0, there, host),
        lambda host, there: there.masked_fill(host > 0, 0.0),
        lambda host, there: there.gather(1, torch.zeros(3, 1, dtype=torch.long)),
        lambda host, there: functional.embedding(torch.tensor([1]), there),
        lambda host, there: functional.cross_entropy(there, torch.tensor([0, 1, 2])),
        lambda host, there: host[there[:, 0].long()],
        lambda host, there: there.add_(host),
        lambda host, there: host.add_(there),
        lambda host, there: host.sum().add_(there.sum()),
        lambda host, there: torch.add(there, 1, out=host),
        lambda host, there: nn.Linear(4, 2)(there),
    ],
)
@pytest.mark.parametrize("mode", [torch.enable_grad, torch.inference_mode])
def test_tensors_of_the_device_and_the_host_cannot_be_mixed(mix: Callable[..., Any], mode: Callable[[], Any]) -> None:
    with mode(), pytest.raises(RuntimeError, match="same device"):
        mix(HOST.clone(), on_device())


@pytest.mark.parametrize(
    ("mix", "expected"),
    [
        (lambda there: there * torch.tensor(2.0), HOST * 2),
        (lambda there: torch.tensor(2.0) - there, 2 - HOST),
        (lambda there: torch.where(there > 3, there, torch.tensor(0.0)), HOST.where(HOST > 3, 0.0)),
        (lambda there: there[torch.tensor([2, 0])], HOST[[2, 0]]),
        (lambda there: there[[2, 0]], HOST[[2, 0]]),
    ],
)
def test_host_scalars_and_host_indices_are_allowed(mix: Callable[..., Tensor], expected: Tensor) -> None:
    assert torch.equal(mix(on_device()).cpu(), expected)


def test_device_and_host_tensors_can_be_copied_to_each_other_in_place() -> None:
    there, here = torch.zeros(3, 4, device="emulated"), torch.zeros(3, 4)
    there.copy_(HOST)
    here.copy_(there)
    assert torch.equal(here, HOST)
    there[:, 1] = torch.tensor([7.0, 8.0, 9.0])
    assert there[:, 1].tolist() == [7.0, 8.0, 9.0]


# --- what the device lacks --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "make",
    [
        lambda: on_device().double(),
        lambda: on_device(HOST.double()),
        lambda: on_device().to(torch.complex128),
        lambda: on_device().sum(dtype=torch.float64),
        lambda: on_device().to("cpu", torch.float64),
        lambda: torch.zeros(3, 4, dtype=torch.float64).copy_(on_device()),
        lambda: torch.zeros(2, dtype=torch.float64, device="emulated"),
        lambda: torch.tensor([1.0], dtype=torch.float64, device="emulated"),
        lambda: nn.Linear(2, 2).double().to("emulated"),
        lambda: nn.Linear(2, 2).to("emulated").double(),
    ],
)
@pytest.mark.parametrize("mode", [torch.enable_grad, torch.inference_mode])
def test_there_is_no_float64(make: Callable[[], Any], mode: Callable[[], Any]) -> None:
    with mode(), pytest.raises(TypeError, match="has no torch"):
        make()


def test_the_host_converts_copies_to_float64() -> None:
    assert torch.equal(on_device().cpu().double(), HOST.double())


def test_numpy_reads_only_copies_on_the_host() -> None:
    for read in (lambda: on_device().numpy(), lambda: np.asarray(on_device())):
        with pytest.raises(TypeError, match="to the host first"):
            read()
    assert (on_device().cpu().numpy() == HOST.numpy()).all()


def test_a_tensor_on_the_device_cannot_be_pickled() -> None:
    for write in (pickle.dumps, lambda content: torch.save(content, io.BytesIO())):
        with pytest.raises(TypeError, match="to the host first"):
            write({"loss": on_device()})


def test_a_generator_of_the_host_cannot_draw_on_the_device() -> None:
    with pytest.raises(RuntimeError, match="generator"):
        torch.rand(3, generator=torch.Generator(), device="emulated")


def test_a_shape_cannot_be_changed_in_place() -> None:
    with pytest.raises(NotImplementedError):
        on_device().unsqueeze_(0)


# --- waiting for the device -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "read",
    [
        lambda there: there.sum().item(),
        lambda there: float(there.sum()),
        lambda there: bool((there > 3).any()),
        lambda there: there.tolist(),
        lambda there: there.cpu(),
        lambda there: torch.zeros(3, 4).copy_(there),
        lambda there: torch.equal(there, there),
        lambda there: there.nonzero(),
        lambda there: there[there > 3],
        lambda there: there.masked_select(there > 3),
        lambda there: there.unique(),
    ],
)
def test_reading_a_value_makes_the_host_wait(read: Callable[[Tensor], Any]) -> None:
    there = on_device()
    read(there)
    with forbid_sync(), pytest.raises(RuntimeError, match="waits"):
        read(there)


@pytest.mark.parametrize(
    "copy_to",
    [
        lambda there: HOST.to("emulated"),
        lambda there: torch.tensor([1.0, 2.0], device="emulated"),
        lambda there: there.copy_(HOST),
        lambda there: there[torch.tensor([2, 0])],
        lambda there: torch.where(there > 3, there, torch.tensor(0.0)),
    ],
)
def test_a_blocking_copy_from_the_host_makes_it_wait(copy_to: Callable[[Tensor], Any]) -> None:
    there = on_device()
    copy_to(there)
    with forbid_sync():
        with pytest.raises(RuntimeError, match="waits"):
            copy_to(there)
        with forbid_sync(forbidden=False):
            copy_to(there)


@pytest.mark.parametrize(
    "compute",
    [
        lambda there: HOST.to("emulated", non_blocking=True),
        lambda there: there.copy_(HOST, non_blocking=True),
        lambda there: there * torch.tensor(2.0),
        lambda there: torch.full((2,), 3.0, device="emulated"),
        lambda there: there.where(there > 3, 0.0),
        lambda there: there.masked_fill(there > 3, 0.0),
        lambda there: there[torch.arange(2, device="emulated")],
    ],
)
def test_the_host_does_not_wait_otherwise(compute: Callable[[Tensor], Tensor]) -> None:
    there = on_device()
    with forbid_sync():
        assert compute(there).device.type == "emulated"


def test_a_training_step_does_not_have_to_wait() -> None:
    model = nn.Linear(4, 2).to("emulated")
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    with forbid_sync():
        inputs, labels = (values.to("emulated", non_blocking=True) for values in (HOST, torch.tensor([0, 1, 0])))
        loss = functional.cross_entropy(model(inputs), labels)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    assert loss.item() > 0


# --- results ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{"fused": True}, {"foreach": True}, {"foreach": False}])
def test_training_gives_the_same_weights_as_on_the_host(options: dict[str, bool]) -> None:
    def trained(device: str) -> list[Tensor]:
        torch.manual_seed(1)
        model = nn.Sequential(nn.Linear(4, 8), nn.LayerNorm(8), nn.GELU(), nn.Dropout(0.5), nn.Linear(8, 3)).to(device)
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, **options)
        torch.manual_seed(2)  # the weights above were drawn from the generator of the host
        for _ in range(3):
            optimizer.zero_grad()
            functional.cross_entropy(model(HOST.to(device)), torch.tensor([0, 1, 2]).to(device)).backward()
            assert all(parameter.grad.device.type == device for parameter in model.parameters())
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
        return [parameter.detach().cpu() for parameter in model.parameters()]

    for there, here in zip(trained("emulated"), trained("cpu"), strict=True):
        torch.testing.assert_close(there, here)


def test_a_module_moves_to_the_device_and_back_with_its_parameters() -> None:
    model = nn.Linear(4, 2)
    weight, before = model.weight, model.weight.detach().clone()
    assert model.to("emulated").weight is weight
    assert weight.device.type == "emulated"
    assert type(model.cpu().weight.data) is Tensor
    assert torch.equal(model.weight, before)


def test_autocast_computes_products_in_bf16_and_sums_in_fp32() -> None:
    model, there = nn.Linear(4, 4).to("emulated"), on_device()
    with torch.autocast("emulated", dtype=torch.bfloat16):
        product = model(there)
        attended = functional.scaled_dot_product_attention(*[there[None, None]] * 3)
        assert product.dtype == attended.dtype == (there @ there.T).dtype == torch.bfloat16
        assert product.softmax(-1).dtype == functional.layer_norm(product, (4,)).dtype == torch.float32
        with torch.autocast("emulated", enabled=False):
            assert model(there).dtype == torch.float32
    product.sum().backward()
    assert model.weight.grad.dtype == torch.float32
    torch.testing.assert_close(
        product.float().cpu(), functional.linear(HOST, *map(Tensor.cpu, model.parameters())), atol=0.1, rtol=0.01
    )


def test_random_numbers_follow_the_seed_and_do_not_change_those_of_the_host() -> None:
    torch.manual_seed(5)
    first = torch.rand(3, device="emulated").tolist()
    torch.manual_seed(5)
    here = torch.rand(3)
    assert torch.rand(3, device="emulated").tolist() == first == here.tolist()
    assert torch.rand(3, device="emulated").tolist() != first


# --- other code in the process ----------------------------------------------------------------------------------------


def test_other_code_in_the_process_does_not_see_the_device() -> None:
    assert not torch.accelerator.is_available()
    assert torch.get_default_device().type == "cpu"
    trainer = pl.Trainer(accelerator="auto", logger=False, enable_checkpointing=False, barebones=False)
    assert trainer.strategy.root_device.type != "emulated"
    torch.manual_seed(3)
    with torch.random.fork_rng():
        forked = torch.rand(2), torch.rand(2, device="emulated")
    again = torch.rand(2), torch.rand(2, device="emulated")
    assert [there.tolist() for there in forked] == [there.tolist() for there in again]


# --- Lightning --------------------------------------------------------------------------------------------------------


class Linear(pl.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 1)
        self.places: set[str] = set()

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        self.places.add(batch.device.type)
        product = self.layer(batch)
        assert product.dtype == (torch.bfloat16 if self.trainer.precision == "bf16-mixed" else torch.float32)
        return (product.float() ** 2).mean()

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        self.places.add(batch.device.type)
        self.log("loss", (self.layer(batch).float() ** 2).mean())

    def predict_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        self.places.add(batch.device.type)
        return self.layer(batch)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters(), lr=0.01)


@pytest.mark.filterwarnings("ignore:.*does not have many workers")
@pytest.mark.parametrize("accelerator", ["emulated", emulated.EmulatedAccelerator()], ids=["name", "object"])
@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_lightning_trains_saves_resumes_and_predicts(tmp_path: Any, accelerator: Any, precision: str) -> None:
    def trainer(epochs: int) -> pl.Trainer:
        quiet = dict.fromkeys(("logger", "enable_progress_bar", "enable_model_summary", "enable_checkpointing"), False)
        return pl.Trainer(
            accelerator=accelerator,
            devices=1,
            precision=precision,
            max_epochs=epochs,
            gradient_clip_val=1.0,
            log_every_n_steps=1,
            default_root_dir=tmp_path,
            **quiet,
        )  # type: ignore[arg-type]

    rows = torch.utils.data.DataLoader([*HOST], batch_size=1)  # type: ignore[arg-type]
    module, first = Linear(), trainer(2)
    first.fit(module, rows, rows)
    first.save_checkpoint(tmp_path / "two.ckpt")
    assert module.places == {"emulated"}
    assert float(first.callback_metrics["loss"]) > 0
    saved = torch.load(tmp_path / "two.ckpt", weights_only=True)
    assert saved["state_dict"]["layer.weight"].device.type == "cpu"
    resumed, again = Linear(), trainer(4)
    again.fit(resumed, rows, rows, ckpt_path=tmp_path / "two.ckpt")
    assert again.global_step == 12
    assert len(again.predict(resumed, rows) or []) == len(HOST)
    assert resumed.places == {"emulated"}
