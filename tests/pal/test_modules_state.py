"""What modules keep between batches counts each batch once, in whatever place and by whatever way it is written.

Each case is held to a step by hand: one forward pass of a copy at the present weights says what the state must be, and
another copy in the state of before, what the loss at the probe must be.
"""

import copy
import gc
import warnings
import weakref
from collections import Counter, OrderedDict, defaultdict, deque
from typing import ClassVar

import pytest
import torch
from by_hand import assert_taken, by_hand, data, follow, moving, perceptron
from torch import nn
from torch.nn.functional import batch_norm
from torch.nn.utils import parametrizations

from pal import PAL

X, Y = data()
STRAIGHT_THROUGH = "ignore:the gradient is not that of the closure's loss"


def squares(model: nn.Module) -> torch.Tensor:
    return (model(X) - Y).square().mean()


# -- buffers, by the way in which they are written ------------------------------------------------------------


class Running(nn.Module):
    """Divides by a running scale of its input, updated before it is used."""

    def __init__(self, columns: int = 4):
        super().__init__()
        self.register_buffer("scale", torch.ones(columns, dtype=torch.float64))
        self.register_buffer("calls", torch.zeros((), dtype=torch.long))

    def forward(self, x):
        self.write(0.5 * self.scale + x.detach().abs().mean(0))
        self.calls += 1
        return x / self.scale.clone()

    def write(self, value):
        raise NotImplementedError


class InPlace(Running):
    def write(self, value):
        with torch.no_grad():
            self.scale.copy_(value)


class ThroughData(Running):
    """No version counter moves."""

    def write(self, value):
        self.scale.data.copy_(value)


class Replaced(Running):
    def write(self, value):
        self.scale = value


class ReplacedInTheDictionary(Running):
    def write(self, value):
        self._buffers["scale"] = value


class DataReplaced(Running):
    def write(self, value):
        self.scale.data = value.clone()


class Set(Running):
    def write(self, value):
        with torch.no_grad():
            self.scale.set_(value.clone())


class ThroughNumpy(Running):
    """Native code writes to the memory itself."""

    def write(self, value):
        self.scale.numpy()[:] = value.numpy()


class ThroughDlpack(Running):
    def write(self, value):
        torch.utils.dlpack.from_dlpack(torch.utils.dlpack.to_dlpack(self.scale)).copy_(value)


class ThroughAView(Running):
    def write(self, value):
        self.scale.detach().view(2, 2).copy_(value.view(2, 2))


class ByUntrackedAddress(Running):
    """As C++ extensions do."""

    def write(self, value):
        import ctypes

        ctypes.memmove(self.scale.data_ptr(), value.contiguous().data_ptr(), 32)


class Preserved(Running):
    """Under a context that keeps the version counter where it is."""

    def write(self, value):
        with torch.no_grad(), torch.autograd._unsafe_preserve_version_counter(self.scale):
            self.scale.copy_(value)


class Resized(Running):
    """A memory that grows with each batch."""

    def __init__(self):
        super().__init__()
        self.register_buffer("memory", torch.zeros(0, 4, dtype=torch.float64))

    def write(self, value):
        rows = len(self.memory)
        with torch.no_grad():
            self.memory.resize_(rows + 1, 4)
            self.memory[rows] = value
            self.scale.copy_(self.memory.mean(0) + 1)


class Concatenated(Running):
    def __init__(self):
        super().__init__()
        self.register_buffer("memory", torch.zeros(0, 4, dtype=torch.float64))

    def write(self, value):
        self.memory = torch.cat([self.memory, value[None]])
        self.scale = self.memory.mean(0) + 1


class Queue(Running):
    """A queue of keys with a pointer, as contrastive learning keeps it."""

    def __init__(self):
        super().__init__()
        self.register_buffer("keys", torch.ones(5, 4, dtype=torch.float64))
        self.register_buffer("pointer", torch.zeros(1, dtype=torch.long))

    def write(self, value):
        place = int(self.pointer)
        self.keys[place] = value
        self.pointer[0] = (place + 1) % 5
        self.scale.copy_(self.keys.mean(0))


