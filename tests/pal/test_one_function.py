"""Both evaluations of a step belong to one function: gradients, autocast, modes, doors and caches are the same in each.

Every kind of closure is held to a step by hand (`by_hand`), which evaluates copies and knows nothing of pal.
"""

import copy
import functools
import warnings
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from by_hand import assert_taken, by_hand, data, follow, length, moving, perceptron
from torch import nn
from torch.func import functional_call, grad, vmap
from torch.nn.functional import batch_norm, dropout, linear
from torch.nn.utils import parametrizations, parametrize
from torch.utils.checkpoint import checkpoint

from pal import PAL
from pal.check import ClosureWarning

X, Y = data()
U = 2 * data(seed=2)[0] + 1


def squares(model: nn.Module) -> torch.Tensor:
    return (model(X) - Y).square().mean()


# -- gradients inside of the closure ---------------------------------------------------------------------------


def residual_of_an_equation(model):
    x = X.clone().requires_grad_()
    (slope,) = torch.autograd.grad(model(x).sum(), x, create_graph=True)
    return (slope - x.cos()).square().mean()


def residual_of_second_order(model):
    x = X.clone().requires_grad_()
    (first,) = torch.autograd.grad(model(x).sum(), x, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), x, create_graph=True)
    return (second + x).square().mean()


def forces(model):
    positions = X.clone().requires_grad_()
    energy = model(positions).sum()
    return (-torch.autograd.grad(energy, positions, create_graph=True)[0] - U).square().mean()


def gradient_penalty(model):
    mixed = (X + torch.rand(16, 1).double() * (U - X)).requires_grad_()
    (slope,) = torch.autograd.grad(model(mixed).sum(), mixed, create_graph=True)
    return model(X).mean() - model(U).mean() + 10 * (slope.norm(dim=1) - 1).square().mean()


def per_sample_jacobian(model):
    params = dict(model.named_parameters())
    slopes = vmap(grad(lambda x: functional_call(model, params, (x,)).sum()))(X)
    return squares(model) + slopes.square().mean()


def jacobian(model):
    full = torch.autograd.functional.jacobian(lambda x: model(x).sum(0), X, create_graph=True)
    return squares(model) + full.square().sum()


def inner_step_of_meta_learning(model):
    params = dict(model.named_parameters())
    inner = (functional_call(model, params, (U,)) - 1).square().mean()
    slopes = torch.autograd.grad(inner, list(params.values()), create_graph=True)
    fast = {name: param - 0.1 * slope for (name, param), slope in zip(params.items(), slopes, strict=True)}
    return (functional_call(model, fast, (X,)) - Y).square().mean()


def adversarial_example(model):
    x = X.clone().requires_grad_()
    (slope,) = torch.autograd.grad((model(x) - Y).square().mean(), x)
    return (model(X + 0.1 * slope.sign()) - Y).square().mean()


def backward_of_an_inner_loss(model):
    x = X.clone().requires_grad_()
    (model(x) - Y).square().mean().backward(inputs=[x])
    return (model(X + x.grad) - Y).square().mean()


def hook_on_an_activation(model):
    hidden = model[0](X)
    hidden.register_hook(lambda slope: slope)
    return (model[1:](hidden) - Y).square().mean()


def targets_without_gradients(model):
    with torch.no_grad():
        targets = model(U)
    return squares(model) + (model(X) - targets).square().mean()


def targets_in_inference_mode(model):
    with torch.inference_mode():
        targets = model(U)
    return squares(model) + (model(X) - targets.clone()).square().mean()


def recomputed_activations(model):
    return (checkpoint(model, X, use_reentrant=False) - Y).square().mean()


def recomputed_activations_reentrant(model):
    return (checkpoint(model, X.clone().requires_grad_(), use_reentrant=True) - Y).square().mean()


class Halved(torch.autograd.Function):
    """x / 2, with what it needs for backward kept by hand."""

    @staticmethod
    def forward(ctx, x):
        assert ctx.needs_input_grad[0], "somebody will want the gradient"
        return x / 2

    @staticmethod
    def backward(ctx, slope):
        return slope / 2


def function_of_ones_own(model):
    return (Halved.apply(model(X)) - Y).square().mean()


def gradients_asked_for(model):
    penalty = model[0].weight.square().sum() if torch.is_grad_enabled() else 0.0
    return squares(model) + penalty


