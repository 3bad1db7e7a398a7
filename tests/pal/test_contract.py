"""What a closure may be: a loss alone, or torch's form with backward inside; plain and under frameworks."""

import copy
import logging

import pytest
import torch
from by_hand import assert_taken, by_hand, data, perceptron
from torch import nn
from torch.optim.optimizer import register_optimizer_step_post_hook

from pal import PAL

X, Y = data()


def squares(model) -> torch.Tensor:
    return (model(X) - Y).square().mean()


# -- forms of a closure ---------------------------------------------------------------------------------------


def forward_only(model, optimizer):
    return squares(model)


def cleared_before(model, optimizer):
    optimizer.zero_grad()
    return squares(model)


def cleared_before_in_place(model, optimizer):
    optimizer.zero_grad(set_to_none=False)
    return squares(model)


def cleared_by_the_model(model, optimizer):
    model.zero_grad()
    return squares(model)


def cleared_by_the_model_in_place(model, optimizer):
    model.zero_grad(set_to_none=False)
    return squares(model)


def cleared_after_the_forward_pass(model, optimizer):
    loss = squares(model)
    optimizer.zero_grad()
    return loss


def cleared_by_hand(model, optimizer):
    for param in model.parameters():
        param.grad = None
    return squares(model)


def cleared_by_hand_in_place(model, optimizer):
    for param in model.parameters():
        if param.grad is not None:
            param.grad.zero_()
    return squares(model)


def standard(model, optimizer):
    optimizer.zero_grad()
    loss = squares(model)
    loss.backward()
    return loss


def standard_in_place(model, optimizer):
    optimizer.zero_grad(set_to_none=False)
    loss = squares(model)
    loss.backward()
    return loss


def standard_by_the_model_in_place(model, optimizer):
    model.zero_grad(set_to_none=False)
    loss = squares(model)
    loss.backward()
    return loss


def standard_without_clearing(model, optimizer):
    loss = squares(model)
    loss.backward()
    return loss


def standard_with_a_detached_loss(model, optimizer):
    optimizer.zero_grad()
    loss = squares(model)
    loss.backward()
    return loss.detach()


def standard_with_a_number(model, optimizer):
    optimizer.zero_grad()
    loss = squares(model)
    loss.backward()
    return loss.item()


def standard_keeping_the_graph(model, optimizer):
    optimizer.zero_grad()
    loss = squares(model)
    loss.backward(retain_graph=True)
    return loss


def standard_if_gradients_are_enabled(model, optimizer):
    """As torch's tutorial on LBFGS writes it."""
    optimizer.zero_grad()
    loss = squares(model)
    if loss.requires_grad:
        loss.backward()
    return loss


def two_backward_passes(model, optimizer):
    optimizer.zero_grad()
    first, second = squares(model), model(X).square().mean()
    first.backward()
    second.backward()
    return (first + second).detach()


def gradients_filled_by_hand(model, optimizer):
    loss = squares(model)
    params = list(model.parameters())
    for param, g in zip(params, torch.autograd.grad(loss, params), strict=True):
        param.grad = g
    return loss.detach()


def one_element(model, optimizer):
    return squares(model).reshape(1)


def one_element_of_a_matrix(model, optimizer):
    return squares(model).reshape(1, 1)


FORMS = [
    forward_only, cleared_before, cleared_before_in_place, cleared_by_the_model, cleared_by_the_model_in_place,
    cleared_after_the_forward_pass, cleared_by_hand, cleared_by_hand_in_place, standard, standard_in_place,
    standard_by_the_model_in_place, standard_without_clearing, standard_with_a_detached_loss, standard_with_a_number,
    standard_keeping_the_graph, standard_if_gradients_are_enabled, two_backward_passes, gradients_filled_by_hand,
    one_element, one_element_of_a_matrix,
]  # fmt: skip


@pytest.mark.parametrize("beta", [0.0, 0.4])
@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.__name__)
def test_every_form_takes_the_step_of_the_loss(form, beta):
    model, plain = perceptron(nn.BatchNorm1d(4)), perceptron(nn.BatchNorm1d(4))
    loss = (
        (lambda model: squares(model) + model(X).square().mean()) if form is two_backward_passes else squares
    )
    optimizer, other = PAL(model.parameters(), beta=beta), PAL(plain.parameters(), beta=beta)
    for _ in range(4):
        right = by_hand(model, loss)
        returned = optimizer.step(lambda: form(model, optimizer))
        other.step(lambda: loss(plain))
        assert returned.shape == ()
        assert not returned.requires_grad
        assert returned.item() == pytest.approx(right.loss0, rel=1e-12)
        assert optimizer.line.evaluations == 2
        if not beta:
            assert_taken(optimizer, model, right)
        for ours, theirs in zip(model.parameters(), plain.parameters(), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-12)
            torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    "form",
    [forward_only, cleared_by_the_model, standard, standard_without_clearing],
    ids=lambda f: f.__name__,
)
def test_the_two_halves_take_every_form(form):
    model = perceptron()
    optimizer = PAL(model.parameters())
    for _ in range(3):
        right = by_hand(model, squares)
        assert optimizer.backward(lambda: form(model, optimizer)).item() == pytest.approx(right.loss0)
        optimizer.step()
        assert_taken(optimizer, model, right)