class NoneAtFirst(Running):
    def __init__(self):
        super().__init__()
        self.register_buffer("scale", None)

    def forward(self, x):
        mean = x.detach().abs().mean(0) + 1
        self.scale = mean if self.scale is None else 0.5 * self.scale + mean
        self.calls += 1
        return x / self.scale


class RegisteredOnTheWay(Running):
    def __init__(self):
        super().__init__()
        del self.scale

    def forward(self, x):
        if not hasattr(self, "scale"):
            self.register_buffer("scale", torch.ones(4, dtype=torch.float64))
        return super().forward(x)

    def write(self, value):
        self.scale.copy_(value)


class NotSaved(Running):
    def __init__(self):
        super().__init__()
        del self.scale
        self.register_buffer("scale", torch.ones(4, dtype=torch.float64), persistent=False)

    def write(self, value):
        self.scale.copy_(value)


class InInferenceMode(Running):
    """The running scale becomes an inference tensor."""

    def write(self, value):
        with torch.inference_mode():
            scale = 0.5 * self.scale + value
        self.scale = scale.clone()


class Deleted(Running):
    """Goes to another name for good."""

    def forward(self, x):
        if "scale" in self._buffers:
            first = self.scale
            del self.scale
            self.register_buffer("other", first)
        self.other = 0.5 * self.other + x.detach().abs().mean(0)
        self.calls += 1
        return x / self.other


class OfAnotherDtype(Running):
    """Takes another dtype and back."""

    def write(self, value):
        self.scale = value.float() if self.scale.dtype is torch.float64 else value.double()


class BecomesNone(Running):
    """A value that is used up by the next batch."""

    def forward(self, x):
        factor = 2.0 if self.scale is None else 1.0
        self.scale = None if self.scale is not None else x.detach().mean(0)
        self.calls += 1
        return x * factor


class DetachedInPlace(Running):
    """The state has a graph for a moment."""

    def write(self, value):
        self.scale = value
        self.scale.detach_()


BUFFERS = [
    Deleted, OfAnotherDtype, BecomesNone,
    InPlace, ThroughData, Replaced, ReplacedInTheDictionary, DataReplaced, Set, ThroughNumpy,
    ThroughDlpack, ThroughAView, ByUntrackedAddress, Preserved, Resized, Concatenated, Queue,
    NoneAtFirst, RegisteredOnTheWay, NotSaved, InInferenceMode, DetachedInPlace,
]  # fmt: skip


@pytest.mark.parametrize("kind", BUFFERS, ids=lambda kind: kind.__name__)
def test_buffers(kind):
    model = perceptron(kind())
    follow(model, squares, steps=4)
    assert model[1].calls == 4


