"""Situations of everyday training that are easy to get wrong: other people's weights, memory, state and closures."""

import argparse
import collections
import copy
import gc
import math
import random
import types
import warnings
import weakref
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from by_hand import assert_taken, by_hand, data, follow, moving, needs_sharding, perceptron
from torch import nn

from pal import PAL, ClosureWarning

X, Y = data()
STRAIGHT_THROUGH = "ignore:.*not that of the closure's loss:pal.ClosureWarning"


def squares(model):
    return (model(X) - Y).square().mean()


# -- weights that others move ----------------------------------------------------------------------------------


@pytest.mark.filterwarnings(STRAIGHT_THROUGH)
@pytest.mark.parametrize("given", ["all parameters", "those of the student"])
def test_a_teacher_that_was_not_frozen_follows_once(given):
    student, teacher = perceptron(), perceptron(seed=1)  # a copy, without requires_grad_(False)
    optimizer = PAL([*student.parameters(), *(teacher.parameters() if given == "all parameters" else ())])

    def loss():
        with torch.no_grad():
            for ours, theirs in zip(teacher.parameters(), student.parameters(), strict=True):
                ours.data.lerp_(theirs, 0.1)
            target = teacher(X)
        return (student(X) - target - 1).square().mean()

    for _ in range(3):
        pairs = zip(teacher.parameters(), student.parameters(), strict=True)
        right = [0.9 * t.detach() + 0.1 * s.detach() for t, s in pairs]
        optimizer.step(loss)
        torch.testing.assert_close([t.detach() for t in teacher.parameters()], right, rtol=1e-12, atol=1e-12)


class Codes(nn.Module):
    """A codebook that is a parameter, beside the buffers from which it follows."""

    def __init__(self, trained):
        super().__init__()
        noise = torch.Generator().manual_seed(2)
        self.codes = nn.Parameter(torch.randn(4, 3, generator=noise, dtype=torch.float64), trained)
        self.register_buffer("size", torch.ones(4, dtype=torch.float64))
        self.register_buffer("sums", self.codes.detach().clone())

    def forward(self, z):
        index = torch.cdist(z.detach(), self.codes.detach()).argmin(1)
        with torch.no_grad():
            hot = nn.functional.one_hot(index, 4).to(z)
            self.size.lerp_(hot.sum(0), 0.2)
            self.sums.lerp_(hot.t() @ z.detach(), 0.2)
            self.codes.copy_(self.sums / self.size[:, None])
        return (z - self.codes.detach()[index]).square().sum(1, keepdim=True)


@pytest.mark.filterwarnings(STRAIGHT_THROUGH)
@pytest.mark.parametrize("trained", [True, False])
def test_codes_that_are_parameters_follow_once(trained):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 3).double(), Codes(trained))
    optimizer = PAL(model.parameters())
    for _ in range(3):
        measured, probe = copy.deepcopy(model), copy.deepcopy(model)
        measured(X).mean().backward()
        norm = math.sqrt(sum(p.grad.square().sum().item() for p in measured[0].parameters()))
        for param, other in zip(probe[0].parameters(), measured[0].parameters(), strict=True):
            param.data -= 0.1 / norm * other.grad
        optimizer.step(lambda: model(X).mean())
        assert float(optimizer.line.loss_mu) == pytest.approx(probe(X).mean().item(), rel=1e-9)
        torch.testing.assert_close(model[1].codes, measured[1].codes)


def test_a_perturbation_that_the_closure_updates():
    model, perturbation = perceptron(), torch.zeros_like(X, requires_grad=True)
    optimizer = PAL(model.parameters())

    @torch.enable_grad()
    def towards():
        (gradient,) = torch.autograd.grad((model(X + perturbation) - Y).square().mean(), perturbation)
        return 0.3 * gradient / gradient.norm()

    def loss():
        with torch.no_grad():
            perturbation.add_(towards())
        return (model(X + perturbation.detach()) - Y).square().mean()

    for _ in range(3):
        right = perturbation.detach() + towards()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ClosureWarning)
            optimizer.step(loss)
        torch.testing.assert_close(perturbation.detach(), right)


def test_gradients_of_plain_tensors_that_belong_to_others():
    model, width = perceptron(), torch.zeros((), dtype=torch.float64, requires_grad=True)
    optimizer = PAL(model.parameters())

    def loss():
        return squares(model) * torch.exp(-width) + width

    def standard():
        optimizer.zero_grad()
        value = loss()
        value.backward()
        return value

    for _ in range(3):
        width.grad = None
        (right,) = torch.autograd.grad(loss(), width)
        optimizer.step(standard)
        torch.testing.assert_close(width.grad, right)


