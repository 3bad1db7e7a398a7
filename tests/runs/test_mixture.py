"""No table mixes devices."""

import pytest
from small_runs import short

from experiments.common.errors import UserError
from experiments.runs import mixture
from experiments.runs.finished import FinishedRun


class Made(FinishedRun):
    """A finished run that says who made it."""

    def __init__(self, device, instructions="avx2"):
        object.__setattr__(
            self,
            "info",
            {
                "provenance": {
                    "device": device,
                    "device_type": "cpu" if "EPYC" in device else "cuda",
                    "instruction_set": instructions,
                }
            },
        )


CPU, GPU = Made("AMD EPYC"), Made("NVIDIA H200")


def test_processors_with_the_same_instructions_make_one_table():
    mixture.require_one_kind("benchmark", [CPU, Made("another EPYC")])


@pytest.mark.parametrize("other", [GPU, Made("AMD EPYC", "native avx512")])
def test_a_table_of_several_kinds_is_refused_with_their_numbers(other):
    with pytest.raises(UserError, match=r"1 on cpu \(avx2\), 1 on"):
        mixture.require_one_kind("benchmark", [CPU, other])


@pytest.mark.parametrize("finished", [CPU, GPU])
@pytest.mark.parametrize("here", [None, "NVIDIA H200", "NVIDIA A100"])
def test_another_device_is_refused_before_anything_starts(monkeypatch, finished, here):
    monkeypatch.setattr("torch.cuda.is_available", lambda: here is not None)
    monkeypatch.setattr("torch.cuda.get_device_name", lambda: here)
    if here == (None if finished is CPU else "NVIDIA H200"):
        mixture.require_same_device("benchmark", [finished], [short()])
    else:
        with pytest.raises(UserError, match="FORCE=1"):
            mixture.require_same_device("benchmark", [finished], [short()])
    mixture.require_same_device("benchmark", [], [short()])
    mixture.require_same_device("benchmark", [finished], [])
