"""An emulated accelerator: tensors on `emulated:0` store their values on the host and follow the rules of a device.

It detects on a CPU what would otherwise fail only on a GPU:

- Tensors of two devices cannot be mixed, except for scalar host tensors, host indices and copies (as on CUDA).
- There is no float64 and no complex128 (as on Apple's MPS).
- NumPy cannot read a tensor on the device, and pickle cannot write one.
- The device has its own random generator.

`forbid_sync` also raises an error wherever the host would wait for the device. After `register()`, ``.to("emulated")``
moves tensors to the device and Lightning trains on it with ``Trainer(accelerator="emulated")``, in fp32 or bf16.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any, NamedTuple

import torch
from lightning_fabric.accelerators.registry import _AcceleratorRegistry
from lightning_fabric.utilities.apply_func import move_data_to_device
from pytorch_lightning.accelerators import Accelerator, AcceleratorRegistry
from pytorch_lightning.plugins import MixedPrecision, Precision, TorchCheckpointIO
from pytorch_lightning.strategies import SingleDeviceStrategy
from pytorch_lightning.trainer.connectors.accelerator_connector import _AcceleratorConnector
from torch import Tensor
from torch.utils._pytree import tree_map
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

NAME = "emulated"

_HOST = torch.device("cpu")
_MISSING_DTYPES = (torch.float64, torch.complex128)

_COPIES = {"copy_", "_foreach_copy_"}
_INDEXING = {"index", "index_put", "index_put_", "_index_put_impl_", "_unsafe_index", "_unsafe_index_put"}
_JOINS = {"cat", "stack"}
"""Operators that refuse even scalar host tensors."""

_SYNCS = {
    "_local_scalar_dense",
    "_unique2",
    "bincount",
    "equal",
    "masked_select",
    "nonzero",
    "unique_consecutive",
    "unique_dim",
}
"""Operators for whose result, or its size, the host waits.

