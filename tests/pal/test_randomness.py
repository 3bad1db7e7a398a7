"""Both evaluations of a step draw the same random numbers, wherever they come from, and use them up once."""

import random
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from by_hand import assert_taken, by_hand, data, draws, perceptron, set_draws
from torch import nn
from torch.nn.functional import dropout

from pal import PAL
from pal.check import ClosureWarning

X, Y = data()


class Noisy(nn.Module):
    """Shifts its input by what it draws, and notes it."""

    def __init__(self, draw: Callable[[], Any]):
        super().__init__()
        self.draw = draw

    def forward(self, x):
        SEEN.append(torch.as_tensor(self.draw()).double().sum().item())
        return x + 0.1 * SEEN[-1]


SEEN: list[float] = []

GLOBAL_DRAWS = {
    "torch.rand": lambda: torch.rand(3),
    "torch.randn": lambda: torch.randn(5),
    "torch.randn of many": lambda: torch.randn(100),
    "torch.randint": lambda: torch.randint(9, (2,)),
    "torch.randperm": lambda: torch.randperm(9)[:3],
    "torch.multinomial": lambda: torch.multinomial(torch.ones(9), 2),
    "torch.bernoulli": lambda: torch.bernoulli(torch.full((9,), 0.5)),
    "a distribution": lambda: torch.distributions.Gamma(2.0, 1.0).sample((2,)),
    "dropout": lambda: dropout(torch.ones(9), 0.5),
    "random.random": random.random,
    "random.gauss": lambda: random.gauss(0, 1),
    "random.choice": lambda: random.choice(range(100)),
    "random.sample": lambda: random.sample(range(100), 3),
    "random.getrandbits": lambda: random.getrandbits(20) / 2**20,
    "numpy.random.rand": lambda: np.random.rand(3),
    "numpy.random.randn": lambda: np.random.randn(),
    "numpy.random.normal": lambda: np.random.normal(size=3),
    "numpy.random.choice": lambda: np.random.choice(100),
    "numpy.random.permutation": lambda: np.random.permutation(9)[:3],
    "all of them": lambda: [random.gauss(0, 1), np.random.randn(), torch.randn(()).item()],
}


def steps_of(model, count=4, loss=lambda model: (model(X) - Y).square().mean(), **settings):
    """Take steps, each held to the one by hand; both evaluations draw the same, the next step what comes next."""
    optimizer = PAL(model.parameters(), **settings)
    for _ in range(count):
        right = by_hand(model, loss)
        moment = draws()
        with torch.no_grad():
            loss(model)
        once = draws()
        set_draws(moment)
        SEEN.clear()
        optimizer.step(lambda: loss(model))
        assert len(set(SEEN)) == 1
        assert_taken(optimizer, model, right)
        same(draws(), once)


def same(ours, theirs):
    assert torch.equal(ours[0], theirs[0])
    assert ours[1] == theirs[1]
    for mine, other in zip(ours[2], theirs[2], strict=True):
        assert np.array_equal(mine, other)


@pytest.mark.parametrize("name", GLOBAL_DRAWS)
def test_global_generators(name):
    random.seed(0)
    np.random.seed(0)
    steps_of(perceptron(Noisy(GLOBAL_DRAWS[name])))


@pytest.mark.parametrize("name", ["numpy.random.randn", "random.gauss", "numpy.random.rand", "torch.randn"])
def test_whoever_draws_late(name):
    """Noise that is switched on after many steps without any: drawn ahead by a normal generator, or not."""
    random.seed(0)
    np.random.seed(0)
    noisy = Noisy(lambda: 0.0)
    model = perceptron(noisy)
    optimizer = PAL(model.parameters())
    for _ in range(20):
        optimizer.step(lambda: (model(X) - Y).square().mean())
    noisy.draw = GLOBAL_DRAWS[name]
    for _ in range(4):
        SEEN.clear()
        optimizer.step(lambda: (model(X) - Y).square().mean())
        assert len(SEEN) == 2
        assert SEEN[0] == SEEN[1]


def test_a_closure_that_seeds_by_itself():
    def loss(model):
        torch.manual_seed(3)
        random.seed(3)
        np.random.seed(3)
        return (model(X) - Y).square().mean()

    steps_of(perceptron(Noisy(GLOBAL_DRAWS["all of them"])), loss=loss)


