"""The exact search: how near to the minimum, at what price, and that it never goes up."""

import copy
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar

from experiments import problems
from experiments.problems import PROBLEMS
from pal import PAL
from pal.closure import BatchLoss
from pal.line import Line
from pal.search import search

finite = {"allow_nan": False, "allow_infinity": False}


class Quartic:
    """A random quartic that falls at 0, has a minimum beyond, and any scale; counts its evaluations."""

    def __init__(self, generator: np.random.Generator) -> None:
        self.coefficients = generator.normal(size=5) * (10 ** generator.uniform(-3, 3)) ** np.arange(5)
        self.coefficients[1] = -abs(self.coefficients[1])
        self.coefficients[4] = abs(self.coefficients[4])
        self.evaluations = 0

    @property
    def start(self) -> tuple[float, float]:
        """l(0) and l'(0)."""
        return self.coefficients[0].item(), self.coefficients[1].item()

    def __call__(self, s: float) -> float:
        self.evaluations += 1
        a, b, c, d, e = self.coefficients.tolist()
        return a + s * (b + s * (c + s * (d + s * e)))

    def minima(self) -> np.ndarray:
        first = np.polynomial.Polynomial(self.coefficients).deriv()
        roots = first.roots()
        roots = roots[np.abs(roots.imag) < 1e-9 * np.abs(roots)].real
        return roots[(roots > 0) & (first.deriv()(roots) > 0)]


def test_finds_minima_of_quartics_in_few_evaluations():
    generator = np.random.default_rng(0)
    errors, evaluations = [], []
    for _ in range(4_000):
        line = Quartic(generator)
        found = search(line, *line.start)
        assert found.evaluations == line.evaluations
        assert found.loss == line(found.distance) < line.start[0]
        errors.append(np.min(np.abs(found.distance / line.minima() - 1)))
        evaluations.append(found.evaluations)
    assert np.percentile(errors, 99) <= 1e-3
    assert np.median(evaluations) <= 11  # 12 with l(0)


class BatchLine:
    """The loss of a batch of a half-trained network along its negative gradient, in float64 or float32."""

    def __init__(self, problem: problems.Problem, model: torch.nn.Module, batch, dtype: torch.dtype) -> None:
        model, (x, y) = copy.deepcopy(model).to(dtype), batch
        self._batch = BatchLoss()
        loss = lambda: problem.loss(model, x.to(dtype), y)
        self.loss0 = self._batch.measure(loss).item()
        params = [param for param in model.parameters() if param.grad is not None]
        self._line = Line(params, [param.grad for param in params])
        self.slope = -float(self._line.norm)

    def __call__(self, s: float) -> float:
        self._line.move(-s)
        return self._batch.reevaluate().item()

    def minimum_near(self, s: float) -> float:
        """The local minimum that one reaches from s downhill, on a fine grid and then exactly."""
        grain = 2e-4 * s
        for way in (grain, -grain):
            while self(s + way) < self(s):
                s += way
        bounds = s - grain, s + grain
        return float(minimize_scalar(self, bounds=bounds, method="bounded", options={"xatol": 1e-7 * s}).x)


