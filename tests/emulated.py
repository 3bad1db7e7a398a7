"""CUDA graphs on the CPU: what is captured is not done, what is replayed is done again in the same memory.

As on CUDA, numbers of the host are those of the capture, tensors are known by their memory, results of a capture are
garbage before the first replay, and whoever reads a number while capturing gets an error.
"""

from contextlib import contextmanager, nullcontext

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


def tensors_in(*things):
    return [leaf for leaf in tree_leaves(things) if isinstance(leaf, torch.Tensor)]


def moment():
    """The default generator's state, in short."""
    return hash(torch.get_rng_state().numpy().tobytes())


class EmulatedGraph:
    """The operations of a capture."""

    def __init__(self):
        self.operations = []
        self.begin = self.end = 0
        self.replays = 0

    def replay(self):
        """Do everything again. Random numbers continue from where the generator is now."""
        self.replays += 1
        moments = {self.begin: torch.get_rng_state()}
        with torch.no_grad():
            for operation in self.operations:
                operation(moments)
        torch.set_rng_state(moments[self.end])


class Capture(TorchDispatchMode):
    """Notes all operations; undoes what they did at the end."""

    def __init__(self, graph):
        super().__init__()
        self.graph = graph
        self.made, self.found = {}, {}  # memory by its address: of the capture, and with contents from before
        self.generator = torch.get_rng_state()
        graph.begin = moment()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        for tensor in tensors_in(args, kwargs):
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in self.made and storage.data_ptr() not in self.found:
                self.found[storage.data_ptr()] = storage, storage.clone()
        known = {tensor.untyped_storage().data_ptr() for tensor in tensors_in(args, kwargs)}
        before = moment()
        result = function(*args, **kwargs)
        if any(isinstance(leaf, int | float) for leaf in tree_leaves(result)):
            raise RuntimeError(f"operation not permitted when stream is capturing: {function}\nmore lines")
        fresh = [tensor.untyped_storage().data_ptr() not in known for tensor in tensors_in(result)]
        for tensor in tensors_in(result):
            if tensor.untyped_storage().data_ptr() not in known | set(self.found):
                self.made[tensor.untyped_storage().data_ptr()] = tensor
        if any(fresh) or function._schema.is_mutable:
            draws = (before, moment()) if torch.Tag.nondeterministic_seeded in function.tags else None
            self.graph.operations.append(again(function, args, kwargs, result, fresh, draws))
        return result

    def undo(self):
        self.graph.end = moment()
        torch.set_rng_state(self.generator)
        for storage, contents in self.found.values():
            storage.copy_(contents)
        for tensor in self.made.values():
            if tensor.is_floating_point():
                tensor.detach().fill_(torch.nan)


def again(function, args, kwargs, result, fresh, draws):
    """One operation as a call that writes new results over the old ones."""

    def operation(moments):
        if draws is not None:
            torch.set_rng_state(moments[draws[0]])
        now = function(*args, **kwargs)
        if draws is not None:
            moments[draws[1]] = torch.get_rng_state()
        for old, new, is_fresh in zip(tensors_in(result), tensors_in(now), fresh, strict=True):
            if is_fresh:
                old.detach().copy_(new)

    return operation


class EmulatedGraphs:
    """A device that captures; `graphs` are all it has made, `kind` is what it makes."""

    def __init__(self, kind=EmulatedGraph):
        self.kind, self.graphs = kind, []

    def aside(self):
        return nullcontext()

    def graph(self):
        self.graphs.append(self.kind())
        return self.graphs[-1]

    @contextmanager
    def capturing(self, graph):
        capture = Capture(graph)
        try:
            with capture:
                yield
        finally:
            capture.undo()