It also waits for mask indices, for copies to the host, and for copies from the host unless they are non-blocking. Host
indices, and host scalars in `where`, are copied.
"""

_RESIZING = ("arange", "arange.start", "arange.start_step", "eye", "eye.m", "linspace", "randperm")
"""Factories that PyTorch implements by resizing an empty tensor, which a wrapper does not support."""

# Autocast as on CUDA (ATen/autocast_mode.h), for the operators that encoders and heads use.
_LOWER_PRECISION = ("linear", "matmul", "mm", "mv", "bmm", "addmm", "baddbmm", "einsum", "scaled_dot_product_attention")
_SINGLE_PRECISION = (
    "binary_cross_entropy_with_logits",
    "cumsum",
    "exp",
    "layer_norm",
    "log",
    "log_softmax.int",
    "logsumexp",
    "nll_loss",
    "pow.Tensor_Scalar",
    "rsqrt",
    "softmax.int",
    "sum",
    "sum.dim_IntList",
)

_sync_is_forbidden = False
_random_state = torch.Generator().get_state()
_libraries: list[torch.library.Library] = []


class EmulatedTensor(torch.Tensor):
    """A tensor on the device.

    Args:
        host: Host tensor with the values.

    Raises:
        TypeError: The device does not support their dtype.
    """

    host: Tensor

    @staticmethod
    def __new__(cls, host: Tensor) -> EmulatedTensor:
        _require_dtype(host.dtype)
        with torch.inference_mode(host.is_inference()):  # in which a view of an ordinary tensor is an ordinary tensor
            made: EmulatedTensor = torch.Tensor._make_wrapper_subclass(
                cls,
                host.size(),
                strides=host.stride(),
                storage_offset=host.storage_offset(),
                dtype=host.dtype,
                device=torch.device(NAME, 0),
            )
        made.host = host
        return made

    def __tensor_flatten__(self) -> tuple[list[str], None]:
        # With these two methods, `nn.Module.to` replaces parameters by converted ones, as for all wrappers.
        return ["host"], None

    @staticmethod
    def __tensor_unflatten__(inner: dict[str, Tensor], context: None, size: Any, stride: Any) -> EmulatedTensor:
        return EmulatedTensor(inner["host"])

    def __repr__(self, *, tensor_contents: Any = None) -> str:
        return f"EmulatedTensor({self.host})"

    def tolist(self) -> Any:
        return self.cpu().tolist()

    def numpy(self, *, force: bool = False) -> Any:
        if force:
            return self.detach().cpu().numpy()
        raise TypeError("NumPy cannot read a tensor on the emulated device. Copy it to the host first.")

    def __array__(self, *args: Any, **kwargs: Any) -> Any:
        return self.numpy()

    def __reduce_ex__(self, protocol: Any) -> Any:
        raise TypeError("A tensor on the emulated device cannot be pickled. Copy it to the host first.")

    __torch_function__ = torch._C._disabled_torch_function_impl

    @classmethod
    def __torch_dispatch__(cls, op: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(op, args, kwargs or {})


@functools.cache
def register() -> None:
    """Makes the device known to PyTorch and Lightning, once per process.

    `torch.accelerator` does not list it as available and Lightning's "auto" never selects it, so other code in the
    process is not affected.
    """
    # In its first backward pass PyTorch starts a thread for each registered device, and a process that is forked later
    # cannot run a backward pass. A pass before the registration avoids this thread; passes then run in one thread.
    torch.ones((), requires_grad=True).backward()
    torch.autograd.set_multithreading_enabled(False)
    _setup_privateuseone_for_python_backend(NAME, _DeviceModule(), _Hooks())
    backend = torch.library.Library("_", "IMPL")
    backend.fallback(lambda op, *args, **kwargs: _run(op, args, kwargs), "PrivateUse1")
    backend.fallback(torch.library.fallthrough_kernel, "AutocastPrivateUse1")
    operators = torch.library.Library("aten", "IMPL")
    for name in (*_RESIZING, "copy_"):  # `torch.tensor` copies below the wrapper, without the fallback
        operators.impl(name, _kernel(_operator(name)), "PrivateUse1")
    for name in _LOWER_PRECISION:
        operators.impl(name, _autocast(_operator(name), lambda: torch.get_autocast_dtype(NAME)), "AutocastPrivateUse1")
    for name in _SINGLE_PRECISION:
        operators.impl(name, _autocast(_operator(name), lambda: torch.float32), "AutocastPrivateUse1")
    _libraries.extend([backend, operators])  # if a library is garbage-collected, its kernels are removed
    EmulatedAccelerator.register_accelerators(AcceleratorRegistry)
    # With an accelerator that it does not know, Lightning would compute on the CPU.
    choose = _AcceleratorConnector._choose_strategy
    _AcceleratorConnector._choose_strategy = lambda connector: (  # type: ignore[assignment, method-assign]
        EmulatedStrategy() if isinstance(connector.accelerator, EmulatedAccelerator) else choose(connector)
    )


@contextmanager
def forbid_sync(*, forbidden: bool = True) -> Iterator[None]:
    """A context in which RuntimeError is raised wherever the host would wait for the device.

    Args:
        forbidden: False allows it again, inside such a context.
    """
    global _sync_is_forbidden  # noqa: PLW0603
    before, _sync_is_forbidden = _sync_is_forbidden, forbidden
    try:
        yield
    finally:
        _sync_is_forbidden = before


# --- Lightning --------------------------------------------------------------------------------------------------------


class EmulatedAccelerator(Accelerator):
    """The accelerator for Lightning, registered as "emulated"."""

    def setup_device(self, device: torch.device) -> None:
        assert device.type == NAME, device

    def teardown(self) -> None:
        pass

    @staticmethod
    def parse_devices(devices: Any) -> int:
        assert str(devices) == "1", f"there is only one emulated device, got {devices}"
        return 1

    @staticmethod
    def get_parallel_devices(devices: Any) -> list[torch.device]:
        return [torch.device(NAME, 0)]

    @staticmethod
    def auto_device_count() -> int:
        return 1

    @staticmethod
    def is_available() -> bool:
        return True

    @staticmethod
    def name() -> str:
        return NAME

    @classmethod
    def register_accelerators(cls, accelerator_registry: _AcceleratorRegistry) -> None:
        accelerator_registry.register(cls.name(), cls)


class EmulatedStrategy(SingleDeviceStrategy):
    """Trains on the device and writes checkpoints from the host."""

    def __init__(self) -> None:
        super().__init__(torch.device(NAME, 0), checkpoint_io=HostCheckpointIO())

    @property
    def precision_plugin(self) -> Precision:
        return super().precision_plugin

    @precision_plugin.setter
    def precision_plugin(self, plugin: Precision | None) -> None:
        if isinstance(plugin, MixedPrecision):
            plugin.device = NAME  # for an unknown accelerator, Lightning assumes CUDA
        self._precision_plugin = plugin


class HostCheckpointIO(TorchCheckpointIO):
    """Copies checkpoints to the host before writing them."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        super().save_checkpoint(move_data_to_device(checkpoint, _HOST), path, storage_options)