def batch_lines(name: str, lines: int, dtype: torch.dtype):
    """Pairs of a line to search and the same line in float64, evenly spread over 600 steps of PAL and of SGD."""
    problem = PROBLEMS[name]
    loader = problem.loader(problem.load(torch.device("cpu")).train, 1, 2)
    for advance in (pal_step, sgd_step):
        torch.manual_seed(0)
        model = problem.build(0)
        step = advance(model)
        wanted = set(np.linspace(0, 599, lines // 2, dtype=int).tolist())
        for t in range(600):
            batch = loader.batch(t)
            if t in wanted:
                random = torch.get_rng_state()
                exact = BatchLine(problem, model, batch, torch.float64)
                torch.set_rng_state(random)
                yield (exact if dtype == torch.float64 else BatchLine(problem, model, batch, dtype)), exact
            step(lambda model=model, batch=batch: problem.loss(model, *batch))


def pal_step(model):
    return PAL(model.parameters()).step


def sgd_step(model):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)

    def step(loss):
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()

    return step


def searched(name: str, lines: int, dtype: torch.dtype):
    """Relative errors and evaluations of the search on lines of a problem."""
    errors, evaluations = [], []
    for line, exact in batch_lines(name, lines, dtype):
        found = search(line, line.loss0, line.slope)
        assert found.loss < line.loss0
        errors.append(abs(found.distance / exact.minimum_near(found.distance) - 1))
        evaluations.append(found.evaluations)
    return errors, evaluations


def test_finds_minima_of_a_networks_lines():
    errors, evaluations = searched("digits-mlp", 30, torch.float64)
    assert np.percentile(errors, 99) <= 1e-3
    assert np.median(evaluations) <= 11


@pytest.mark.large
@pytest.mark.parametrize(
    ("dtype", "lines", "typical", "worst"),
    [(torch.float64, 250, 1e-3, 1e-3), (torch.float32, 120, 2e-3, 6e-3)],
)
def test_finds_minima_of_many_lines_of_networks(dtype, lines, typical, worst):
    """Rounding of the loss costs little."""
    tables = [searched(name, lines, dtype) for name in ("digits-mlp", "digits-cnn")]
    errors, evaluations = (np.concatenate(columns) for columns in zip(*tables, strict=True))
    assert len(errors) == 2 * lines
    assert np.percentile(errors, 90) <= typical
    assert np.percentile(errors, 99) <= worst
    assert np.median(evaluations) <= 11


KNOWN = {
    "a parabola": (lambda s: (s - 3) ** 2, -6.0, 3.0),
    "far beyond the first points": (lambda s: (s / 1e4 - 1) ** 2, -2e-4, 1e4),
    "far before the first points": (lambda s: (1e6 * s - 1) ** 2, -2e6, 1e-6),
    "a kink": (lambda s: abs(s - 1.7), -1.0, 1.7),
    "two kinks": (lambda s: max(1 - s, (s - 0.4) / 2), -1.0, 0.8),
    "flatter than a parabola": (lambda s: (s - 1) ** 4, -4.0, 1.0),
    "concave first": (lambda s: math.cos(s + 0.1), -math.sin(0.1), math.pi - 0.1),
    "hardly a slope, and concave first": (lambda s: s**4 / 4 - 2e-4 * s**2 - 6e-9 * s, -6e-9, 0.0200075),
    "falls slowly for long": (lambda s: math.exp(-s) + 0.01 * s, -0.99, math.log(100)),
    "nothing but NaN beyond": (lambda s: -math.log(1 - s) - 2 * s if s < 1 else math.nan, -1.0, 0.5),
    "infinite close by": (lambda s: -math.log(1 - 1e4 * s) - 2e4 * s if s < 1e-4 else math.inf, -1e4, 5e-5),
    "lower than any number beyond": (lambda s: (s - 1) ** 2 if s < 2 else -math.inf, -2.0, 1.0),
}


@pytest.mark.parametrize("mu", [0.01, 0.1, 1.0])
@pytest.mark.parametrize("name", KNOWN)
def test_finds_the_minimum_of(name, mu):
    loss, slope, minimum = KNOWN[name]
    found = search(loss, loss(0.0), slope, mu)
    tolerance = 2e-2 if name == "flatter than a parabola" else 1e-3
    assert found.distance == pytest.approx(minimum, rel=tolerance)
    assert found.loss == loss(found.distance)


@pytest.mark.parametrize("loss", [lambda s: -s, lambda s: math.exp(-s), lambda s: (s - 1e3) ** 2])
def test_goes_to_the_limit_of_a_line_that_falls_all_the_way(loss):
    slope = (loss(1e-7) - loss(0.0)) / 1e-7
    found = search(loss, loss(0.0), slope, mu=0.1, limit=20.0)
    assert (found.distance, found.loss) == (20.0, loss(20.0))
    assert search(loss, loss(0.0), slope, mu=30.0, limit=20.0).distance == 20.0


@pytest.mark.parametrize("limit", [20.0, math.inf])
@pytest.mark.parametrize("loss", [lambda _: 1.0, lambda s: 1 + s, lambda s: math.nan if s else 1.0])
def test_stays_where_nothing_is_lower(loss, limit):
    found = search(loss, 1.0, -1e-3, limit=limit)
    assert (found.distance, found.loss) == (0.0, 1.0)


@pytest.mark.parametrize("slope", [0.0, 1.0, math.nan, -math.inf])
@pytest.mark.parametrize("loss0", [1.0, math.nan, math.inf])
def test_measures_nothing_without_a_slope_downhill(loss0, slope):
    found = search(lambda _: pytest.fail("measured"), loss0, slope)
    assert (found.distance, found.evaluations) == (0.0, 0)


def test_stops_when_the_budget_is_spent():
    assert search(lambda s: -s, 0.0, -1.0, budget=7).evaluations == 7


@given(
    values=st.lists(
        st.floats(-10, 10, **finite) | st.just(math.nan) | st.just(math.inf), min_size=2, max_size=40
    ),
    slope=st.floats(-100, -1e-6, **finite),
    mu=st.floats(1e-6, 1e3, **finite),
    limit=st.floats(1e-6, 1e3, **finite) | st.just(math.inf),
)
def test_never_goes_up_nor_beyond_the_limit_whatever_the_line(values, slope, mu, limit):
    seen: dict[float, float] = {0.0: 0.5}

    def loss(s: float) -> float:
        seen[s] = values[hash(s) % len(values)]
        return seen[s]

    found = search(loss, 0.5, slope, mu, limit)
    assert found.loss == seen[found.distance]
    assert found.loss <= 0.5
    assert all(0 <= s <= limit for s in seen)
    assert found.evaluations <= 43  # the budget, and the last parabola