def test_a_closure_that_forks():
    def loss(model):
        with torch.random.fork_rng():
            torch.manual_seed(3)
            noise = torch.rand(())
        return (model(X + noise) - Y).square().mean()

    steps_of(perceptron(Noisy(lambda: torch.rand(3))), loss=loss)


def test_another_bit_generator_behind_numpys_functions():
    before = np.random.get_bit_generator()
    np.random.set_bit_generator(np.random.PCG64(0))
    try:
        model = perceptron(Noisy(lambda: np.random.rand()))
        optimizer = PAL(model.parameters())
        for _ in range(3):
            SEEN.clear()
            optimizer.step(lambda: (model(X) - Y).square().mean())
            assert SEEN[0] == SEEN[1]
    finally:
        np.random.set_bit_generator(before)


OWN = {
    "torch.Generator": (
        lambda: torch.Generator().manual_seed(0),
        lambda g: torch.rand(3, generator=g).sum().item(),
    ),
    "torch.Generator, normal": (
        lambda: torch.Generator().manual_seed(0),
        lambda g: torch.randn((), generator=g).item(),
    ),
    "random.Random": (lambda: random.Random(0), lambda g: g.gauss(0, 1)),
    "numpy's Generator": (lambda: np.random.default_rng(0), lambda g: g.standard_normal()),
    "numpy's Generator on another twister": (
        lambda: np.random.Generator(np.random.Philox(0)),
        lambda g: g.random(),
    ),
    "numpy's RandomState": (lambda: np.random.RandomState(0), lambda g: g.randn()),
}


class Holder:
    """An object of one's own with a generator."""

    def __init__(self, generator):
        self.noise = generator


class HoldingModule(nn.Module):
    """A module with a generator."""

    def __init__(self, generator):
        super().__init__()
        self.noise = generator

    def forward(self, draw):
        return draw(self.noise)


def in_a_cell(generator, draw):
    return lambda: draw(generator)


def in_a_default(generator, draw):
    return lambda generator=generator: draw(generator)


def in_a_list(generator, draw):
    kept = [generator]
    return lambda: draw(kept[0])


def in_a_dictionary(generator, draw):
    kept = {"noise": generator}
    return lambda: draw(kept["noise"])


def in_an_object(generator, draw):
    holder = Holder(generator)
    return lambda: draw(holder.noise)


def in_a_module(generator, draw):
    module = HoldingModule(generator)
    return lambda: module(draw)


def in_a_module_of_a_module(generator, draw):
    module = nn.Sequential(HoldingModule(generator))
    return lambda: module[0](draw)


class Method:
    """A generator that belongs to a class, used by methods of every kind."""

    noise: Any = None
    draw: Any = None

    def by_self(self):
        return type(self).draw(self.noise)

    @classmethod
    def by_class(cls):
        return cls.draw(cls.noise)

    @staticmethod
    def by_name():
        return Method.draw(Method.noise)

    def __call__(self):
        return self.by_self()


def in_a_class(generator, draw):
    Method.noise, Method.draw = generator, staticmethod(draw)
    held = Method()
    return lambda: held.by_self()


def in_a_class_of_a_callable(generator, draw):
    Method.noise, Method.draw = generator, staticmethod(draw)
    return Method()


def in_a_class_by_a_class_method(generator, draw):
    Method.noise, Method.draw = generator, staticmethod(draw)
    return lambda: Method.by_class()


def in_a_class_by_a_static_method(generator, draw):
    Method.noise, Method.draw = generator, staticmethod(draw)
    return lambda: Method.by_name()


class Private(nn.Module):
    """Names that begin with an underscore are as good as others."""

    def __init__(self, generator):
        super().__init__()
        self._noise = generator

    def forward(self, draw):
        return draw(self._noise)


class Nested(nn.Module):
    """A generator in containers of a module."""

    def __init__(self, generator):
        super().__init__()
        self.kept = {"generators": [(generator,)]}

    def forward(self, draw):
        return draw(self.kept["generators"][0][0])


class Holding(nn.Module):
    """A generator in a plain object of a module."""

    def __init__(self, generator):
        super().__init__()
        self.holder = Holder(generator)

    def forward(self, draw):
        return draw(self.holder.noise)


class OfTheClass(nn.Module):
    """A generator that is an attribute of the class of a module."""

    noise: Any = None

    def forward(self, draw):
        return draw(self.noise)