@pytest.mark.parametrize(
    "dtype", [torch.bool, torch.uint8, torch.int16, torch.long, torch.float16, torch.complex128]
)
def test_buffers_of_every_dtype(dtype):
    class Counting(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("seen", torch.zeros(4, dtype=dtype))

        def forward(self, x):
            if dtype is torch.bool:
                self.seen.logical_not_()
            else:
                self.seen += 1
            return x + 0.1 * self.seen.real.double()

    follow(perceptron(Counting()), squares, steps=4)


@pytest.mark.parametrize(
    "buffer",
    [
        torch.zeros(4, 6, dtype=torch.float64).t(),
        torch.zeros(8, 6, dtype=torch.float64)[::2, 1:4],
        torch.zeros(1, 4, 3, 2, dtype=torch.float64).to(memory_format=torch.channels_last),
        torch.zeros((), dtype=torch.float64),
        torch.zeros(0, 3, dtype=torch.float64),
        torch.zeros(1, dtype=torch.float64).expand(4),
    ],
    ids=["transposed", "strided", "channels_last", "number", "empty", "expanded"],
)
def test_buffers_of_every_layout(buffer):
    class Adding(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer(
                "total",
                buffer.clone(memory_format=torch.preserve_format) if buffer.is_contiguous() else buffer,
            )

        def forward(self, x):
            with torch.no_grad():
                if any(stride == 0 for stride in self.total.stride()):
                    self.total = (self.total[:1] + 1).expand(4)
                else:
                    self.total += 1
            return x + 0.1 * self.total.sum()

    follow(perceptron(Adding()), squares)


FOREIGN = {
    "sparse": lambda: torch.eye(4).to_sparse(),
    "sparse by rows": lambda: torch.eye(4).to_sparse_csr(),
    "nested": lambda: torch.nested.nested_tensor([torch.zeros(2), torch.zeros(3)]),
    "nested and jagged": lambda: torch.nested.nested_tensor(
        [torch.zeros(2), torch.zeros(3)], layout=torch.jagged
    ),
    "conjugate": lambda: torch.zeros(3, dtype=torch.complex64).conj(),
    "negative": lambda: torch.zeros(3, dtype=torch.complex64).conj().imag,
    "of eight bits": lambda: torch.zeros(4).to(torch.float8_e4m3fn),
    "on no device": lambda: torch.zeros(3, device="meta"),
    "of inference mode": lambda: torch.inference_mode()(torch.zeros)(3),
    "for mkldnn": lambda: torch.zeros(4).to_mkldnn(),
}


@pytest.mark.filterwarnings("ignore:.*(Sparse CSR|nested tensors):UserWarning")
@pytest.mark.parametrize("role", ["buffer", "frozen weight", "attribute"])
@pytest.mark.parametrize("name", FOREIGN)
def test_tensors_of_other_kinds_do_no_harm(name, role):
    tensor = FOREIGN[name]()
    model = perceptron(nn.BatchNorm1d(4))
    optimizer = PAL(model.parameters(), beta=0.4)
    if role == "buffer":
        model.register_buffer("extra", tensor)
    elif role == "frozen weight":
        model.extra = nn.Parameter(tensor, requires_grad=False)
    else:
        model.extra = tensor
    losses = [optimizer.step(lambda: squares(model)).item() for _ in range(4)]
    assert losses[-1] < losses[0]
    assert model[1].num_batches_tracked == 4


def test_a_buffer_of_two_modules():
    first, second = InPlace(), InPlace()
    second.scale = first.scale
    model = perceptron(first, second)
    assert model[1].scale is model[2].scale
    follow(model, squares)


# -- layers whose statistics are their own business -----------------------------------------------------------


class BatchRenorm(nn.BatchNorm1d):
    """Its training forward reads the running statistics."""

    def forward(self, x):
        if not self.training:
            return super().forward(x)
        mean, var = x.mean(0), x.var(0, unbiased=False)
        r = (var.sqrt() / (self.running_var + self.eps).sqrt()).clamp(1 / 3, 3).detach()
        d = ((mean - self.running_mean) / (self.running_var + self.eps).sqrt()).clamp(-5, 5).detach()
        with torch.no_grad():
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(var, self.momentum)
            self.num_batches_tracked += 1
        return ((x - mean) / (var + self.eps).sqrt() * r + d) * self.weight + self.bias


class StatisticsRead(nn.BatchNorm1d):
    """Adds a term of the statistics that batch norm has just written."""

    def forward(self, x):
        return super().forward(x) + 0.1 * self.running_mean


class OwnNorm(nn.Module):
    """Batch norm around torch's function."""

    def __init__(self):
        super().__init__()
        self.register_buffer("running_mean", torch.zeros(4))
        self.register_buffer("running_var", torch.ones(4))

    def forward(self, x):
        return batch_norm(x, self.running_mean, self.running_var, training=self.training) + self.running_var


class StatisticsAsAttributes(nn.Module):
    """Running statistics that are no buffers: a plain tensor, and a number."""

    def __init__(self):
        super().__init__()
        self.mean, self.count = torch.zeros(4, dtype=torch.float64), 0

    def forward(self, x):
        self.mean = self.mean + 0.1 * (x.detach().mean(0) - self.mean)
        self.count += 1
        return x - self.mean + 0.01 * self.count


class StatisticsInPlaceAsAttributes(StatisticsAsAttributes):
    def forward(self, x):
        self.mean.lerp_(x.detach().mean(0), 0.1)
        self.count += 1
        return x - self.mean + 0.01 * self.count


class Hidden(nn.Module):
    """A hidden state of several tensors in a tuple, which starts as None."""

    def __init__(self):
        super().__init__()
        self.cell, self.state = nn.LSTMCell(4, 4), None

    def forward(self, x):
        h, c = self.cell(x, self.state)
        self.state = h.detach(), c.detach()
        return h


class Listed(nn.Module):
    """A history in a container."""

    def __init__(self, container, add):
        super().__init__()
        self.history, self.add = container, add

    def forward(self, x):
        self.add(self.history, x.detach().mean())
        values = self.history.values() if isinstance(self.history, dict) else self.history
        return x + 0.1 * sum(values)


class DataDependentBranch(nn.Module):
    """Warm-up: another function in the first calls."""

    def __init__(self):
        super().__init__()
        self.step = 0

    def forward(self, x):
        self.step += 1
        return x * min(1.0, self.step / 3)


LAYERS = {
    "batch norm": lambda: nn.BatchNorm1d(4),
    "batch norm with a cumulative average": lambda: nn.BatchNorm1d(4, momentum=None),
    "batch norm of two batches": lambda: nn.Sequential(nn.BatchNorm1d(4), nn.BatchNorm1d(4)),
    "batch renorm": lambda: BatchRenorm(4),
    "batch norm whose statistics are read": lambda: StatisticsRead(4),
    "own batch norm": OwnNorm,
    "spectral norm": lambda: parametrizations.spectral_norm(nn.Linear(4, 4)),
    "attributes": StatisticsAsAttributes,
    "attributes in place": StatisticsInPlaceAsAttributes,
    "hidden state": Hidden,
    "warm-up": DataDependentBranch,
    "a list": lambda: Listed([], list.append),
    "a list written in place": lambda: Listed(
        [0.0], lambda history, mean: history.__setitem__(0, history[0] + mean)
    ),
    "a deque": lambda: Listed(deque(maxlen=2), deque.append),
    "a set": lambda: Listed(set(), lambda history, _: history.add(len(history))),
    "a dictionary": lambda: Listed(
        {"sum": 0.0}, lambda history, mean: history.update(sum=history["sum"] + mean)
    ),
    "a dictionary that grows": lambda: Listed(
        {}, lambda history, mean: history.setdefault(len(history), mean)
    ),
    "a counter": lambda: Listed(Counter(), lambda history, _: history.update(["calls"])),
    "an ordered dictionary": lambda: Listed(
        OrderedDict(), lambda history, mean: history.setdefault(len(history), mean)
    ),
    "a default dictionary": lambda: Listed(defaultdict(int), count_up),
}


def count_up(history, _):
    history["calls"] += 1


def plain_state(module: nn.Module):
    """Attributes that are state, as numbers."""
    kinds = (bool, int, float, tuple, list, dict, set, deque, torch.Tensor)
    return [
        {
            name: list(value) if isinstance(value, set | deque) else copy.deepcopy(value)
            for name, value in vars(each).items()
            if name[0] != "_" and isinstance(value, kinds)
        }
        for each in module.modules()
    ]


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", LAYERS)
def test_layers(name, training):
    torch.manual_seed(0)
    model = perceptron(LAYERS[name]()).train(training)
    optimizer = PAL(model.parameters())
    for _ in range(4):
        twin = copy.deepcopy(model)
        right = by_hand(model, squares)
        optimizer.step(lambda: squares(model))
        assert_taken(optimizer, model, right)
        with torch.no_grad():
            squares(twin)
        torch.testing.assert_close(plain_state(model), plain_state(twin), rtol=1e-12, atol=1e-12)


@pytest.mark.filterwarnings(STRAIGHT_THROUGH)  # the scale has no gradient
def test_a_layer_used_twice_in_a_forward_pass_counts_twice():
    shared = InPlace()
    model = perceptron(shared, nn.Linear(4, 4), shared)
    follow(model, squares)
    assert shared.calls == 6


# -- codebooks, quantisation, metrics -------------------------------------------------------------------------


class Codebook(nn.Module):
    """Nearest code, straight-through; the codes follow the batch by a moving average, written through `.data`."""

    def __init__(self):
        super().__init__()
        self.register_buffer(
            "codes", torch.randn(4, 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
        )
        self.register_buffer("size", torch.ones(4, dtype=torch.float64))
        self.register_buffer("sums", self.codes.clone())

    def forward(self, z):
        index = torch.cdist(z.detach(), self.codes).argmin(1)
        q = self.codes[index]
        if self.training:
            hot = nn.functional.one_hot(index, 4).to(z)
            self.size.data.lerp_(hot.sum(0), 0.2)
            self.sums.data.lerp_(hot.t() @ z.detach(), 0.2)
            self.codes.data.copy_(self.sums / (self.size + 1e-5)[:, None])
        return z + (q - z).detach() + 0.25 * (z - q.detach())


@pytest.mark.filterwarnings(STRAIGHT_THROUGH)
def test_codebooks_follow_the_batch_once():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 3), Codebook(), nn.Linear(3, 1)).double()
    follow(model, squares)


@pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore::UserWarning", "ignore::FutureWarning", STRAIGHT_THROUGH
)
@pytest.mark.parametrize("fused", [True, False])
def test_quantisation_aware_training(fused):
    """Its observers are not torch.nn's; fused, the forward pass reads running_var in training."""
    quantization = pytest.importorskip("torch.ao.quantization")
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3)
    ).train()
    net = quantization.fuse_modules_qat(net, [["0", "1", "2"]]) if fused else net
    net.qconfig = quantization.get_default_qat_qconfig("fbgemm")
    net = quantization.prepare_qat(net)
    x, y = torch.randn(16, 1, 8, 8), torch.randint(3, (16,))
    optimizer, losses = PAL(net.parameters()), []
    for _ in range(12):
        twin = copy.deepcopy(net)
        twin(x)
        losses.append(optimizer.step(lambda: nn.functional.cross_entropy(net(x), y)).item())
        for name, value in twin.named_buffers():
            torch.testing.assert_close(dict(net.named_buffers())[name], value, msg=name)
    assert losses[-1] < 0.7 * losses[0]


