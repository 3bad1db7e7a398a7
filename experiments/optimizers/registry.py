"""All optimizers with their defaults, which a profile or `settings.NAME=VALUE` overrides."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from torch import nn

from experiments.common.registry import Registry, instance_of

Closure = Literal["forward", "backward", "none"]


@dataclass(frozen=True)
class OptimizerSpec:
    """One optimizer.

    Attributes:
        target: "module:class", imported on demand, so that a run depends on its own optimizer only; or the class.
        closure: What a step takes: a closure that runs the forward pass, one that also clears the gradients and calls
            backward, as for torch.optim.LBFGS, or none.
        settings: All hyper-parameters with their defaults. Where the default is a tuple, profiles have a list.
        fixed: Further arguments of the constructor, the same in every run.
        rate: The hyper-parameter that a schedule multiplies; None for optimizers without a learning rate.
        captured: Flags of its constructor to set where a CUDA graph captures its steps; None if its steps cannot be
            captured, because they wait for the device or compute on the host.
        params: What the constructor takes first, made of the network: named parameters, or groups; by default its
            parameters.
        steps: The argument of its constructor that takes the length of the training in steps, if there is one.
    """

    target: str | Callable[..., Any]
    closure: Closure = "none"
    settings: dict[str, Any] = field(default_factory=dict)
    fixed: dict[str, Any] = field(default_factory=dict)
    rate: str | None = None
    captured: tuple[str, ...] | None = None
    params: Callable[[nn.Module], Any] | None = None
    steps: str | None = None


PAL = {"mu": 0.1, "alpha": 1.0, "beta": 0.0, "s_max": 3.16}
SGD = {"lr": 0.1, "momentum": 0.0}
ADAM = {"lr": 1e-3, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8}
RMSPROP = {"lr": 1e-3, "alpha": 0.9}
SLS = {"n_batches_per_epoch": 500, "init_step_size": 1.0, "c": 0.1, "beta_b": 0.9, "gamma": 2.0}
ALIG = {"max_lr": None, "momentum": 0.0, "eps": 1e-5}
SGDHD = {"lr": 0.1, "momentum": 0.0, "nesterov": False, "hypergrad_lr": 1e-6}
SPS = {"n_batches_per_epoch": 500, "init_step_size": 1.0, "c": 0.5, "gamma": 2.0}
PONOS = {"c": 0.5, "c_p": 0.1, "delta": 0.5, "xi": 1.0, "max_step_size": 10.0}
LABPAL = {"mode": "nsgd", "alpha": 1.8, "h": 0.01, "reuse": 1000, "batches": 10, "average": 25}
LABPAL |= {"untrusted": 400, "s_max": 1.0}
LBFGS = {"lr": 1.0, "max_iter": 20, "history_size": 100}
WARM_UP = {"warmup_steps": 0}
IN_GRAPHS = ("capturable",)
OF_PAL = "experiments.optimizers.variants"

PAPER = {
    "pal": OptimizerSpec("pal.optimizer:PAL", "forward", PAL, captured=()),
    "sgd": OptimizerSpec("torch.optim:SGD", "none", SGD | {"momentum": 0.9}, {"nesterov": True}, "lr", ()),
    # The update direction is the momentum buffer itself, or the gradient.
    "sgd-plain": OptimizerSpec("torch.optim:SGD", "none", SGD, {}, "lr", ()),
    "adam": OptimizerSpec("torch.optim:Adam", "none", ADAM, {}, "lr", IN_GRAPHS),
    "rmsprop": OptimizerSpec("torch.optim:RMSprop", "none", RMSPROP | {"eps": 1e-8}, {}, "lr", IN_GRAPHS),
    "rmsprop-tf": OptimizerSpec(
        "pal.baselines.rmsprop:RMSPropTF", "none", RMSPROP | {"eps": 1e-10, "momentum": 0.0}, {}, "lr", ()
    ),
    # The published port has max_step_size 10, and ALI-G's numerator 1.
    "sls": OptimizerSpec("pal.baselines.sls:SLS", "forward", SLS | {"max_step_size": None}),
    "alig": OptimizerSpec("pal.baselines.alig:AliG", "forward", ALIG | {"numerator": None}),
    "sgdhd": OptimizerSpec("pal.baselines.sgdhd:SGDHD", "none", SGDHD),
    "cocob": OptimizerSpec("pal.baselines.cocob:COCOB", "none", {"alpha": 100.0, "eps": 1e-8}, captured=()),
    "exact": OptimizerSpec(
        "pal.baselines.exact:ExactLineSearch", "forward", {"mu": 0.1, "beta": 0.0, "s_max": 20.0}
    ),
}

BEYOND = {
    "adamw": OptimizerSpec("torch.optim:AdamW", "none", ADAM | {"weight_decay": 0.01}, {}, "lr", IN_GRAPHS),
    "lbfgs": OptimizerSpec(
        "pal.baselines.lbfgs:LBFGS", "forward", LBFGS, {"line_search_fn": "strong_wolfe"}, "lr"
    ),
    "prodigy": OptimizerSpec(
        "prodigyopt:Prodigy", "none", ADAM | {"lr": 1.0, "d_coef": 1.0, "weight_decay": 0.0}, {}, "lr"
    ),
    "schedulefree-sgd": OptimizerSpec(
        "schedulefree:SGDScheduleFree", "none", {"lr": 1.0, "momentum": 0.9} | WARM_UP
    ),
    "schedulefree-adamw": OptimizerSpec(
        "schedulefree:AdamWScheduleFree", "none", ADAM | {"lr": 2.5e-3, "weight_decay": 0.0} | WARM_UP
    ),
    "labpal": OptimizerSpec("pal.baselines.labpal:LABPAL", "forward", LABPAL),
    "qlabgrad": OptimizerSpec("pal.baselines.qlabgrad:QLABGrad", "forward", {"lr": 0.01}),
    "ponos": OptimizerSpec("pal.baselines.ponos:PoNoS", "forward", PONOS),
    "sps": OptimizerSpec("pal.baselines.sps:SPS", "forward", SPS),
    "decsps": OptimizerSpec("pal.baselines.sps:DecSPS", "forward", {"c": 1.0, "max_step_size": 10.0}),
    "momo": OptimizerSpec("pal.baselines.momo:MoMo", "forward", {"lr": 1.0, "beta": 0.9}, {}, "lr"),
}

VARIANTS = {
    "pal-counted-twice": OptimizerSpec(f"{OF_PAL}:CountedTwice", "forward", PAL, captured=()),
    "pal-new-masks": OptimizerSpec(f"{OF_PAL}:NewMasks", "forward", PAL),
    "pal-safeguard": OptimizerSpec(f"{OF_PAL}:Safeguarded", "forward", PAL),
    # The L2 term is outside of the searched loss, so the run has l2 = 0.
    "pal-l2-beside": OptimizerSpec(
        f"{OF_PAL}:L2OutsideLoss", "forward", PAL | {"weight_decay": 1e-4}, captured=()
    ),
}
"""PAL with one thing changed, for the study `ablation` only."""

OPTIMIZERS = Registry("optimizer", PAPER | BEYOND | VARIANTS, "OPTIMIZERS", instance_of(OptimizerSpec))
