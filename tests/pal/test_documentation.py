"""The examples in the docstrings are true, and every public thing has a docstring."""

import doctest
import importlib
import inspect
import pkgutil

import pytest
import torch

import pal

MODULES = ["pal", *(module.name for module in pkgutil.walk_packages(pal.__path__, "pal."))]


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