def test_metrics_see_the_batch_once():
    torchmetrics = pytest.importorskip("torchmetrics")
    metric = torchmetrics.Accuracy(task="multiclass", num_classes=3, average="micro")
    mean = torchmetrics.MeanMetric()
    listing = torchmetrics.CatMetric()
    torch.manual_seed(0)
    net, x, y = nn.Linear(4, 3), torch.randn(8, 4), torch.randint(3, (8,))
    optimizer, losses = PAL(net.parameters()), []

    def loss():
        z = net(x)
        value = nn.functional.cross_entropy(z, y)
        metric.update(z.detach(), y)
        mean.update(value.detach())
        listing.update(value.detach())
        return value

    for step in range(1, 4):
        losses.append(optimizer.step(loss))
        assert int(metric.tp + metric.fn) == 8 * step
        torch.testing.assert_close(mean.compute(), torch.stack(losses).mean())
        torch.testing.assert_close(listing.compute().reshape(-1), torch.stack(losses))


# -- weights that the forward pass itself writes ---------------------------------------------------------------


class Momentum(nn.Module):
    """A key encoder without gradients follows the query encoder inside of forward."""

    def __init__(self, written):
        super().__init__()
        self.query, self.key = (
            perceptron(nn.BatchNorm1d(4)),
            perceptron(nn.BatchNorm1d(4), seed=1).requires_grad_(False),
        )
        self.written = written

    def forward(self, x):
        with torch.no_grad():
            for ours, theirs in zip(self.key.parameters(), self.query.parameters(), strict=True):
                self.written(ours, 0.9 * ours + 0.1 * theirs)
            key = self.key(x)
        return self.query(x) - key - 1