# -- state of every kind ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Kept:
    """A hidden state in an object."""

    h: torch.Tensor


def halved(h, x):
    return 0.5 * h + 0.5 * x.detach().mean(0)


ZERO = torch.zeros(4, dtype=torch.float64)
REPLACED = {
    "dictionary": (lambda: {"h": ZERO}, lambda s: s["h"], lambda h: {"h": h}),
    "object": (lambda: Kept(ZERO), lambda s: s.h, Kept),
    "array": (lambda: np.zeros(4), torch.from_numpy, lambda h: h.numpy()),
    "deque": (lambda: collections.deque([ZERO]), lambda s: s[0], lambda h: collections.deque([h])),
}
IN_PLACE = {
    "list": (lambda: [ZERO.clone()], lambda s: s[0]),
    "tuple": (lambda: (ZERO.clone(),), lambda s: s[0]),
    "dictionary": (lambda: {"h": ZERO.clone()}, lambda s: s["h"]),
    "object": (lambda: types.SimpleNamespace(h=ZERO.clone()), lambda s: s.h),
    "tensor": (ZERO.clone, lambda s: s),
}


@pytest.mark.parametrize("kind", REPLACED)
def test_attributes_that_are_replaced(kind):
    make, read, wrap = REPLACED[kind]

    class Hidden(nn.Module):
        def __init__(self):
            super().__init__()
            self.state = make()

        def forward(self, x):
            self.state = wrap(halved(read(self.state), x))
            return x - read(self.state)

    follow(perceptron(Hidden()), squares)


@pytest.mark.parametrize("name", ["state", "_tensor"])
@pytest.mark.parametrize("kind", IN_PLACE)
def test_tensors_of_attributes_that_are_changed_in_place(kind, name):
    if name[0] == "_" and kind != "tensor":
        pytest.skip("private containers are left alone")
    make, read = IN_PLACE[kind]

    class Hidden(nn.Module):
        def __init__(self):
            super().__init__()
            setattr(self, name, make())

        def forward(self, x):
            h = read(getattr(self, name))
            h.copy_(halved(h, x))
            return x - h

    follow(perceptron(Hidden()), squares)


def test_state_that_hooks_keep_in_a_layer_of_torch():
    model = perceptron()
    model[0].mean = ZERO

    def hook(layer, _, out):
        layer.mean = halved(layer.mean, out)
        return out - layer.mean

    model[0].register_forward_hook(hook)
    follow(model, squares)


def test_lists_that_grow_without_end():
    class Logging(nn.Module):
        def __init__(self):
            super().__init__()
            self.history = [0.0] * 299

        def forward(self, x):
            self.history.append(0.0)
            return x

    model = perceptron(Logging())
    optimizer = PAL(model.parameters())
    for _ in range(4):
        optimizer.step(lambda: squares(model))
    assert len(model[1].history) == 303


def test_a_dictionary_that_refuses_updates():
    class Output(collections.OrderedDict):
        def update(self, *_):
            raise RuntimeError("read only")

    class Keeping(nn.Module):
        def forward(self, x):
            self.last = Output()
            return x

    follow(perceptron(Keeping()), squares)


def test_memory_that_cannot_be_written(tmp_path):
    """A batch in a read-only memory map, beside a tensor that the closure writes to."""
    file, mean, model = tmp_path / "x", torch.zeros((), dtype=torch.float64), perceptron()
    X.numpy().tofile(file)
    optimizer = PAL(model.parameters())
    for _ in range(3):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            x = torch.from_numpy(np.memmap(file, dtype="float64", mode="r", shape=X.shape))

        def loss(x=x):
            value = (model(x) - Y).square().mean()
            mean.lerp_(value.detach(), 0.1)
            return value / (1 + mean)

        optimizer.step(loss)


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")
def test_quantized_tensors_do_no_harm():
    held = torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8)
    follow(perceptron(), lambda model: squares(model) + 0 * held.dequantize().sum())


def test_a_generator_made_in_the_first_forward_pass():
    seen = []

    class Noisy(nn.Module):
        noise = None

        def forward(self, x):
            if self.noise is None:
                self.noise = torch.Generator().manual_seed(0)
            seen.append(torch.rand((), generator=self.noise).item())
            return x + seen[-1]

    model = perceptron(Noisy())
    PAL(model.parameters(), check=False).step(lambda: squares(model))
    assert seen[0] == seen[1]


# -- where models and generators are kept ----------------------------------------------------------------------