def loss_that_asks_whether_the_output_has_a_gradient(model):
    out = model(X)
    return (out - Y).square().mean() + (out.square().mean() if out.requires_grad else 0.0)


GRADIENTS = [
    residual_of_an_equation,
    residual_of_second_order,
    forces,
    gradient_penalty,
    per_sample_jacobian,
    jacobian,
    inner_step_of_meta_learning,
    backward_of_an_inner_loss,
    hook_on_an_activation,
    recomputed_activations,
    recomputed_activations_reentrant,
    function_of_ones_own,
    gradients_asked_for,
    loss_that_asks_whether_the_output_has_a_gradient,
]


@pytest.mark.parametrize("loss", GRADIENTS, ids=lambda loss: loss.__name__)
def test_gradients_inside_of_the_closure(loss):
    follow(perceptron(), loss)


@pytest.mark.filterwarnings("ignore:the gradient is not that of the closure's loss")
@pytest.mark.parametrize(
    "loss",
    [adversarial_example, targets_without_gradients, targets_in_inference_mode],
    ids=lambda loss: loss.__name__,
)
def test_targets_made_inside_of_the_closure(loss):
    """They follow the weights but have no gradient, of which the check may say a word."""
    follow(perceptron(), loss)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.filterwarnings("ignore:enable_nested_tensor:UserWarning")
@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors:UserWarning")
def test_transformers_take_no_other_path_at_the_probe(training):
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.1, batch_first=True)
    encoder = nn.TransformerEncoder(layer, 2).double().train(training)
    x, y = torch.randn(4, 5, 8).double(), torch.randn(4, 8).double()
    padded = torch.zeros(4, 5, dtype=torch.bool)
    padded[:3, 3:] = True
    follow(encoder, lambda model: (model(x, src_key_padding_mask=padded).mean(1) - y).square().mean())


def test_attention_takes_no_other_path_at_the_probe():
    torch.manual_seed(0)
    attention, x = (
        nn.MultiheadAttention(8, 2, batch_first=True).double().eval(),
        torch.randn(4, 5, 8).double(),
    )
    follow(attention, lambda model: (model(x, x, x, need_weights=False)[0] - 1).square().mean())


@pytest.mark.parametrize("around", [torch.no_grad, torch.enable_grad])
def test_the_gradient_mode_around_the_step_does_not_matter(around):
    model = perceptron()
    optimizer = PAL(model.parameters())
    for _ in range(3):
        right = by_hand(model, gradients_asked_for)
        with around():
            optimizer.step(lambda: gradients_asked_for(model))
            assert torch.is_grad_enabled() == (around is torch.enable_grad)
        assert_taken(optimizer, model, right)


# -- autocast --------------------------------------------------------------------------------------------------


def whole_step(optimizer, loss):
    with torch.autocast("cpu", torch.bfloat16):
        optimizer.step(loss)


def whole_step_without_cache(optimizer, loss):
    with torch.autocast("cpu", torch.bfloat16, cache_enabled=False):
        optimizer.step(loss)


def first_half(optimizer, loss):
    with torch.autocast("cpu", torch.bfloat16):
        optimizer.backward(loss)
    optimizer.step()


def second_half_only(optimizer, loss):
    optimizer.backward(loss)
    with torch.autocast("cpu", torch.bfloat16):
        optimizer.step()


def halves_of_different_kinds(optimizer, loss):
    with torch.autocast("cpu", torch.bfloat16):
        optimizer.backward(loss)
    with torch.autocast("cpu", torch.float16):
        optimizer.step()


def micro_batches_of_different_kinds(optimizer, loss):
    with torch.autocast("cpu", torch.bfloat16):
        optimizer.backward(lambda: loss() / 2)
    optimizer.backward(lambda: loss() / 2)
    optimizer.step()


def inside(optimizer, loss):
    def closure():
        with torch.autocast("cpu", torch.bfloat16):
            return loss()

    optimizer.step(closure)


