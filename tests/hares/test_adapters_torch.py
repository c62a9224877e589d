"""What encoders of torch hand over and return. Where torch is not installed, a stand-in refuses what torch refuses."""

from __future__ import annotations

import dataclasses
import functools
import sys
import types

import numpy as np
import pytest

from hares.adapters._arrays import as_array
from hares.adapters._state import state_of
from hares.adapters.hear import _embed


class Kind(str):
    """A type of torch's."""


class StandIn:
    """A torch tensor of `values` on a device.

    As torch's, `numpy()` raises for tensors that need gradients (RuntimeError), are not in the CPU's memory, or are of
    bfloat16, which numpy does not have (both TypeError), and so does what numpy calls, `__array__`.
    """

    def __init__(self, values, kind="float32", device="cpu", requires_grad=False):
        self.values = np.asarray(values)
        self.dtype, self.device, self.requires_grad = Kind(kind), device, requires_grad
        self.shape = self.values.shape

    def _with(self, **changes):
        settings = {"kind": self.dtype, "device": self.device, "requires_grad": self.requires_grad}
        return type(self)(self.values, **{**settings, **changes})

    def detach(self):
        return self._with(requires_grad=False)

    def cpu(self):
        return self._with(device="cpu")

    def to(self, device):
        return self._with(device=device or self.device)

    def float(self):
        return self._with(kind="float32")

    def is_complex(self):
        return self.dtype.startswith("complex")

    def numpy(self):
        if self.requires_grad:
            raise RuntimeError("Can't call numpy() on Tensor that requires grad")
        if self.device != "cpu":
            raise TypeError("can't convert cuda:0 device type tensor to numpy")
        if self.dtype == "bfloat16":
            raise TypeError("Got unsupported ScalarType BFloat16")
        return self.values.astype(self.dtype)

    def __array__(self, dtype=None):
        return self.numpy().astype(dtype)


def stand_in(values, kind, requires_grad):
    return StandIn(values, kind, "cuda:0", requires_grad)


def real(values, kind, requires_grad):
    torch = pytest.importorskip("torch")
    return torch.tensor(values, dtype=getattr(torch, kind), requires_grad=requires_grad)


ROWS = [[1.0, 2.5], [0.0, -3.0], [4.0, 1.0]]


@pytest.mark.parametrize("tensor", [stand_in, real])
@pytest.mark.parametrize("kind", ["bfloat16", "float16", "float32", "float64"])
@pytest.mark.parametrize("requires_grad", [False, True])
def test_tensors_of_any_type_are_converted(tensor, kind, requires_grad):
    whole = tensor(ROWS, kind, requires_grad)
    rows = [tensor(row, kind, requires_grad) for row in ROWS]
    for returned in (whole, (whole,), [whole], rows, tuple(rows)):
        array = as_array(returned)
        assert array.dtype == np.float32
        np.testing.assert_array_equal(array, ROWS)


@pytest.mark.parametrize("tensor", [stand_in, real])
def test_several_tensors_are_not_one(tensor):
    whole = tensor(ROWS, "float32", False)
    with pytest.raises(ValueError, match="2 arrays"):
        as_array((whole, whole))
    with pytest.raises(ValueError, match="mapping of last_hidden_state"):
        as_array({"last_hidden_state": whole})
    with pytest.raises(ValueError, match="complex"):
        as_array(tensor(ROWS, "complex64", False))


@pytest.mark.parametrize(
    "nothing", [None, "words", [["1", "2"]], np.array([1j]), np.array([b"1"]), [[1], [2, 3]]]
)
def test_what_is_no_array_of_numbers(nothing):
    with pytest.raises(ValueError, match="not an array of numbers"):
        as_array(nothing)


@pytest.fixture(params=["stand-in", "real"])
def torch(request, monkeypatch):
    """torch, or a module with what is used of it: parameters in `__dict__`, as torch's Module keeps them."""
    if request.param == "real":
        return pytest.importorskip("torch")
    module = types.ModuleType("torch")
    module.Tensor, module.uint8 = StandIn, "uint8"
    module.from_numpy = lambda array: StandIn(array)
    module.ones = lambda *shape: StandIn(np.ones(shape))

    class Module:
        def __init__(self):
            self._parameters, self._buffers, self._modules, self.training = {}, {}, {}, True

        def register_buffer(self, name, value):
            self._buffers[name] = value

        def eval(self):
            self.training = False

        def parameters(self):
            yield from self._parameters.values()

        def buffers(self):
            yield from self._buffers.values()

    class NoGrad:
        inside = 0

        def __enter__(self):
            NoGrad.inside += 1

        def __exit__(self, *_):
            NoGrad.inside -= 1

    module.nn = types.SimpleNamespace(Module=Module)
    module.no_grad, module.is_grad_enabled = NoGrad, lambda: not NoGrad.inside
    # Bytes of a tensor: what `view(uint8)` gives of torch's.
    monkeypatch.setattr(StandIn, "contiguous", lambda self: self, raising=False)
    monkeypatch.setattr(StandIn, "reshape", lambda self, size: self, raising=False)
    monkeypatch.setattr(
        StandIn,
        "view",
        lambda self, kind: StandIn(np.frombuffer(self.values.tobytes(), kind), kind),
        raising=False,
    )
    monkeypatch.setitem(sys.modules, "torch", module)
    return module


