"""The bits of a training do not depend on the variables of the caller."""

import os
import subprocess
import sys

import pytest
import torch
from small_runs import short

from experiments.common import instruction_set
from experiments.common.errors import UserError
from experiments.common.paths import REPOSITORY
from experiments.runs.provenance import provenance

TRAIN = """
import sys
from experiments.common import surroundings
surroundings.settle()
import hashlib, torch
torch.set_num_threads(1)
from experiments.training.config import resolve
from experiments.training.trainer import Trainer
for problem in ("digits-cnn", "digits-mlp"):
    trainer = Trainer(resolve("single", problem=problem, optimizer="pal", steps=5))
    for _ in range(5):
        trainer.draw()
        trainer.advance()
    values = b"".join(value.numpy().tobytes() for value in trainer.model.state_dict().values())
    print(hashlib.sha256(values).hexdigest())
"""

CALLERS = [
    {"ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41", "MKL_CBWR": "AVX2"},
    {"DNNL_MAX_CPU_ISA": "AVX", "MKL_ENABLE_INSTRUCTIONS": "SSE4_2", "OMP_THREAD_LIMIT": "1"},
]


def weights(variables):
    """Hashes of weights after some steps, with these variables of the caller's."""
    environment = dict(os.environ, PYTHONPATH=str(REPOSITORY), PYTHONNOUSERSITE="1") | variables
    return subprocess.check_output([sys.executable, "-c", TRAIN], env=environment, text=True, cwd=REPOSITORY)


def test_weights_are_the_same_whatever_the_caller_has_set():
    assert len({weights(variables) for variables in CALLERS}) == 1


def test_a_run_records_its_instruction_set_and_another_than_it_asks_for_is_refused(monkeypatch):
    assert provenance(short())["instruction_set"] == instruction_set.portable()
    with pytest.raises(UserError, match="instruction_set is 'native'"):
        provenance(short(instruction_set="native"))
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    with pytest.raises(UserError, match="avx512"):
        provenance(short())


def test_the_native_set_is_what_the_processor_has(monkeypatch):
    monkeypatch.setenv("MKL_CBWR", "AVX2")
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    found = instruction_set.environment("native")
    assert "MKL_CBWR" not in found
    assert found["OMP_NUM_THREADS"] == "3"
    assert instruction_set.environment("portable").items() >= instruction_set.variables().items()