def in_place(ours, value):
    ours.copy_(value)


def through_data(ours, value):
    ours.data.copy_(value)


def data_replaced(ours, value):
    ours.data = value


@pytest.mark.filterwarnings(STRAIGHT_THROUGH)  # keys have no gradient
@pytest.mark.parametrize("written", [in_place, through_data, data_replaced], ids=lambda each: each.__name__)
@pytest.mark.parametrize("given", ["all parameters", "those that move"])
def test_momentum_encoders_follow_once(written, given):
    model = Momentum(written)
    optimizer = PAL(model.parameters() if given == "all parameters" else moving(model))
    for _ in range(3):
        right = by_hand(model, squares)
        optimizer.step(lambda: squares(model))
        assert_taken(optimizer, model, right)


@pytest.mark.filterwarnings(STRAIGHT_THROUGH)
def test_a_mean_teacher_outside_of_the_model_follows_once():
    student, teacher = perceptron(), perceptron(seed=1).requires_grad_(False)
    optimizer = PAL(student.parameters())

    def loss():
        with torch.no_grad():
            for ours, theirs in zip(teacher.parameters(), student.parameters(), strict=True):
                ours.lerp_(theirs, 0.1)
        return squares(student) + (student(X) - teacher(X)).square().mean()

    for _ in range(3):
        right = [
            0.9 * t + 0.1 * s.detach()
            for t, s in zip(teacher.parameters(), student.parameters(), strict=True)
        ]
        optimizer.step(loss)
        torch.testing.assert_close([t.detach() for t in teacher.parameters()], right, rtol=1e-12, atol=1e-12)


