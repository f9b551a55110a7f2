"""Typed options of the heads that ship. They are data: importing them loads no torch."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Literal

from pydantic import Field, PositiveFloat, PositiveInt

from pvrbench.policies.spec import HeadOptions

Widths = Annotated[tuple[PositiveInt, ...], Field(min_length=1)]
PositiveWeight = Annotated[float, Field(gt=0)]


def _num_products(*widths: int) -> int:
    return sum(first * second for first, second in pairwise(widths))


class LinearOptions(HeadOptions):
    """One affine layer.

    Attributes:
        hidden: no hidden layers.
        activation: not used without hidden layers.
        last_layer_scale: factor on the initial weights and biases of the layer.
    """

    hidden: tuple[()] = ()
    activation: Literal["relu", "tanh"] = "relu"
    last_layer_scale: PositiveFloat = 1.0

    def num_weights(self, num_inputs: int, action_dim: int) -> int:
        """Weights of the layer."""
        return num_inputs * action_dim


class MlpOptions(HeadOptions):
    """A multilayer perceptron with one action as its output.

    Attributes:
        hidden: widths of the hidden layers.
        activation: after each hidden layer.
        last_layer_scale: factor on the initial weights and biases of the last layer.
        squash: whether the outputs pass through tanh.
    """

    hidden: Widths = (256, 256)
    activation: Literal["relu", "tanh"] = "relu"
    last_layer_scale: PositiveFloat = 1.0
    squash: bool = False

    def num_weights(self, num_inputs: int, action_dim: int) -> int:
        """Weights of all layers."""
        return _num_products(num_inputs, *self.hidden, action_dim)


class MixtureOptions(HeadOptions):
    """A multilayer perceptron with a mixture of diagonal Gaussians as its output.

    Attributes:
        hidden: widths of the hidden layers.
        activation: after each hidden layer.
        last_layer_scale: factor on the initial weights and biases of the last layer.
        num_modes: Gaussians in the mixture.
        min_std: lower bound of the standard deviations.
        act_rule: act by the mean of the mode of largest weight, or by a mode drawn by its weight.
    """

    hidden: Widths = (256, 256)
    activation: Literal["relu", "tanh"] = "relu"
    last_layer_scale: PositiveFloat = 1.0
    num_modes: PositiveInt = 5
    min_std: PositiveFloat = 1e-4
    act_rule: Literal["likeliest_mode", "sampled_mode"] = "likeliest_mode"

    def num_weights(self, num_inputs: int, action_dim: int) -> int:
        """Weights of all layers."""
        return _num_products(num_inputs, *self.hidden, self.num_modes * (2 * action_dim + 1))