# --- PyTorch ----------------------------------------------------------------------------------------------------------


class _DeviceModule:
    """The functions that PyTorch needs in `torch.emulated`."""

    @staticmethod
    def is_available() -> bool:
        return False

    @staticmethod
    def is_initialized() -> bool:
        return True

    @staticmethod
    def _is_in_bad_fork() -> bool:
        return False

    @staticmethod
    def device_count() -> int:
        return 1

    @staticmethod
    def current_device() -> int:
        return 0

    @staticmethod
    def get_amp_supported_dtype() -> list[torch.dtype]:
        return [torch.bfloat16, torch.float16]

    @staticmethod
    def get_rng_state(device: Any = 0) -> Tensor:
        return _random_state

    @staticmethod
    def set_rng_state(state: Tensor, device: Any = 0) -> None:
        global _random_state  # noqa: PLW0603
        _random_state = state

    @classmethod
    def manual_seed(cls, seed: int) -> None:
        cls.manual_seed_all(seed)

    @staticmethod
    def manual_seed_all(seed: int) -> None:
        global _random_state  # noqa: PLW0603
        _random_state = torch.Generator().manual_seed(seed).get_state()


class _Hooks(torch._C._acc.PrivateUse1Hooks):
    def is_available(self) -> bool:
        return False

    def has_primary_context(self, device_index: int) -> bool:
        return True

    def is_built(self) -> bool:
        return True


def _operator(name: str) -> Any:
    packet, _, overload = name.partition(".")
    return getattr(getattr(torch.ops.aten, packet), overload or "default")


def _kernel(op: Any) -> Callable[..., Any]:
    return lambda *args, **kwargs: _run(op, args, kwargs)


def _autocast(op: Any, target: Callable[[], torch.dtype]) -> Callable[..., Any]:
    key = torch._C.DispatchKeySet(torch._C.DispatchKey.AutocastPrivateUse1)

    def kernel(*args: Any, **kwargs: Any) -> Any:
        def cast(value: Any) -> Any:
            return value.to(target()) if isinstance(value, EmulatedTensor) and value.is_floating_point() else value

        with torch._C._ExcludeDispatchKeyGuard(key):
            return op(*tree_map(cast, args), **tree_map(cast, kwargs))

    return kernel


class _Rules(NamedTuple):
    """The properties of an operator that matter here, looked up once.

    Args:
        name: Name of the operator without the overload.
        arguments: Names of the arguments, and whether each is changed in place.
        is_composite: Whether it is composed of other operators.
        is_random: Whether it draws from a generator.
    """

    name: str
    arguments: dict[str, bool]
    is_composite: bool
    is_random: bool


@functools.cache
def _rules(op: Any) -> _Rules:
    arguments = {a.name: a.alias_info is not None and a.alias_info.is_write for a in op._schema.arguments}
    is_random = torch.Tag.nondeterministic_seeded in op.tags
    return _Rules(op.overloadpacket.__name__, arguments, bool(op._can_decompose()), is_random)