@pytest.mark.parametrize(
    "way",
    [
        whole_step,
        whole_step_without_cache,
        first_half,
        second_half_only,
        halves_of_different_kinds,
        micro_batches_of_different_kinds,
        inside,
    ],
    ids=lambda way: way.__name__,
)
def test_the_probe_runs_under_the_autocast_of_the_measurement(way):
    model, types = perceptron().float(), []

    def loss():
        out = model(X.float())
        types.append(out.dtype)
        return (out.float() - Y.float()).square().mean()

    optimizer = PAL(model.parameters(), mu=0.3, check=False)
    for _ in range(2):
        start = copy.deepcopy(model)
        types.clear()
        way(optimizer, loss)
        first, second = types[: len(types) // 2], types[len(types) // 2 :]
        assert first == second
        with torch.no_grad():
            for param, g in zip(moving(start), [p.grad for p in model.parameters()], strict=True):
                param += float(optimizer.line.slope) ** -1 * 0.3 * g
        fresh = 0.0
        for kind in set(first):
            with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=kind != torch.float32):
                fresh += (start(X.float()).float() - Y.float()).square().mean().item() / len(set(first))
        assert float(optimizer.line.loss_mu) == pytest.approx(fresh, abs=1e-5), (
            "casts of the old weights were kept"
        )
    assert not torch.is_autocast_enabled("cpu")


# -- train and eval modes --------------------------------------------------------------------------------------


def pseudo_labels(model):
    model.eval()
    with torch.no_grad():
        labels = model(U)
    model.train()
    return squares(model) + 0.1 * (model(U) - labels).square().mean()


def leaves_eval_mode_behind(model):
    model.train()
    loss = squares(model)
    model.eval()
    return loss


def toggles(model):
    loss = squares(model)
    model.train(not model.training)
    return loss


def frozen_statistics(model):
    model.train()
    model[1].eval()
    return squares(model)


def dropout_kept_on(model):
    model.eval()
    for layer in model:
        if isinstance(layer, nn.Dropout):
            layer.train()
    return squares(model)


def mode_of_one_layer_set_by_hand(model):
    model[1].training = not model[1].training
    return squares(model)


MODES = [
    pseudo_labels,
    leaves_eval_mode_behind,
    toggles,
    frozen_statistics,
    dropout_kept_on,
    mode_of_one_layer_set_by_hand,
]


@pytest.mark.filterwarnings("ignore:the gradient is not that of the closure's loss")  # labels have none
@pytest.mark.parametrize("loss", MODES, ids=lambda loss: loss.__name__)
def test_modes_are_those_of_the_first_evaluation(loss):
    model = perceptron(nn.BatchNorm1d(4), nn.Dropout(0.2))
    squares(model)  # statistics that are not the first ones
    optimizer = PAL(model.parameters())
    for _ in range(3):
        twin = copy.deepcopy(model)
        right = by_hand(model, loss)
        optimizer.step(lambda: loss(model))
        assert_taken(optimizer, model, right)
        loss(twin)
        assert [m.training for m in model.modules()] == [m.training for m in twin.modules()]


# -- doors by which a model is entered -------------------------------------------------------------------------


class Scaled(nn.Module):
    """Divides the error by a running scale, which the forward pass updates."""

    def __init__(self):
        super().__init__()
        self.net = perceptron()
        self.register_buffer("scale", torch.ones((), dtype=torch.float64))
        self.register_buffer("batches", torch.zeros((), dtype=torch.long))

    def loss(self, x, y):
        error = (self.net(x) - y).square().mean()
        with torch.no_grad():
            self.scale.mul_(0.5).add_(1.0)
            self.batches += 1
        return error / self.scale

    forward = loss

    @property
    def current(self):
        return self.loss(X, Y)


@dataclass
class Trainer:
    """Holds a model as trainers do."""

    model: Any

    def training_step(self):
        return self.model.loss(X, Y)

    def __call__(self):
        return self.training_step()


class Slotted:
    """An object without a dictionary of attributes."""

    __slots__ = ("model",)

    def __init__(self, model):
        self.model = model

    def compute(self):
        return self.model.loss(X, Y)


def generator_of(model):
    yield model.loss(X, Y)


def nested(model):
    def outer():
        def inner():
            return model.loss(X, Y)

        return inner()

    return outer


def deep(model, levels=30):
    """A model that no search by levels finds."""
    holder = Trainer(model)
    for _ in range(levels):
        holder = Trainer(holder)
    return holder


def dig(holder):
    while isinstance(holder, Trainer):
        holder = holder.model
    return holder


@functools.lru_cache(1)
def registry() -> dict[str, Any]:
    """Where a model hides behind a call."""
    return {}


