"""Tables of simulated studies in which the truth is known: one problem each, so that a claim judges all at once."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from experiments.results.claims import benchmark, exactness, fullbatch
from experiments.results.claims.evidence import Evidence, Missing
from experiments.results.claims.registry import all_claims

CLAIMS = {claim.id: claim for claim in all_claims()}
LINES = 40
STEPS = 2000


class Made(Evidence):
    """Evidence from tables in memory; 10,000 examples in each test set."""

    def __init__(self, tables):
        super().__init__("quick")
        object.__setattr__(self, "tables", tables)

    def table(self, study, name):
        if (study, name) not in self.tables:
            raise Missing(f"there is no table {study}/{name}.csv")
        return self.tables[study, name]

    def examples(self, problem, split):
        return 10_000


@dataclass(frozen=True)
class Draw:
    """The trainings of all studies, and the values that their tables are to have."""

    random: np.random.Generator
    studies: int
    n: int
    effects: tuple
    sd: float
    claim: object = field(repr=False)

    def trainings(self, **columns):
        names = np.repeat([f"s{study:04d}" for study in range(self.studies)], self.n)
        return pd.DataFrame({"problem": names, "seed": np.tile(np.arange(self.n), self.studies)} | columns)

    def values(self, part=0):
        """One value per training: the effect of a part, with a spread in proportion to its smallest one of interest."""
        sd = self.sd
        if self.claim.parts:
            sd *= self.smallest(part) / self.smallest(0)
        return self.random.normal(self.effects[part], sd, self.studies * self.n)

    def smallest(self, part):
        return self.claim.criterion_of(self.claim.parts[part]).smallest

    def noise(self, sd):
        return self.random.normal(0.0, sd, self.studies * self.n)


def runs(draw, study, methods, kind="loss", column="method", **same):
    """Runs of several methods with these scores: log10 losses, or accuracies."""
    parts = []
    for method, scores in methods.items():
        one = draw.trainings(setting="", status="completed", final_data_loss=0.01, **same).assign(
            **{column: method}
        )
        accuracy = scores if kind == "accuracy" else 0.9
        parts.append(
            one.assign(
                final_train_loss=10**scores if kind == "loss" else 0.1,
                final_val_accuracy_reestimated=accuracy,
                test_accuracy_reestimated=accuracy,
            )
        )
    return {(study, "runs"): pd.concat(parts, ignore_index=True)}


def rivals(study, kind, names, first="pal", **same):
    """PAL against rivals, each with values of its own."""

    def make(draw):
        base = draw.noise(0.01) + (0.9 if kind == "accuracy" else -1.0)
        sign = -1 if kind == "accuracy" else 1
        others = {name: base + sign * draw.values(place) for place, name in enumerate(names)}
        return runs(draw, study, {first: base} | others, kind, **same)

    return make


def surpassed(names):
    """Loss and accuracy of PAL and rivals in one table."""

    def make(draw):
        base = draw.noise(0.02)
        others = {"pal": (base - 1, base + 0.9)}
        for place, name in enumerate(names):
            others[name] = (base - 1 + draw.values(place), base + 0.9 - draw.values(len(names) + place))
        tables = [
            runs(draw, "benchmark", {name: loss})["benchmark", "runs"].assign(
                test_accuracy_reestimated=accuracy
            )
            for name, (loss, accuracy) in others.items()
        ]
        return {("benchmark", "runs"): pd.concat(tables, ignore_index=True)}

    return make


def directions(kind):
    def make(draw):
        sign = -1 if kind == "accuracy" else 1
        methods = {}
        for place, pair in enumerate(exactness.DIRECTIONS.values()):
            base = draw.noise(0.01) + (0.9 if kind == "accuracy" else -1.0)
            methods |= dict(zip(pair, (base, base + sign * draw.values(place)), strict=True))
        return runs(draw, "exactness", methods, kind)

    return make


def swept(study, column, values, **same):
    """Accuracies over a hyper-parameter, of which the first value differs from the others by the effect."""

    def make(draw):
        scores = {value: 0.9 + draw.noise(draw.sd / np.sqrt(2)) for value in values}
        scores[values[0]] = scores[values[0]] + draw.effects[0]
        return runs(draw, study, scores, "accuracy", column, **same)

    return make


def lined(table):
    """Lines of the study `lines` made by a function of the draw, repeated over the lines of a training."""

    def make(draw):
        trainings = draw.trainings(mu=0.1, part="even", uninformative=0)
        lines = trainings.loc[trainings.index.repeat(LINES)].reset_index(drop=True)
        return {("lines", "lines"): lines.assign(**table(draw, len(lines)))}

    return make


def fractions(column, yes, no):
    return lined(lambda draw, count: {column: np.where(draw.random.random(count) < draw.effects[0], yes, no)})


def searched(log_ratio):
    """Lines with alpha = 1 on which PAL's step is so far from the minimum."""

    def make(draw):
        trainings = draw.trainings(alpha=1.0, case=0, exact=2.0)
        lines = trainings.assign(step=2.0 * np.exp(log_ratio(draw.values())))
        return {("adaptation", "lines"): lines.loc[lines.index.repeat(4)].assign(at=0)}

    return make