def test_gradients_after_a_step_are_those_at_the_weights_before():
    model = perceptron()
    optimizer = PAL(model.parameters(), beta=0.4, weight_decay=0.1)
    for form in (forward_only, standard):
        expected = torch.autograd.grad(squares(model), list(model.parameters()))
        optimizer.step(lambda form=form: form(model, optimizer))
        for param, g in zip(model.parameters(), expected, strict=True):
            torch.testing.assert_close(param.grad, g)


@pytest.mark.parametrize("form", [forward_only, standard_without_clearing], ids=lambda form: form.__name__)
def test_gradients_of_weights_that_belong_to_others_grow_once(form):
    """A critic behind a generator: its gradients add up, once a step, and only by the first evaluation."""
    generator, critic = perceptron(), nn.Linear(1, 1).double()
    critic.weight.grad = torch.ones_like(critic.weight)
    optimizer = PAL(generator.parameters())
    whole = nn.Sequential(generator, critic)
    expected = critic.weight.grad + torch.autograd.grad(squares(whole), critic.weight)[0]
    optimizer.step(lambda: form(whole, optimizer))
    torch.testing.assert_close(critic.weight.grad, expected)


def test_alternating_optimizers_on_one_graph():
    """Two optimizers, each with closures in its own form, as in adversarial training."""
    generator, critic = perceptron(), perceptron(seed=3)
    ours, theirs = PAL(generator.parameters(), mu=0.01), torch.optim.SGD(critic.parameters(), lr=0.01)
    for _ in range(3):
        theirs.zero_grad()
        (critic(X) - generator(X).detach()).square().mean().backward()
        theirs.step()
        before = [param.detach().clone() for param in critic.parameters()]
        right = by_hand(
            generator, lambda model: (critic(X) - model(X)).square().mean() + squares(model), mu=0.01
        )
        ours.step(lambda: (critic(X) - generator(X)).square().mean() + squares(generator))
        assert_taken(ours, generator, right)
        assert all(torch.equal(a, b) for a, b in zip(before, critic.parameters(), strict=True))


# -- what is no closure ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("result", "found"),
    [
        (None, "NoneType"),
        (0.1, "float"),
        ("0.1", "str"),
        (True, "bool"),
        ((torch.ones(()), 1), "tuple"),
        ({"loss": torch.ones(())}, "dict"),
        (torch.ones(2), r"a tensor of shape \(2,\)"),
        (torch.ones(0), r"a tensor of shape \(0,\)"),
    ],
)
def test_a_closure_returns_one_number(result, found):
    weight = torch.ones(2, requires_grad=True)
    with pytest.raises(
        TypeError, match=rf"^the closure must return the loss .*one element; it returned {found}"
    ):
        PAL([weight]).step(lambda: result)
    assert weight.tolist() == [1.0, 1.0]


@pytest.mark.parametrize(
    "closure",
    [
        lambda weight: weight.detach().square().sum(),
        lambda weight: torch.no_grad()(lambda: weight.square().sum())(),
        lambda weight: torch.ones(()),
    ],
)
def test_a_loss_without_gradient_gets_its_sentence(closure):
    weight = torch.ones(2, requires_grad=True)
    with pytest.raises(RuntimeError, match=r"^the loss returned by the closure has no gradient"):
        PAL([weight]).step(lambda: closure(weight))


def test_a_loss_of_other_weights_gets_its_sentence_every_time():
    weight, other = torch.ones(2, requires_grad=True), torch.ones(2, requires_grad=True)
    optimizer = PAL([weight])
    for _ in range(3):
        with pytest.raises(RuntimeError, match=r"^no parameter given to PAL has a gradient"):
            optimizer.step(lambda: other.sum())