class Named(nn.Module):
    """Its forward pass names a global variable."""

    def forward(self, draw):
        return draw(GLOBAL["noise"])


GLOBAL: dict[str, Any] = {}


def in_a_private_attribute(generator, draw):
    module = nn.Sequential(Private(generator))
    return lambda: module[0](draw)


def in_a_container_of_a_module(generator, draw):
    module = Nested(generator)
    return lambda: module(draw)


def in_an_object_of_a_module(generator, draw):
    module = Holding(generator)
    return lambda: module(draw)


def in_the_class_of_a_module(generator, draw):
    OfTheClass.noise = generator
    module = OfTheClass()
    return lambda: module(draw)


def in_a_global_of_a_forward_pass(generator, draw):
    GLOBAL["noise"] = generator
    module = nn.Sequential(Named())
    return lambda: module[0](draw)


def drawn_by_a_helper(draw):
    return draw(GLOBAL["noise"])


def in_a_global_of_a_helper(generator, draw):
    GLOBAL["noise"] = generator
    return lambda: drawn_by_a_helper(draw)


PLACES = [
    in_a_cell, in_a_default, in_a_list, in_a_dictionary, in_an_object, in_a_module, in_a_module_of_a_module, in_a_class,
    in_a_class_of_a_callable, in_a_class_by_a_class_method, in_a_class_by_a_static_method, in_a_private_attribute,
    in_a_container_of_a_module, in_an_object_of_a_module, in_the_class_of_a_module, in_a_global_of_a_forward_pass,
    in_a_global_of_a_helper,
]  # fmt: skip


@pytest.mark.parametrize("place", PLACES, ids=lambda place: place.__name__)
@pytest.mark.parametrize("name", OWN)
def test_generators_of_ones_own(name, place):
    make, draw = OWN[name]
    noise, twin, model, seen = place(make(), draw), make(), perceptron(), []

    def loss():
        seen.append(noise())
        return (model(X + 0.1 * seen[-1]) - Y).square().mean()

    optimizer = PAL(model.parameters())
    for _ in range(4):
        expected = draw(twin)
        seen.clear()
        optimizer.step(loss)
        assert set(seen) == {expected}, "each step takes the next number, once"


@pytest.mark.parametrize("name", ["torch.rand", "random.gauss", "numpy.random.randn"])
def test_micro_batches_draw_their_own_numbers(name):
    random.seed(0)
    np.random.seed(0)
    model = perceptron(Noisy(GLOBAL_DRAWS[name]))
    optimizer = PAL(model.parameters())
    for _ in range(3):
        SEEN.clear()
        for rows in (slice(0, 8), slice(8, 16)):
            optimizer.backward(lambda rows=rows: (model(X[rows]) - Y[rows]).square().mean() / 2)
            GLOBAL_DRAWS[name]()  # somebody draws between
        before = draws()
        optimizer.step()
        same(draws(), before)
        first, second = SEEN[:2], SEEN[2:4]
        assert first == second
        assert first[0] != first[1]


def test_numpy_is_not_needed(monkeypatch):
    for name in [name for name in sys.modules if name.partition(".")[0] == "numpy"]:
        monkeypatch.delitem(sys.modules, name)
    model = perceptron()
    PAL(model.parameters()).step(lambda: (model(X) - Y).square().mean())
    assert "numpy" not in sys.modules


def test_numbers_that_nobody_can_draw_again_are_noticed():
    model, system = perceptron(), random.SystemRandom()
    optimizer = PAL(model.parameters())

    def train():
        for _ in range(4):
            optimizer.step(lambda: (model(X) * (1 + system.random()) - Y).square().mean())

    with pytest.warns(ClosureWarning, match="not the same function each time"):
        train()


def test_an_error_gives_the_numbers_back():
    generator, model = torch.Generator().manual_seed(0), perceptron()
    optimizer = PAL(model.parameters())

    def loss():
        noise = torch.rand((), generator=generator) + random.random() + np.random.rand()
        return (model(X + noise) - Y).square().mean()

    optimizer.step(loss)
    for calls in (1, 2):
        count, moment, own = [], draws(), generator.get_state()

        def fails(calls=calls, count=count):
            count.append(1)
            value = loss()
            if len(count) == calls:
                raise KeyError
            return value

        with pytest.raises(KeyError):
            optimizer.step(fails)
        same(draws(), moment)
        assert torch.equal(generator.get_state(), own)