class Counting(nn.Module):
    """Counts the batches in a method other than forward."""

    def __init__(self):
        super().__init__()
        self.net = perceptron()
        self.register_buffer("batches", torch.zeros(()))

    def loss(self):
        self.batches += 1
        return squares(self.net) * (1 + 0.1 * self.batches)


class Loop:
    """A training loop with all that belongs to it."""

    def __init__(self, model):
        self.model = model
        self.batches = [(X.clone(), Y.clone()) for _ in range(200)]
        self.log = [{"loss": [0.0]} for _ in range(200)]

    def loss(self):
        return self.model.loss() + 0 * len(self.batches)


def in_a_class(model):
    class Everything:
        net = model

    return lambda: Everything.net.loss()


package = types.ModuleType("package")
package.part = types.ModuleType("package.part")


def in_a_package(model):
    package.part.model = model
    return lambda: package.part.model.loss()


PLACES = {
    "a loop with many batches": lambda model: Loop(model).loss,
    "a namespace": lambda model: (lambda n: lambda: n.m.loss())(types.SimpleNamespace(m=model)),
    "arguments": lambda model: (lambda n: lambda: n.m.loss())(argparse.Namespace(m=model)),
    "a user dictionary": lambda model: (lambda d: lambda: d["m"].loss())(collections.UserDict(m=model)),
    "a mapping": lambda model: (lambda d: lambda: d["m"].loss())(types.MappingProxyType({"m": model})),
    "a weak reference": lambda model: (lambda r: lambda: r().loss())(weakref.ref(model)),
    "a class": in_a_class,
    "a package": in_a_package,
}


@pytest.mark.filterwarnings(STRAIGHT_THROUGH)
@pytest.mark.parametrize("place", PLACES)
def test_places_of_a_model(place):
    model = Counting()
    optimizer, closure = PAL(model.parameters()), PLACES[place](model)
    for _ in range(3):
        optimizer.step(closure)
    assert model.batches == 3


class OwnGenerator(np.random.Generator):
    """A subclass, as of gymnasium."""


DRAWS = {
    "a method of random": lambda: random.Random(0).random,
    "a subclass of numpy's": lambda: (lambda g: lambda: g.random())(OwnGenerator(np.random.PCG64(0))),
    "bits": lambda: (lambda b: lambda: b.random_raw() / 2**64)(np.random.PCG64(0)),
    "a namespace": lambda: (lambda n: lambda: n.g.random())(types.SimpleNamespace(g=random.Random(0))),
}


@pytest.mark.parametrize("name", DRAWS)
def test_places_of_a_generator(name):
    model, seen, draw = perceptron(), [], DRAWS[name]()
    optimizer = PAL(model.parameters())

    def loss():
        seen.append(draw())
        return (model(X + seen[-1]) - Y).square().mean()

    for _ in range(3):
        seen.clear()
        optimizer.step(loss)
        assert len(set(seen)) == 1


# -- closures, calls and what they return ----------------------------------------------------------------------


def test_returned_losses_may_be_added_up_in_place():
    model, twin = perceptron(), perceptron()
    one, two = PAL(model.parameters()), PAL(twin.parameters())
    total = one.backward(lambda: squares(model) / 2)
    total += one.backward(lambda: squares(model) / 2)
    assert one.step() == two.step(lambda: squares(twin))
    assert one.line.step == pytest.approx(float(two.line.step))


def test_a_call_may_clear_the_gradients():
    model, optimizer = perceptron(), None
    right = by_hand(model, squares)
    optimizer = PAL(model.parameters())

    def call(loss):
        optimizer.zero_grad()
        loss.backward()

    optimizer.backward(lambda: squares(model), call)
    optimizer.step()
    assert_taken(optimizer, model, right)


def test_an_error_gives_back_the_numbers_of_every_micro_batch():
    model = perceptron()
    optimizer = PAL(model.parameters())
    one, two = torch.Generator().manual_seed(1), torch.Generator().manual_seed(2)
    before = one.get_state(), two.get_state()

    def fails():
        torch.rand(3, generator=two)
        raise ValueError("the second")

    optimizer.backward(lambda: squares(model) + 0 * torch.rand((), generator=one))
    with pytest.raises(ValueError, match="second"):
        optimizer.backward(fails)
    assert torch.equal(before[0], one.get_state())
    assert torch.equal(before[1], two.get_state())