def test_a_step_without_a_batch_gets_its_sentence():
    weight = torch.ones(2, requires_grad=True)
    optimizer = PAL([weight])
    for _ in range(2):
        with pytest.raises(
            RuntimeError, match=r"^PAL needs the loss twice: call step\(closure\), or backward\(closure\)"
        ):
            optimizer.step()
        optimizer.step(lambda: weight.square().sum())


@pytest.mark.parametrize("call", ["step", "step without closure", "backward"])
def test_the_optimizer_is_not_called_from_inside_of_its_closure(call):
    model = perceptron()
    optimizer = PAL(model.parameters())
    optimizer.step(lambda: squares(model))
    before = [param.detach().clone() for param in model.parameters()]

    def closure():
        if call == "step":
            optimizer.step(lambda: squares(model))
        elif call == "backward":
            optimizer.backward(lambda: squares(model))
        else:
            optimizer.step()
        return squares(model)

    for _ in range(2):
        with pytest.raises(RuntimeError, match="inside its own closure"):
            optimizer.step(closure)
        assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
    right = by_hand(model, squares)
    optimizer.step(lambda: squares(model))
    assert_taken(optimizer, model, right)


def test_another_optimizer_may_step_inside_of_a_closure():
    """An inner loop of its own."""
    model, inner = perceptron(), perceptron(seed=2)
    optimizer, other = PAL(model.parameters(), check=False), PAL(inner.parameters(), check=False)

    def closure():
        other.step(lambda: squares(inner))
        return squares(model)

    before = squares(inner).item()
    optimizer.step(closure)
    assert squares(inner).item() < before
    assert sum(other.cases.values()) >= 1


# -- frameworks -----------------------------------------------------------------------------------------------

framework = pytest.mark.filterwarnings(
    "ignore:.*does not have many workers",
    "ignore:.*number of training batches",
    "ignore:.*is deprecated",
    "ignore:.*treespec",
    "ignore:'pin_memory' argument is set as true",
    "ignore:.*litlogger",
)


@pytest.fixture
def lightning():
    module = pytest.importorskip("lightning")
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    return module


def trainer_of(lightning, **settings):
    return lightning.Trainer(
        accelerator="cpu", devices=1, precision="64-true", max_epochs=1, logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, **settings,
    )  # fmt: skip


def loader():
    return torch.utils.data.DataLoader(torch.utils.data.TensorDataset(X, Y), batch_size=4)


def trained_by_hand(batches, settings, share=1):
    """The weights after plain steps, each held to the one by hand."""
    model = perceptron(nn.Dropout(0.2))
    optimizer = PAL(model.parameters(), **settings)
    torch.manual_seed(5)
    for x, y in batches:
        optimizer.step(lambda x=x, y=y: (model(x) - y).square().mean())
    return [param.detach().clone() for param in model.parameters()]