class ActNorm(nn.Module):
    """Sets its weights from the first batch."""

    def __init__(self, flag):
        super().__init__()
        self.loc, self.scale = nn.Parameter(torch.zeros(4)), nn.Parameter(torch.ones(4))
        self.flag = flag
        if flag == "buffer":
            self.register_buffer("initialized", torch.tensor(0))
        else:
            self.initialized = False

    def forward(self, x):
        if self.training and not self.initialized:
            with torch.no_grad():
                self.loc.data.copy_(-x.mean(0))
                self.scale.copy_(1 / x.std(0))
                if self.flag == "buffer":
                    self.initialized.fill_(1)
                else:
                    self.initialized = True
        return (x + self.loc) * self.scale


@pytest.mark.parametrize("flag", ["buffer", "attribute"])
def test_initialisation_from_the_first_batch(flag):
    """l(mu) of the first step belongs to the weights so set."""
    model = perceptron(ActNorm(flag))
    twin = copy.deepcopy(model)
    twin(X)
    right = by_hand(twin, squares)
    optimizer = PAL(model.parameters())
    for _ in range(3):
        optimizer.step(lambda: squares(model))
        assert float(optimizer.line.loss0) == pytest.approx(right.loss0, rel=1e-9)
        assert float(optimizer.line.loss_mu) == pytest.approx(right.loss_mu, rel=1e-9)
        right = by_hand(model, squares)