def test_no_word_where_the_model_clears_the_gradients():
    generator, critic = perceptron(), nn.Linear(1, 1).double()
    ours, theirs = PAL(generator.parameters(), mu=0.01), PAL(critic.parameters(), mu=0.01)

    def form(loss, model):
        def closure():
            model.zero_grad()
            value = loss()
            value.backward()
            return value

        return closure

    judged = form(
        lambda: (critic(Y) - 1).square().mean() + critic(generator(X).detach()).square().mean(), critic
    )
    made = form(lambda: (critic(generator(X)) - 1).square().mean(), generator)
    with warnings.catch_warnings():
        warnings.simplefilter("error", ClosureWarning)
        for _ in range(3):
            theirs.step(judged)
            ours.step(made)


def test_no_word_where_a_part_runs_in_another_thread():
    model = perceptron()
    optimizer = PAL(model.parameters())
    squares(model)  # autograd counts in this thread
    with ThreadPoolExecutor(1) as pool, warnings.catch_warnings():
        warnings.simplefilter("error", ClosureWarning)
        for _ in range(3):
            optimizer.step(lambda: sum(pool.map(squares, [model])))


# -- what users do between steps -------------------------------------------------------------------------------


def trained(steps=3):
    model = perceptron()
    optimizer = PAL(model.parameters(), beta=0.9)
    for _ in range(steps):
        optimizer.step(lambda: squares(model))
    return model, optimizer


def test_the_state_may_be_cleared():
    model, optimizer = trained()
    optimizer.state.clear()
    twin = copy.deepcopy(model)
    fresh = PAL(twin.parameters(), beta=0.9)
    assert optimizer.step(lambda: squares(model)) == fresh.step(lambda: squares(twin))
    assert optimizer.line.norm == fresh.line.norm
    assert len(optimizer.state_dict()["state"]) == 4


def test_the_state_may_be_replaced():
    """As by the usual loop that moves it to a device."""
    model, optimizer = trained()
    for own in optimizer.state.values():
        own["direction"] = own["direction"].clone()
    optimizer.step(lambda: squares(model))
    twin = copy.deepcopy(model)
    again = PAL(twin.parameters(), beta=0.9)
    again.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    optimizer.step(lambda: squares(model))
    again.step(lambda: squares(twin))
    assert optimizer.line.norm == again.line.norm


@pytest.mark.parametrize("rows", [6, 2, 1])
def test_weights_that_change_their_shape(rows):
    weight = torch.ones(4, 3, dtype=torch.float64, requires_grad=True)
    optimizer = PAL([weight], s_max=10.0)
    optimizer.step(lambda: (weight - 2).square().sum())
    weight.data, weight.grad = torch.ones(rows, 3, dtype=torch.float64), None
    optimizer.step(lambda: (weight - 2).square().sum())
    torch.testing.assert_close(weight.detach(), torch.full((rows, 3), 2.0, dtype=torch.float64))


def a_weight_after_training():
    model = perceptron()
    optimizer = PAL(model.parameters())
    for _ in range(4):
        optimizer.step(lambda: squares(model))
    return weakref.ref(model[0].weight)


def test_an_optimizer_is_given_back_at_once():
    gc.collect()
    gc.disable()
    try:
        assert a_weight_after_training()() is None
    finally:
        gc.enable()


# -- several processes -----------------------------------------------------------------------------------------


@pytest.fixture
def mesh(tmp_path):
    """One process with gloo, and its mesh."""
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    yield torch.distributed.device_mesh.init_device_mesh("cpu", (1,))
    torch.distributed.destroy_process_group()


@needs_sharding
def test_frozen_weights_and_buffers_under_fsdp2(mesh):
    fully_shard = pytest.importorskip("torch.distributed.fsdp").fully_shard
    model = perceptron(nn.BatchNorm1d(4))
    model[0].requires_grad_(False)
    twin = copy.deepcopy(model)
    fully_shard(model, mesh=mesh)
    one, two = PAL(moving(model), beta=0.4), PAL(moving(twin), beta=0.4)
    for _ in range(3):
        torch.testing.assert_close(one.step(lambda: squares(model)), two.step(lambda: squares(twin)))
    assert model[1].num_batches_tracked == 3


@pytest.mark.usefixtures("mesh")
def test_gradients_in_the_memory_of_distributed_data_parallel():
    model = perceptron()
    twin = copy.deepcopy(model)
    parallel = nn.parallel.DistributedDataParallel(model, gradient_as_bucket_view=True)
    one, two = PAL(parallel.parameters()), PAL(twin.parameters())

    def standard():
        one.zero_grad()
        value = squares(parallel)
        value.backward()
        return value

    for _ in range(5):
        torch.testing.assert_close(one.step(standard), two.step(lambda: squares(twin)))