def hidden(model):
    registry()["model"] = model
    return lambda: registry()["model"].loss(X, Y)


GLOBAL: dict[str, nn.Module] = {}


def through_a_global(model):
    GLOBAL["model"] = model
    return lambda: GLOBAL["model"].loss(X, Y)


DOORS = {
    "call": lambda model: lambda: model(X, Y),
    "forward": lambda model: lambda: model.forward(X, Y),
    "another method": lambda model: lambda: model.loss(X, Y),
    "a property": lambda model: lambda: model.current,
    "a bound method": lambda model: functools.partial(model.loss, X, Y),
    "a method taken before": lambda model: (lambda method: lambda: method(X, Y))(model.loss),
    "its class": lambda model: lambda: Scaled.loss(model, X, Y),
    "getattr": lambda model: lambda: getattr(model, "lo" + "ss")(X, Y),
    "a default argument": lambda model: lambda model=model: model.loss(X, Y),
    "a keyword default": lambda model: lambda *, model=model: model.loss(X, Y),
    "a list": lambda model: (lambda models: lambda: models[0].loss(X, Y))([model]),
    "a dictionary": lambda model: (lambda models: lambda: models["model"].loss(X, Y))({"model": model}),
    "a tuple in a dictionary": lambda model: (lambda models: lambda: models["a"][1].loss(X, Y))(
        {"a": (1, model)}
    ),
    "a comprehension": lambda model: lambda: sum(each.loss(X, Y) for each in [model]),
    "a generator": lambda model: lambda: next(generator_of(model)),
    "a nested function": nested,
    "a trainer's method": lambda model: Trainer(model).training_step,
    "a callable object": Trainer,
    "an object's attribute": lambda model: (lambda holder: lambda: holder.model.loss(X, Y))(Trainer(model)),
    "an object with slots": lambda model: (lambda holder: lambda: holder.compute())(Slotted(model)),
    "a global variable": through_a_global,
    "deep inside of objects": lambda model: (lambda holder: lambda: dig(holder).loss(X, Y))(deep(model)),
    "a decorated function": lambda model: functools.wraps(squares)(lambda: model.loss(X, Y)),
    "a partial of a partial": lambda model: functools.partial(functools.partial(Scaled.loss, model, X), Y),
    "a wrapper module": lambda model: (lambda outer: lambda: outer(X, Y))(nn.DataParallel(model)),
}


@pytest.mark.parametrize("door", DOORS)
def test_doors_of_a_model(door):
    model = Scaled()
    follow(model, lambda model: model.loss(X, Y), closure=DOORS[door](model))
    assert model.batches == 3


class Own(nn.Module):
    """Batch norm that is not torch's class."""

    def __init__(self, features):
        super().__init__()
        self.register_buffer("running_mean", torch.zeros(features).double())
        self.register_buffer("running_var", torch.ones(features).double())

    def forward(self, x):
        return batch_norm(x, self.running_mean, self.running_var, training=self.training)


def scripted(model):
    return torch.jit.script(model)


def traced(model):
    return torch.jit.trace(model, X, check_trace=False)


def exported(model):
    return torch.export.export(model, (X,)).module()


def symbolically_traced(model):
    return torch.fx.symbolic_trace(model)


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:FutureWarning")
@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")
@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
@pytest.mark.parametrize(
    "form", [scripted, traced, exported, symbolically_traced], ids=lambda form: form.__name__
)
@pytest.mark.parametrize("norm", [nn.BatchNorm1d, Own], ids=["torch's norm", "own norm"])
def test_statistics_of_models_in_another_form(form, norm):
    usual = perceptron(norm(4).double())
    model = form(copy.deepcopy(usual))
    with torch.no_grad():
        for name, value in model.named_buffers():
            value.copy_(usual.get_buffer(name))  # tracing runs the forward pass
    optimizer = PAL(model.parameters())
    for _ in range(3):
        right = by_hand(usual, squares)
        optimizer.step(lambda: squares(model))
        for name, value in usual.named_buffers():
            wanted = right.state[name]
            torch.testing.assert_close(dict(model.named_buffers())[name], wanted, rtol=1e-9, atol=1e-9)
            value.copy_(wanted)
        assert float(optimizer.line.loss_mu) == pytest.approx(right.loss_mu, rel=1e-9)
        with torch.no_grad():
            for param, moved in zip(usual.parameters(), model.parameters(), strict=True):
                param.copy_(moved)


