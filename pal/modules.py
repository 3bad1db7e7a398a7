"""What modules remember from one forward pass to the next, and how to run them again without it."""

from typing import NamedTuple

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase  # pyright: ignore[reportPrivateUsage]


class Memory(NamedTuple):
    """A buffer at some moment: where it hangs, the tensor, its version, and its values if they may be needed."""

    slots: dict[str, Tensor | None]
    name: str
    tensor: Tensor
    version: int
    values: Tensor | None

    @classmethod
    def of(cls, slots: dict[str, Tensor | None], name: str, keep: bool) -> "Memory":
        """The buffer as it is now."""
        tensor = slots[name]
        assert tensor is not None
        return cls(slots, name, tensor, tensor._version, tensor.detach().clone() if keep else None)

    def changed(self) -> bool:
        """Whether the buffer was written or replaced since."""
        return self.slots[self.name] is not self.tensor or self.tensor._version != self.version

    def restore(self) -> None:
        """Make the buffer what it was."""
        if self.slots[self.name] is not self.tensor:
            self.slots[self.name] = self.tensor
        if self.values is not None and self.tensor._version != self.version:
            self.tensor.copy_(self.values)


class Modules:
    """Modules seen in a forward pass, with everything inside them.

    Norm layers of torch normalise by the batch in training: their running statistics are hidden in a second pass, which
    changes no output and copies nothing. Any other buffer that a forward pass changes (the power iteration of spectral
    norm, a hidden state carried along) is put back for the second pass and forward again after it.
    """

    def __init__(self) -> None:
        self._seen: set[nn.Module] = set()
        self._norms: list[nn.Module] = []
        self._buffers: list[tuple[dict[str, Tensor | None], str]] = []
        self._moving: set[tuple[int, str]] = set()
        self._memories: list[Memory] = []
        self._after: list[Memory] = []
        self._hidden: list[tuple[nn.Module, dict[str, Tensor | None]]] = []
        self._rewound = False

    def add(self, root: nn.Module) -> None:
        """Take in a module that is about to run."""
        if root in self._seen:
            return
        for module in root.modules():
            if module in self._seen:
                continue
            self._seen.add(module)
            if isinstance(module, _NormBase):
                self._norms.append(module)
                if self._rewound:
                    self._hide(module)
                continue
            slots = module._buffers  # pyright: ignore[reportPrivateUsage]
            names = [
                name for name, buffer in slots.items() if buffer is not None and not buffer.is_inference()
            ]
            self._buffers += [(slots, name) for name in names]
            self._memories += [Memory.of(slots, name, keep=True) for name in names]

    def remember(self) -> None:
        """Note the buffers before a forward pass; values only of those seen to change before."""
        self._memories = [
            Memory.of(slots, name, keep=(id(slots), name) in self._moving)
            for slots, name in self._buffers
            if name in slots and slots[name] is not None
        ]

    def rewind(self) -> None:
        """Make the modules ready to run as if the forward passes since `remember` had not been."""
        before = [memory for memory in self._memories if memory.changed()]
        self._moving |= {(id(memory.slots), memory.name) for memory in before}
        self._after = [Memory.of(memory.slots, memory.name, keep=True) for memory in before]
        for memory in before:
            memory.restore()
        self._rewound = True
        for layer in self._norms:
            self._hide(layer)

    def forward(self) -> None:
        """Undo `rewind` and every trace of what ran since."""
        for layer, slots in self._hidden:
            layer.__dict__["track_running_stats"] = True
            layer._buffers.update(slots)  # pyright: ignore[reportPrivateUsage]
        self._hidden.clear()
        self._rewound = False
        for memory in self._after:
            memory.restore()
        self._after.clear()

    def _hide(self, layer: nn.Module) -> None:
        if layer.training and layer.track_running_stats:
            buffers = layer._buffers  # pyright: ignore[reportPrivateUsage]
            self._hidden.append((layer, {name: buffers[name] for name in ("running_mean", "running_var")}))
            layer.__dict__["track_running_stats"] = False
            buffers["running_mean"] = buffers["running_var"] = None