def _run(op: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    """Computes an operator on the host if the rules of the device allow it."""
    rules = _rules(op)
    if rules.is_composite:  # each of its parts calls this function
        return op.decompose(*args, **kwargs)
    inputs = {id(t.host): t for t in _tensors([*args, *kwargs.values()]) if isinstance(t, EmulatedTensor)}
    device = kwargs.get("device")
    to_device = bool(inputs) if device is None else torch.device(device).type == NAME
    if inputs:
        _check(rules, args, kwargs, to_device=to_device)
    on_host = {name: _unwrapped(value) for name, value in kwargs.items() if name not in {"device", "pin_memory"}}
    if device is not None:
        on_host["device"] = _HOST
    with _device_generator() if to_device and rules.is_random else nullcontext():
        result = op(*map(_unwrapped, args), **on_host)
    for wrapper in inputs.values():
        if wrapper.shape != wrapper.host.shape or wrapper.stride() != wrapper.host.stride():
            raise NotImplementedError(f"The emulated device cannot change the shape of a tensor in place ({op})")
    return _wrapped(result, inputs) if to_device else result


def _tensors(values: Iterable[Any]) -> Iterator[Tensor]:
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, list | tuple):
            yield from _tensors(value)


def _unwrapped(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_unwrapped(item) for item in value]
    return value.host if isinstance(value, EmulatedTensor) else value


def _wrapped(value: Any, inputs: Mapping[int, EmulatedTensor]) -> Any:
    """A result on the device; for an input that was changed in place, its existing wrapper."""
    if isinstance(value, list | tuple):
        return type(value)(_wrapped(item, inputs) for item in value)
    if not isinstance(value, Tensor):
        return value
    return inputs[id(value)] if id(value) in inputs else EmulatedTensor(value)


def _check(rules: _Rules, args: Sequence[Any], kwargs: Mapping[str, Any], *, to_device: bool) -> None:
    """Raises the error of a device for an operator with invalid arguments, at least one of them on the device."""
    arguments = {**dict(zip(rules.arguments, args, strict=False)), **kwargs}
    blocks = not arguments.get("non_blocking", False)
    for argument, value in arguments.items():
        for tensor in _tensors([value]):
            if not isinstance(tensor, EmulatedTensor):
                _check_host_tensor(rules, argument, tensor, blocks=blocks)
    if isinstance(arguments.get("generator"), torch.Generator):
        raise RuntimeError(f"Expected a generator of the device, got one of the host ({rules.name})")
    if rules.name in _SYNCS or (rules.name in _INDEXING and any(map(_is_mask, arguments["indices"]))):
        _sync(rules.name)
    if not to_device and "device" in arguments:
        _sync(rules.name)
        _require_dtype(arguments.get("dtype"))


def _check_host_tensor(rules: _Rules, argument: str, tensor: Tensor, *, blocks: bool) -> None:
    is_written = rules.arguments[argument]
    if rules.name in _COPIES:
        if is_written or blocks:
            _sync(rules.name)
        if is_written:
            _require_dtype(tensor.dtype)  # values are converted on the source device
        return
    is_index = rules.name in _INDEXING and argument == "indices"
    is_number = tensor.dim() == 0 and rules.name not in _JOINS
    if is_written or not (is_index or is_number):
        found = "emulated:0 and cpu"
        raise RuntimeError(f"Expected all tensors to be on the same device, but found {found} ({rules.name})")
    if is_index or rules.name == "where":
        _sync(rules.name)


def _require_dtype(dtype: torch.dtype | None) -> None:
    if dtype in _MISSING_DTYPES:
        raise TypeError(f"The emulated device has no {dtype}, like MPS. Convert the tensor on the host.")


def _is_mask(index: Any) -> bool:
    return isinstance(index, Tensor) and index.dtype in (torch.bool, torch.uint8)


def _sync(name: str) -> None:
    if _sync_is_forbidden:
        raise RuntimeError(f"The host waits for the emulated device ({name})")


@contextmanager
def _device_generator() -> Iterator[None]:
    """A context in which the host's generator has the random state of the device."""
    global _random_state  # noqa: PLW0603
    before = torch.get_rng_state()
    torch.set_rng_state(_random_state)
    try:
        yield
    finally:
        _random_state = torch.get_rng_state()
        torch.set_rng_state(before)
