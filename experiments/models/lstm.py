"""The character network of DeepOBS: embedding, two LSTM layers of 128 units, softmax over the vocabulary.

Each row of characters starts from a zero state, so that every evaluation of a batch is the same function. The
published code carries the state over from one evaluation to the next, so that l(mu) and l(0) belong to different
functions. Glorot initialisation as in TensorFlow, forget bias 1, no dropout.
"""

import math

import torch
from torch import Tensor, nn

from experiments.models.init import glorot_dense

UNITS = 128


class CharacterLSTM(nn.Module):
    """Characters [B, T] to logits [B, T, vocabulary]."""

    def __init__(self, vocabulary: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, UNITS)
        self.lstm = nn.LSTM(UNITS, UNITS, num_layers=2, batch_first=True)
        self.dense = nn.Linear(UNITS, vocabulary)

    def forward(self, characters: Tensor) -> Tensor:
        """Logits of the next character at every position."""
        return self.dense(self.lstm(self.embedding(characters))[0])


def character_lstm(shape: tuple[int, ...], outputs: int) -> nn.Module:  # noqa: ARG001
    """The network for a vocabulary of `outputs` characters."""
    model = CharacterLSTM(outputs)
    nn.init.xavier_uniform_(model.embedding.weight)
    glorot_dense(model.dense)
    with torch.no_grad():
        for name, parameter in model.lstm.named_parameters():
            if name.startswith("weight"):
                # TensorFlow's kernel is a single matrix from input and state to the four gates.
                limit = math.sqrt(6 / (2 * UNITS + 4 * UNITS))
                nn.init.uniform_(parameter, -limit, limit)
            else:
                nn.init.zeros_(parameter)
            if name.startswith("bias_ih"):
                parameter[UNITS : 2 * UNITS] = 1  # gates in order: input, forget, cell, output
    return model