@framework
@pytest.mark.parametrize("automatic", [True, False])
@pytest.mark.parametrize("beta", [0.0, 0.4])
def test_lightning(lightning, automatic, beta):
    class Module(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.net, self.automatic_optimization = perceptron(nn.Dropout(0.2)), automatic

        def training_step(self, batch, _):
            x, y = batch
            loss = lambda: (self.net(x) - y).square().mean()
            if automatic:
                return loss()
            return self.optimizers().step(loss)

        def on_train_start(self):
            torch.manual_seed(5)

        def configure_optimizers(self):
            return PAL(self.parameters(), beta=beta)

    module = Module()
    trainer = trainer_of(lightning)
    trainer.fit(module, loader())
    assert trainer.global_step == 4
    expected = trained_by_hand(zip(X.split(4), Y.split(4), strict=True), {"beta": beta})
    torch.testing.assert_close(
        [param.detach() for param in module.parameters()], expected, rtol=1e-9, atol=1e-12
    )


@framework
def test_lightning_in_two_halves(lightning):
    """Lightning then hands `step` a closure of its own, which does nothing."""

    class Module(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.net, self.automatic_optimization, self.lines = perceptron(), False, []

        def training_step(self, batch, _):
            optimizer, (x, y) = self.optimizers(), batch
            right = by_hand(self.net, lambda net: (net(x) - y).square().mean())
            for rows in (slice(0, 2), slice(2, 4)):
                optimizer.backward(
                    lambda rows=rows: (self.net(x[rows]) - y[rows]).square().mean() / 2, self.manual_backward
                )
            optimizer.step()
            assert_taken(self.optimizers().optimizer, self.net, right)
            self.lines.append(optimizer.line)

        def configure_optimizers(self):
            return PAL(self.parameters())

    module = Module()
    trainer_of(lightning).fit(module, loader())
    assert len(module.lines) == 4


@framework
@pytest.mark.filterwarnings("ignore:`training_step` returned `None`")
def test_lightning_skips_a_batch(lightning):
    """Its documentation: a `training_step` that returns None skips the batch."""

    class Module(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.net = perceptron()

        def training_step(self, batch, number):
            x, y = batch
            return None if number == 1 else (self.net(x) - y).square().mean()

        def configure_optimizers(self):
            return PAL(self.parameters())

    module = Module()
    trainer_of(lightning).fit(module, loader())
    batches = [batch for number, batch in enumerate(zip(X.split(4), Y.split(4), strict=True)) if number != 1]
    model = perceptron()
    optimizer = PAL(model.parameters())
    for x, y in batches:
        optimizer.step(lambda x=x, y=y: (model(x) - y).square().mean())
    torch.testing.assert_close(
        [param.detach() for param in module.parameters()], [param.detach() for param in model.parameters()]
    )


@framework
def test_fabric(lightning):
    fabric = lightning.Fabric(accelerator="cpu", devices=1, precision="64-true")
    fabric.launch()
    net = perceptron()
    model, optimizer = fabric.setup(net, PAL(net.parameters()))
    for number, (x, y) in enumerate(zip(X.split(4), Y.split(4), strict=True)):
        right = by_hand(net, lambda net, x=x, y=y: (net(x) - y).square().mean())
        if number % 2:
            loss = optimizer.step(lambda x=x, y=y: (model(x) - y).square().mean())
        else:
            for rows in (slice(0, 2), slice(2, 4)):
                optimizer.backward(
                    lambda x=x, y=y, rows=rows: (model(x[rows]) - y[rows]).square().mean() / 2,
                    fabric.backward,
                )
            loss = optimizer.step()
        assert loss.item() == pytest.approx(right.loss0, rel=1e-6), "Fabric returns float32"
        line = optimizer.line
        assert float(line.slope) == pytest.approx(right.slope, rel=1e-6)
        assert float(line.loss_mu) == pytest.approx(right.loss_mu, rel=1e-6)
        assert float(line.step) == pytest.approx(right.step, rel=1e-3)


@framework
def test_accelerate():
    accelerate = pytest.importorskip("accelerate")
    accelerator = accelerate.Accelerator(cpu=True)
    net = perceptron()
    model, optimizer = accelerator.prepare(net, PAL(net.parameters()))
    for x, y in zip(X.split(4), Y.split(4), strict=True):
        right = by_hand(net, lambda net, x=x, y=y: (net(x) - y).square().mean())
        optimizer.step(lambda x=x, y=y: (model(x) - y).square().mean())
        assert_taken(optimizer.optimizer, net, right)


def test_learning_rate_schedulers_and_hooks_pass_the_closure_on():
    model = perceptron()
    optimizer, seen = PAL(model.parameters()), []
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.5, 4)
    optimizer.register_step_pre_hook(lambda *_: seen.append("before"))
    optimizer.register_step_post_hook(lambda *_: seen.append("after"))
    for number in range(4):
        right = by_hand(model, squares, mu=0.1 * (1 - number / 8), s_max=3.16 * (1 - number / 8))
        optimizer.step(lambda: squares(model))
        schedule.step()
        assert_taken(optimizer, model, right)
    assert seen == ["before", "after"] * 4


def test_global_hooks_and_profilers_see_the_steps():
    model, seen = perceptron(), []
    optimizer = PAL(model.parameters())
    handle = register_optimizer_step_post_hook(lambda *_: seen.append("after"))
    optimizer.step(lambda: squares(model))
    handle.remove()
    with torch.profiler.profile() as profile:
        optimizer.step(lambda: squares(model))
    optimizer.step(lambda: squares(model))
    assert seen == ["after"]
    assert [each.count for each in profile.key_averages() if each.key == "Optimizer.step#PAL.step"] == [1]


def test_a_wrapper_that_copies_the_attributes_of_the_optimizer():
    """What frameworks do: methods run with the wrapper as self."""

    class Wrapper:
        def __init__(self, optimizer):
            self.__dict__.update(optimizer.__dict__)
            self.__class__ = type("Wrapped", (type(self), type(optimizer)), {})
            self.inner = optimizer

    model = perceptron()
    inner = PAL(model.parameters())
    outer = Wrapper(inner)
    for number in range(4):
        right = by_hand(model, squares)
        one, two = (inner, outer) if number % 2 else (outer, inner)
        one.backward(lambda: squares(model))
        two.step()
        assert inner.line.loss0 == outer.line.loss0
        assert_taken(inner, model, right)
    twin = copy.deepcopy(inner)
    assert twin.cases == inner.cases