def test_functional_call_with_weights_and_buffers_of_ones_own():
    net = nn.Sequential(
        parametrizations.spectral_norm(nn.Linear(3, 4)), nn.BatchNorm1d(4), nn.Linear(4, 1)
    ).double()
    params = {name: p.detach().clone().requires_grad_() for name, p in net.named_parameters()}
    buffers = {name: buffer.clone() for name, buffer in net.named_buffers()}
    optimizer = PAL(list(params.values()))
    for _ in range(3):
        right = {name: buffer.clone() for name, buffer in buffers.items()}
        with torch.no_grad():
            functional_call(net, (params, right), (X,))
        optimizer.step(lambda: (functional_call(net, (params, buffers), (X,)) - Y).square().mean())
        torch.testing.assert_close(buffers, right, rtol=1e-12, atol=1e-12)


def test_an_ensemble_by_vmap():
    members = [perceptron(seed=seed) for seed in range(3)]
    params, _ = torch.func.stack_module_state(members)
    skeleton = copy.deepcopy(members[0]).to("meta")
    optimizer = PAL(list(params.values()))
    losses = [
        optimizer.step(
            lambda: (
                (vmap(lambda p: functional_call(skeleton, p, (X,)), randomness="same")(params) - Y)
                .square()
                .mean()
            )
        ).item()
        for _ in range(10)
    ]
    assert losses == sorted(losses, reverse=True)


def test_modules_that_join_later_count_from_their_first_step():
    body, teacher, head = perceptron()[:2], perceptron(nn.BatchNorm1d(4))[:2].requires_grad_(False), Scaled()
    out = nn.Linear(4, 1).double()
    optimizer = PAL([*body.parameters(), *out.parameters()])
    for epoch in range(6):
        if epoch == 4:
            optimizer.add_param_group({"params": head.parameters()})

        def loss(epoch=epoch):
            total = (out(body(X)) - Y).square().mean()
            if epoch >= 2:
                total = total + 0.1 * (body(X) - teacher(X)).square().mean()
            return total + head(X, Y) if epoch >= 4 else total

        optimizer.step(loss)
        assert teacher[1].num_batches_tracked == max(0, epoch - 1)
        assert head.batches == max(0, epoch - 3)


def test_a_module_that_first_runs_in_the_second_evaluation_counts_with_the_first():
    """Its batch is none: nothing of the probe may stay."""
    model, late, calls = perceptron(), Scaled(), []

    def loss():
        calls.append(1)
        extra = late(X, Y).detach() * 0 if len(calls) % 2 == 0 else 0.0
        return squares(model) + extra

    PAL(model.parameters(), check=False).step(loss)
    assert late.batches == 0
    assert late.scale == 1


def test_modules_that_nobody_could_find_are_noticed_and_may_be_named():
    """A method of a model behind a call of a library: the closure does not name it, and no call of torch passes by."""
    model = Scaled()
    closure = hidden(model)

    def train():
        for _ in range(3):
            PAL(model.parameters()).step(closure)

    with pytest.warns(ClosureWarning, match=r"not the same function each time.*modules="):
        train()
    for modules in (model, [perceptron(), model]):
        optimizer = PAL(model.parameters(), modules=modules)
        for _ in range(3):
            right = by_hand(model, lambda model: model.loss(X, Y))
            optimizer.step(closure)
            assert_taken(optimizer, model, right)


# -- what is kept from the weights -----------------------------------------------------------------------------


class KeptByVersion(nn.Linear):
    """Uses a copy made of its weight, renewed whenever the weight was written."""

    version = None

    def forward(self, x):
        if self.version != self.weight._version:
            self.version, self.copied = self.weight._version, self.weight.detach().tanh()
        return linear(x, self.weight + (self.copied - self.weight).detach(), self.bias)


class KeptByPlaceAndVersion(KeptByVersion):
    """The same in a dictionary, as libraries for low precision keep it."""

    def __init__(self, *args):
        super().__init__(*args)
        self.cache = {}

    def forward(self, x):
        key = self.weight.data_ptr(), self.weight._version
        if key not in self.cache:
            self.cache.clear()
            self.cache[key] = self.weight.detach().tanh()
        return linear(x, self.weight + (self.cache[key] - self.weight).detach(), self.bias)


