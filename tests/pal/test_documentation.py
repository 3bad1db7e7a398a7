"""The examples in docstrings and in the guide are true, and every public thing has a docstring.

The recipes of the guide for frameworks and several processes are in `test_frameworks.py`.
"""

import ast
import copy
import doctest
import importlib
import inspect
import pkgutil
import re
from pathlib import Path

import guide
import pytest
import torch
from guide import assert_same_weights, block, in_order, on, run, sections, step_by_hand, trained

import pal
from pal.check import ClosureWarning
from pal.parabola import Case

MODULES = ["pal", *(module.name for module in pkgutil.walk_packages(pal.__path__, "pal."))]

needs_guide = pytest.mark.skipif(
    not guide.PATH.is_file(), reason="the guide is part of the repository, not of the wheel"
)


@pytest.mark.parametrize("name", MODULES)
def test_examples(name):
    torch.manual_seed(0)
    failed, _ = doctest.testmod(importlib.import_module(name))
    assert failed == 0


@pytest.mark.parametrize("name", MODULES)
def test_every_public_thing_is_described(name):
    module = importlib.import_module(name)
    assert module.__doc__
    for thing in vars(module).values():
        if (inspect.isclass(thing) or inspect.isfunction(thing)) and thing.__module__ == name:
            members = [thing, *(m for n, m in vars(thing).items() if inspect.isfunction(m) and n[0] != "_")]
            assert [
                each.__qualname__ for each in members if not each.__doc__ and each.__name__[0] != "_"
            ] == []


@needs_guide
def test_every_block_of_the_guide_has_a_test():
    tests = "".join(
        (Path(__file__).parent / f"test_{name}.py").read_text() for name in ("documentation", "frameworks")
    )
    blocks = [(title, number) for title, codes in sections().items() for number in range(len(codes))]
    assert len(blocks) > 15
    assert [each for each in blocks if f'block("{each[0]}", {each[1]}' not in tests] == []


@needs_guide
def test_the_guide_has_no_relative_links():
    assert [link for link in re.findall(r"\]\((.*?)\)", guide.PATH.read_text()) if "://" not in link] == []


@needs_guide
def test_plain_loop(space, capsys):
    preparation, loop = block("A training loop", 0).split("\nfor ")
    run(preparation, space)
    expected, draws = copy.deepcopy(space["model"]), torch.get_rng_state()
    code = compile("for " + loop, "guide", "exec")
    exec(code, space)
    assert re.fullmatch(r"loss \d\.\d{3}, step \d\.\d{3}, learning rate \d\.\d{3}\n", capsys.readouterr().out)
    torch.set_rng_state(draws)
    for _ in range(5):
        for batch in zip(space["inputs"].split(64), space["targets"].split(64), strict=True):
            step = step_by_hand(expected, on(*batch)).step
    assert_same_weights(space["model"], expected)
    assert float(space["line"].step) == pytest.approx(step, rel=1e-6)
    with torch.no_grad():
        logits = space["model"].eval()(space["inputs"])
    assert (logits.argmax(1) == space["targets"]).double().mean() > 0.8


@needs_guide
def test_closure_of_torch(space):
    run(block("A training loop", 0), space)
    expected, draws = copy.deepcopy(space["model"]), torch.get_rng_state()
    exec(compile(block("A training loop", 1), "guide", "exec"), space)
    torch.set_rng_state(draws)
    step_by_hand(expected, on(space["inputs"], space["targets"]))
    assert_same_weights(space["model"], expected)


@needs_guide
def test_warnings_are_quoted_as_they_are():
    rows = re.findall(
        r"^\| (the .*?|a part .*?) \|", guide.PATH.read_text().split("### The check")[1], re.MULTILINE
    )
    assert len(rows) == 6
    sources = [ast.parse(path.read_text()) for path in Path(pal.__file__).parent.glob("*.py")]
    texts = [node.value for tree in sources for node in ast.walk(tree) if isinstance(node, ast.Constant)]
    said = [text for text in texts if isinstance(text, str)]
    assert [row for row in rows if not any(text.startswith(row) for text in said)] == []


@needs_guide
def test_check_can_stop_instead_of_warning(space):
    loss = iter([1.0, 3.0, 3.0, 3.0, 3.0, 3.0, 3.0, 3.0, 3.0, 3.0, 3.0, 3.0, 3.0, 3.0, 3.0, 3.0])
    model = space["network"]()
    run(block("The check", 0), space)
    with pytest.raises(ClosureWarning, match="not the same function"):
        pal.PAL(model.parameters()).step(lambda: next(loss) * model(space["inputs"]).square().mean())