def holders(torch):
    """Objects that hold a module with one array of weights, as people hand them over."""

    class Net(torch.nn.Module):
        def __init__(self, weight=1.0):
            super().__init__()
            self.register_buffer("w", torch.from_numpy(np.full(3, weight, np.float32)))

        def forward(self, audio):
            return audio

    @dataclasses.dataclass
    class Wrapper:
        model: object
        name: str = "x"

    class Slots:
        __slots__ = ("net", "unset")

        def __init__(self, net):
            self.net = net

    class Parent(torch.nn.Module):
        def __init__(self, net):
            super().__init__()
            self._modules["child"] = net

    def closure(net):
        return lambda audio: net.forward(audio)

    ways = {
        "itself": lambda net: net, "dataclass": Wrapper, "nested": lambda net: Wrapper(Wrapper({"nets": [net]})),
        "slots": Slots, "parent": Parent, "bound": lambda net: net.forward, "closure": closure,
        "partial": lambda net: functools.partial(print, net), "circle": lambda net: circle(Wrapper(net)),
    }  # fmt: skip

    def circle(wrapper):
        wrapper.me = wrapper
        return wrapper

    return Net, ways


def test_a_module_is_found_wherever_it_is_and_so_are_its_weights(torch):
    net, ways = holders(torch)
    for name, hold in ways.items():
        one, same, other = (state_of(hold(net(weight))) for weight in (1.0, 1.0, 2.0))
        assert one.torch_modules and not one.is_tensorflow, name
        assert one.arrays == 1 and one.digest == same.digest != other.digest, name
    assert state_of(lambda audio: audio).arrays == 0


def test_a_wrapped_module_gets_tensors_without_gradients(torch):
    net, ways = holders(torch)
    model = ways["dataclass"](net())
    seen = []

    def get_scene_embeddings(audio, given):
        assert isinstance(audio, torch.Tensor) and given is model and not torch.is_grad_enabled()
        seen.append(str(audio.device))
        return audio

    module = types.SimpleNamespace(get_scene_embeddings=get_scene_embeddings)
    waves = np.zeros((4, 10), np.float32)
    np.testing.assert_array_equal(_embed(module, model, state_of(model), waves), waves)
    assert seen == ["cpu"]


def test_audio_goes_to_the_models_device(torch):
    if torch.Tensor is not StandIn:
        pytest.skip("there is one device here")
    net, ways = holders(torch)
    inner = net()
    inner.register_buffer("w", StandIn(np.ones(3), device="cuda:0"))
    model = ways["dataclass"](inner)
    module = types.SimpleNamespace(get_scene_embeddings=lambda audio, _: audio)
    state = state_of(model)
    assert state.torch_device == "cuda:0" and state.arrays == 1
    assert _embed(module, model, state, np.ones((2, 3), np.float32)).shape == (2, 3)


def test_weights_of_numpy_and_tensorflow_are_seen():
    import tensorflow as tf

    class Encoder:
        def __init__(self, weight):
            self.tables = {"a": np.full(4, weight)}
            self.layer = tf.Module()
            self.layer.w = tf.Variable([weight])

    one, same, other = (state_of(Encoder(weight)) for weight in (1.0, 1.0, 2.0))
    assert one.arrays == 2 and one.is_tensorflow and one.digest == same.digest != other.digest


def test_a_module_of_torch_itself_gets_tensors(torch):
    from hares.adapters import EncoderOptions, encode_crops
    from hares.adapters.python import from_callable

    seen = []

    class Network(torch.nn.Module):
        def __call__(self, waveforms):
            seen.append((self.training, type(waveforms)))
            return waveforms

    crops = np.ones((2, 3), np.float32)
    embedded = encode_crops(from_callable(Network(), EncoderOptions()))(crops)
    np.testing.assert_array_equal(embedded, crops)
    assert seen == [(False, torch.Tensor)]