def strategies(draw):
    """Lines of SGD on which each strategy improves the same share of the optimum."""
    pairs = list(fullbatch.ORDER.values()) if len(draw.effects) == 3 else None
    parts = []
    for half in range(2):
        exact = np.full(draw.studies * draw.n, 0.3)
        pal = exact + draw.values(0 if pairs else half)
        shares = {"optimum": np.ones_like(exact), "pal": pal, "exact": exact}
        if pairs:
            shares |= {"sgd-0.05": pal + draw.values(1), "sgd-0.1": exact - draw.values(2)}
        for name, share in shares.items():
            whole = draw.trainings(momentum=0.0, strategy=name, improvement=share)
            parts += [whole.assign(at=half * 20 + at) for at in range(20)]
    if pairs:  # the same shares in both halves
        parts = [part.assign(at=part["at"] % 20) for part in parts[: len(parts) // 2]]
    return {("fullbatch", "strategies"): pd.concat(parts, ignore_index=True)}


def interpolating(draw):
    base = draw.noise(0.1) - 2
    methods = {"pal": base} | {name: base + draw.values(place) for place, name in enumerate(("sgd", "sls"))}
    tables = runs(draw, "interpolation", methods)
    return {name: table.assign(final_data_loss=table["final_train_loss"]) for name, table in tables.items()}


def scheduled(draw):
    """Curves of PAL and of SGD with several settings, which stay the same distance apart."""
    entries = {("pal", ""): np.zeros(draw.studies * draw.n)}
    entries |= {("sgd", f"lr={place}"): draw.values(place) for place in range(len(draw.effects))}
    parts = [
        draw.trainings(method=method, setting=setting, step=step, train_loss=10 ** (-1 - step / 100 + gap))
        for (method, setting), gap in entries.items()
        for step in (25, 50, 100)
    ]
    made = runs(draw, "horizon", {"pal": np.zeros(draw.studies * draw.n)})
    return made | {("horizon", "curves"): pd.concat(parts, ignore_index=True)}


def grids(draw):
    """Six settings of each method; the best is 0.9, and the mean is so far below."""
    lost = {"pal": np.full(draw.studies * draw.n, 0.02)}
    lost |= {name: 0.02 + draw.values() for name in ("sgd", "adam", "sls")}
    lost["adam"] = lost["sls"] = lost["sgd"]
    parts = [
        draw.trainings(method=name, setting=str(place), status="completed", phase="selection").assign(
            final_val_accuracy_reestimated=0.9 - (loss * 6 / 5 if place else 0)
        )
        for name, loss in lost.items()
        for place in range(6)
    ]
    return {("benchmark", "runs"): pd.concat(parts, ignore_index=True)}


def rates(draw):
    """Rates that start at 1, peak in the middle and end lower."""
    peak = 10 ** draw.values(0)
    parts = [
        draw.trainings(method="pal", setting="", twentieth=place, mean_rate=rate)
        for place, rate in ((0, np.ones_like(peak)), (10, peak), (19, peak / 10 ** draw.values(1)))
    ]
    made = runs(draw, "benchmark", {"pal": np.full(len(peak), -2.0)})
    return made | {("benchmark", "rates"): pd.concat(parts, ignore_index=True)}


def timed(draw):
    base = np.exp2(draw.noise(0.1))
    tables = runs(draw, "benchmark", dict.fromkeys(("pal", "sgd"), np.full(len(base), -2.0)))
    table = tables["benchmark", "runs"]
    seconds = np.concatenate([base * np.exp2(draw.values(0)), base])
    return {("benchmark", "runs"): table.assign(seconds_per_step=seconds)}


def ablated(draw, variants, **same):
    """Runs of the study ablation from one frame per variant."""
    whole = {"mu": 0.1, "steps": STEPS, "dtype": "float32", "reference": "pal", "status": "completed"}
    whole |= {"final_data_loss": 0.01, "final_train_loss": 0.1, "final_val_accuracy_reestimated": 0.9}
    whole |= {"normal_fraction": 1.0}
    parts = [draw.trainings(**whole | {"variant": name} | columns) for name, columns in variants]
    return {("ablation", "runs"): pd.concat(parts, ignore_index=True).assign(**same)}


def variant(name):
    """A variant with loss and accuracy apart from its reference."""

    def make(draw):
        reference = name.partition("-")[0]
        changed = {
            "final_train_loss": 0.1 * 10 ** draw.values(0),
            "final_val_accuracy_reestimated": 0.9 + draw.values(1),
        }
        return ablated(draw, [(reference, {}), (name, changed)], reference=reference)

    return make


def normal(draw):
    mus = (0.1, 0.316, 1.0)
    counts = [draw.random.binomial(STEPS, draw.effects[part], draw.studies * draw.n) for part in range(3)]
    return ablated(
        draw, [("pal", {"mu": mu, "normal_fraction": n / STEPS}) for mu, n in zip(mus, counts, strict=True)]
    )


def lost_cases(name, **columns):
    def make(draw):
        fewer = columns | {"normal_fraction": 0.9 - draw.values()}
        return ablated(draw, [("pal", {"normal_fraction": 0.9}), (name, fewer)])

    return make


def low_precision(draw):
    changed = {"dtype": "bfloat16", "final_val_accuracy_reestimated": 0.9 + draw.values()}
    return ablated(draw, [("pal", {}), ("pal", changed)])


def refused(draw):
    return ablated(draw, [("pal-safeguard", {"refused_fraction": np.clip(1 - draw.values(), 0, 1)})])


SIZES = (8, 16, 32, 64, 128)


def sized(improvement, distance=lambda value, size: 0.0):
    """Lines of batches of several sizes; improvement of PAL and of SGD, distance of the batch minimum."""

    def make(draw):
        values = draw.values() if draw.sd else whole_doublings(draw)
        parts = []
        for size in SIZES:
            pal, sgd = improvement(values, size)
            shares = {"optimum": 1.0, "pal": pal, "sgd-0.1": sgd, "exact": 0.5}
            parts += [
                draw.trainings(
                    size=size, strategy=name, improvement=share, distance=distance(values, size), at=0
                )
                for name, share in shares.items()
            ]
        return {("batchsize", "strategies"): pd.concat(parts, ignore_index=True)}

    return make


def whole_doublings(draw):
    """-1, 0 or 1 around the effect, with a standard deviation of 0.57."""
    steps = draw.random.choice([-1, 0, 1], p=[0.16, 0.68, 0.16], size=draw.studies * draw.n)
    return draw.effects[0] + steps


def first_useful(values, size):
    """PAL is useful from 16 on, SGD from so many doublings more."""
    return np.full(len(values), 1.0 if size >= 16 else -1.0), np.where(size >= 16 * 2.0**values, 1.0, -1.0)


def cells(column):
    """Loss and a column of networks with numbers of images, with a rank correlation."""

    def make(draw):
        pearson = 2 * np.sin(np.pi * np.tanh(draw.effects[0]) / 6)
        loss, other = draw.random.normal(size=(2, draw.studies * draw.n))
        table = draw.trainings(images=64).rename(columns={"seed": "cell"})
        names = table["problem"] + "-net" + table["cell"].astype(str)
        linked = pearson * loss + np.sqrt(1 - pearson**2) * other
        columns = {"final_train_loss": np.exp(loss), "rate_ratio": linked, "gap": linked} | {column: linked}
        return {("capacity", "runs"): table.assign(problem=names, seed=0, **columns)}

    return make


@dataclass(frozen=True)
class Simulation:
    """How a claim is simulated.

    Attributes:
        make: From a draw to tables.
        n: Trainings per problem that are planned.
        sd: Spread of a value, where it is not the largest that the planned n allows.
    """

    make: Callable
    n: int = 8
    sd: float | None = None


def _both_losses(names):
    return Simulation(rivals("benchmark", "loss", names), 10)


SIMULATIONS = {
    "lines-convex": Simulation(fractions("hull_distance", 0.005, 0.05), 5),
    "parabola-fit": Simulation(fractions("fit_error", 0.01, 0.2), 5),
    "lines-parabolic": Simulation(
        lined(lambda draw, count: {"improvement_fraction": np.repeat(draw.values(), LINES)}), 5
    ),
    "narrow-parabolas": Simulation(searched(lambda value: value)),
    "alpha-exact": Simulation(searched(lambda value: -(value + np.log(1.25)) / 2)),
    "alpha-robust": Simulation(swept("adaptation", "alpha", (0.8, 1.0, 1.25))),
    "exact-loss": Simulation(directions("loss")),
    "exact-accuracy": Simulation(directions("accuracy")),
    "beta": Simulation(rivals("exactness", "loss", ["pal"], "pal-adapted")),
    "fullbatch-pal": Simulation(strategies, 5),
    "fullbatch-order": Simulation(strategies, 5),
    "interpolation": Simulation(interpolating, 5),
    "horizon": Simulation(scheduled, 6),
    "loss-scheduled": _both_losses(benchmark.SCHEDULED),
    "loss-constant": _both_losses(benchmark.CONSTANT),
    "accuracy-scheduled": Simulation(rivals("benchmark", "accuracy", benchmark.SCHEDULED), 10),
    "accuracy-constant": Simulation(rivals("benchmark", "accuracy", benchmark.CONSTANT), 10),
    **{f"surpasses-{name}": Simulation(surpassed((name,)), 10) for name in benchmark.STEP_SIZES},
    "surpasses-all": Simulation(surpassed(benchmark.STEP_SIZES), 10),
    "rate-shape": Simulation(rates, 10),
    "cost": Simulation(timed, 10),
    "sensitivity": Simulation(grids),
    "normal-case": Simulation(normal),
    "mu-robust": Simulation(
        swept("ablation", "mu", (0.1, 0.316, 1.0), variant="pal", dtype="float32", steps=STEPS)
    ),
    "bfloat16-cases": Simulation(lost_cases("pal", dtype="bfloat16")),
    "bfloat16-accuracy": Simulation(low_precision),
    "new-masks-cases": Simulation(lost_cases("pal-new-masks")),
    "safeguard-idle": Simulation(refused),
    **{
        name: Simulation(variant(changed))
        for name, changed in {
            "statistics-twice": "pal-counted-twice",
            "new-masks": "pal-new-masks",
            "l2-beside": "pal-l2-beside",
            "safeguard": "pal-safeguard",
            "unshuffled": "pal-unshuffled",
            "alig-numerator": "alig-numerator",
        }.items()
    },
    "batchsize-growth": Simulation(
        sized(lambda value, size: (1 + value * np.log2(size / 128), np.full(len(value), 0.1))), 5
    ),
    "batchsize-sensitivity": Simulation(sized(first_useful), 5, 0.0),
    "batchsize-overshoot": Simulation(
        sized(lambda value, size: (1.0, 1.0), lambda value, size: value * np.log2(size)), 5
    ),
    "capacity-rate": Simulation(cells("rate_ratio"), 15, 1.0),
    "capacity-gap": Simulation(cells("gap"), 15, 1.0),
}