@needs_guide
@pytest.mark.parametrize("decoupled", [False, True])
def test_weight_decay_is_what_the_settings_say(space, decoupled):
    """Decoupled: the line of the loss alone, and each step of length s shrinks the weights by weight_decay s."""
    model = space["network"]()
    expected = copy.deepcopy(model)
    batch = space["inputs"], space["targets"]
    optimizer = pal.PAL(model.parameters(), mu=0.1, weight_decay=0.02, decoupled_weight_decay=decoupled)

    def with_penalty(model):
        return on(*batch)(model) + 0.01 * sum(param.square().sum() for param in model.parameters())

    old = [param.detach().clone() for param in expected.parameters()]
    step = step_by_hand(expected, on(*batch) if decoupled else with_penalty).step
    optimizer.step(lambda: on(*batch)(model))
    if decoupled:
        with torch.no_grad():
            for param, before in zip(expected.parameters(), old, strict=True):
                param -= 0.02 * step * before
    assert_same_weights(model, expected)


@needs_guide
def test_accumulation_is_the_step_of_the_whole_batch(space):
    run(block("Gradient accumulation", 0), space, seed=1)
    assert_same_weights(space["model"], trained(space, in_order(256, 5), seed=1))
    assert space["optimizer"].line.evaluations == 2 * 4


@needs_guide
def test_bfloat16(space, monkeypatch):
    """One step, as a second one would start elsewhere by the rounding of the first."""
    torch.set_default_dtype(torch.float32)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    single = guide.beginning()
    run(block("Gradient accumulation", 0), single, seed=1)
    expected = copy.deepcopy(single["model"])
    run(block("Mixed precision", 0, ("range(5)", "range(1)")), single)
    with torch.autocast("cpu", torch.bfloat16):
        right = step_by_hand(expected, on(single["inputs"], single["targets"]))
    line = single["optimizer"].line
    ours = [float(number) for number in (line.loss0, line.slope, line.loss_mu)]
    assert ours == pytest.approx(right[:3], rel=1e-3)


@needs_guide
@pytest.mark.parametrize("recipe", ["scaler.step", "unscale_ first", "overflow"])
def test_float16(recipe, space, monkeypatch):
    torch.set_default_dtype(torch.float32)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    single = guide.beginning()
    run(block("Mixed precision", 0), single)
    expected = copy.deepcopy(single["model"])
    changes = {
        "scaler.step": [],
        "unscale_ first": [("    scaler.step(", "    scaler.unscale_(optimizer)\n    scaler.step(")],
        "overflow": [("GradScaler(device)", "GradScaler(device, init_scale=2.0**40)")],
    }[recipe]
    run(block("Mixed precision", 1, ("range(5)", "range(1)"), *changes), single)
    if recipe == "overflow":
        assert single["optimizer"].cases[Case.NONFINITE] == 1
        assert single["scaler"].get_scale() == 2.0**39
        assert_same_weights(single["model"], expected, 0.0)
        return
    assert single["optimizer"].cases[Case.NONFINITE] == 0
    with torch.autocast("cpu", torch.float16):
        right = step_by_hand(expected, on(single["inputs"], single["targets"]))
    line = single["optimizer"].line
    ours = [float(number) for number in (line.loss0, line.slope, line.loss_mu)]
    assert ours == pytest.approx(right[:3], rel=1e-2)


@needs_guide
@pytest.mark.parametrize(
    "code", [block("Checkpoints", 0), block("Checkpoints", 1)] if guide.PATH.is_file() else []
)
@pytest.mark.filterwarnings("ignore:TypedStorage is deprecated")  # torch 2.6, by torch itself
@pytest.mark.filterwarnings("ignore:torch.distributed is .*assuming")  # of torch, on one process
def test_checkpoint(space, code):
    run(block("Checkpoints", 0), space)
    run(code, space)
    for _ in range(2):
        for name in ("", "resumed_"):
            model = space[name.strip("_") or "model"]
            space[name + "optimizer"].step(lambda model=model: on(space["inputs"], space["targets"])(model))
    assert_same_weights(space["resumed"], space["model"], 0.0)
    assert space["resumed_optimizer"].cases == space["optimizer"].cases


@needs_guide
def test_compiled_model(space):
    """With the backend that compiles nothing, which is quick; what PAL sees is the same."""
    run(
        block("Compiled models and CUDA graphs", 0, ("compile(model)", 'compile(model, backend="eager")')),
        space,
        seed=2,
    )
    assert_same_weights(space["model"], trained(space, in_order(256, 3), seed=2))
