"""Drawing the same random numbers again, on every device."""

import torch


class Randomness:
    """A moment in torch's default generators, of the CPU and of every CUDA device in use.

    >>> moment = Randomness()
    >>> first = torch.rand(3)
    >>> moment.replay()
    >>> torch.equal(torch.rand(3), first)
    True
    """

    def __init__(self) -> None:
        self._states = [(generator, generator.get_state()) for generator in generators()]

    def replay(self) -> None:
        """Put every generator back to this moment."""
        for generator, state in self._states:
            generator.set_state(state)


def generators() -> tuple[torch.Generator, ...]:
    """The default generators in use."""
    return (torch.default_generator, *(torch.cuda.default_generators if torch.cuda.is_initialized() else ()))