def kept_anew(model):
    """A copy that knows nothing of what was kept."""
    twin = copy.deepcopy(model)
    twin[0].version = None
    getattr(twin[0], "cache", {}).clear()
    return twin


@pytest.mark.filterwarnings("ignore:the gradient is not that of the closure's loss")  # straight-through
@pytest.mark.parametrize("settings", [{}, {"foreach": False}, {"beta": 0.4}])
@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float64, 1e-9), (torch.float32, 1e-4), (torch.bfloat16, 0.1)]
)
@pytest.mark.parametrize("kind", [KeptByVersion, KeptByPlaceAndVersion])
def test_caches_that_hang_on_the_version_of_a_weight(kind, dtype, tolerance, settings):
    torch.manual_seed(0)
    model, x, y = nn.Sequential(kind(3, 4), nn.Tanh(), nn.Linear(4, 1)).to(dtype), X.to(dtype), Y.to(dtype)
    loss = lambda model: (model(x) - y).square().mean()
    optimizer = PAL(model.parameters(), mu=0.3, **settings)
    for step in range(3):
        right = by_hand(kept_anew(model), loss, mu=0.3)
        optimizer.step(lambda: loss(model))
        if step == 0 or not settings.get("beta"):
            assert float(optimizer.line.loss_mu) == pytest.approx(right.loss_mu, rel=tolerance, abs=tolerance)


@pytest.mark.parametrize("parametrization", [parametrizations.weight_norm, parametrizations.orthogonal])
def test_parametrizations_kept_around_a_step(parametrization):
    model = perceptron()
    parametrization(model[0])
    optimizer = PAL(model.parameters())
    for _ in range(3):
        right = by_hand(model, squares)
        with parametrize.cached():
            optimizer.step(lambda: squares(model))
            assert squares(model).item() < right.loss0, "after the step, too, the weight is computed anew"
        assert_taken(optimizer, model, right)


def evaluated(model, buffers):
    """The loss, and the buffers after it, from buffers of before; the model's own stay."""
    own = {name: buffer.clone() for name, buffer in model.named_buffers()}
    for name, buffer in model.named_buffers():
        buffer.copy_(buffers[name])
    with torch.no_grad():
        loss = squares(model).item()
    after = {name: buffer.clone() for name, buffer in model.named_buffers()}
    for name, buffer in model.named_buffers():
        buffer.copy_(own[name])
    return loss, after


@pytest.mark.parametrize("norm", ["weight_norm", "spectral_norm"])
def test_norms_by_hooks(norm):
    model, mu = perceptron(), 0.1
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        getattr(nn.utils, norm)(model[0])
    optimizer = PAL(model.parameters(), mu=mu)
    for _ in range(3):
        buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
        origin = [param.detach().clone() for param in model.parameters()]
        loss0, after = evaluated(model, buffers)
        assert optimizer.step(lambda: squares(model)).item() == pytest.approx(loss0, rel=1e-12)
        torch.testing.assert_close(dict(model.named_buffers()), after, rtol=1e-12, atol=1e-12)
        norm_of_gradient = length([param.grad for param in model.parameters()])
        moved = [param.detach().clone() for param in model.parameters()]
        with torch.no_grad():
            for param, start in zip(model.parameters(), origin, strict=True):
                param.copy_(start - mu / norm_of_gradient * param.grad)
        assert float(optimizer.line.loss_mu) == pytest.approx(evaluated(model, buffers)[0], rel=1e-9)
        with torch.no_grad():
            for param, end in zip(model.parameters(), moved, strict=True):
                param.copy_(end)


@pytest.mark.parametrize("kind", [nn.RNN, nn.LSTM, nn.GRU])
def test_recurrent_layers_with_dropout(kind):
    torch.manual_seed(0)
    layer, x = kind(3, 4, num_layers=2, dropout=0.2).double(), torch.randn(5, 2, 3).double()
    follow(layer, lambda layer: (layer(x)[0] - 1).square().mean())


@pytest.mark.parametrize("in_place", [True, False])
def test_dropout_of_hidden_units(in_place):
    follow(
        perceptron(),
        lambda model: (model[1:](dropout(model[:1](X), 0.3, inplace=in_place)) - Y).square().mean(),
    )