def test_weights_clipped_by_the_forward_pass():
    """The measured line starts at the clipped weights."""

    class Clipped(nn.Linear):
        def forward(self, x):
            with torch.no_grad():
                self.weight.clamp_(-0.3, 0.3)
            return super().forward(x)

    torch.manual_seed(0)
    model = nn.Sequential(Clipped(3, 4), nn.Tanh(), nn.Linear(4, 1)).double()
    optimizer = PAL(model.parameters(), mu=0.01)
    for _ in range(4):
        right = by_hand(model, squares, mu=0.01)
        optimizer.step(lambda: squares(model))
        assert float(optimizer.line.loss0) == pytest.approx(right.loss0, rel=1e-9)
        assert float(optimizer.line.slope) == pytest.approx(right.slope, rel=1e-9)
        for seen, wanted in zip(model.parameters(), right.weights, strict=True):
            torch.testing.assert_close(seen.detach(), wanted, rtol=1e-5, atol=1e-5)


def test_lazy_modules_take_their_shape_in_the_first_step():
    torch.manual_seed(0)
    model = nn.Sequential(nn.LazyLinear(4), nn.LazyBatchNorm1d(), nn.Tanh(), nn.LazyLinear(1)).double()
    optimizer = PAL(model.parameters())
    losses = [optimizer.step(lambda: squares(model)).item() for _ in range(5)]
    assert losses == sorted(losses, reverse=True)
    assert model[1].num_batches_tracked == 5


# -- what may not stay ----------------------------------------------------------------------------------------


class WrittenAtTheProbe(nn.Module):
    """State that only a second evaluation writes."""

    calls: ClassVar[list[int]] = []

    def __init__(self):
        super().__init__()
        self.register_buffer("seen", torch.zeros(()))
        self.attribute, self.history = 0, []

    def forward(self, x):
        self.calls.append(1)
        if len(self.calls) % 2 == 0:
            self.seen += 1
            self.attribute += 1
            self.history.append(1)
            self.register_buffer("late", torch.ones(2))
            self.extra = 3
        return x


def test_what_only_the_second_evaluation_writes_does_not_stay():
    model = perceptron(WrittenAtTheProbe())
    WrittenAtTheProbe.calls.clear()
    PAL(model.parameters(), check=False).step(lambda: squares(model))
    layer = model[1]
    assert (float(layer.seen), layer.attribute, layer.history) == (0.0, 0, [])
    assert not hasattr(layer, "late")
    assert not hasattr(layer, "extra")


def test_modules_that_nobody_uses_any_more_are_given_back():
    student = perceptron()
    copies = []
    optimizer, other = PAL(student.parameters()), PAL(student.parameters())

    def taught(teacher):
        optimizer.step(lambda: squares(student) + teacher(X).detach().mean())
        return weakref.ref(teacher)

    held = taught(perceptron(nn.BatchNorm1d(4), seed=1))

    def copied():
        fast = copy.deepcopy(student)
        copies.append(weakref.ref(fast))
        return squares(student) + 0 * fast(X).sum()

    for _ in range(3):
        optimizer.step(lambda: squares(student))
        other.step(copied)
    gc.collect()
    assert held() is None
    assert [reference() for reference in copies] == [None] * len(copies)


def test_steps_work_without_the_garbage_collector():
    """Nothing is kept in circles: memory is given back at once."""
    student = perceptron(nn.BatchNorm1d(4))
    optimizer = PAL(student.parameters())
    for _ in range(6):
        optimizer.step(lambda: squares(student))
    gc.collect()
    gc.disable()
    try:
        for _ in range(3):
            optimizer.step(lambda: squares(student))
        assert not any(isinstance(each, torch.Tensor) for each in uncollected())
    finally:
        gc.enable()


def uncollected():
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        gc.collect()
        return list(gc.garbage)
    finally:
        gc.set_debug(0)
        gc.garbage.clear()


def test_an_ema_model_of_torch_counts_once():
    student = perceptron()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        average = torch.optim.swa_utils.AveragedModel(student)
    optimizer = PAL(student.parameters())

    def loss():
        average.update_parameters(student)
        return squares(student)

    for step in range(1, 4):
        optimizer.step(loss)
        assert average.n_averaged == step
