"""Typed options of the heads that ship. They are data: importing them loads no torch."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator

from pvrbench.policies.spec import HeadOptions

Widths = Annotated[tuple[PositiveInt, ...], Field(min_length=1)]


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


class ChunkedOptions(HeadOptions):
    """A multilayer perceptron that predicts the next actions.

    Attributes:
        hidden: widths of the hidden layers.
        chunk: K, actions predicted from one observation.
        ensemble: act at every step by a weighted mean of all predictions for that step; else execute each chunk whole.
        ensemble_decay: m in the weights exp(-m i), where i is 0 for the oldest prediction.
    """

    hidden: Widths = (256, 256)
    chunk: PositiveInt = 8
    ensemble: bool = True
    ensemble_decay: NonNegativeFloat = 0.01

    def num_weights(self, num_inputs: int, action_dim: int) -> int:
        """Weights of all layers."""
        return _num_products(num_inputs, *self.hidden, self.chunk * action_dim)


class DiffusionOptions(HeadOptions):
    """A network that predicts the noise in chunks of actions.

    Attributes:
        width: units of each layer, a multiple of 16, so that rows fill whole vectors of the processor.
        num_blocks: residual blocks.
        horizon: actions that are predicted from one observation.
        num_executed: how many of them are executed before the next observation.
        num_train_steps: noise levels in training.
        num_inference_steps: denoising steps to act.
    """

    width: Annotated[int, Field(gt=0, multiple_of=16)] = 256
    num_blocks: PositiveInt = 2
    horizon: PositiveInt = 8
    num_executed: PositiveInt = 4
    num_train_steps: PositiveInt = 100
    num_inference_steps: PositiveInt = 10

    @model_validator(mode="after")
    def _is_consistent(self) -> DiffusionOptions:
        if self.num_executed > self.horizon:
            raise ValueError(f"num_executed={self.num_executed} is more than horizon={self.horizon}")
        if self.num_inference_steps > self.num_train_steps:
            message = f"num_inference_steps={self.num_inference_steps} is more than num_train_steps="
            raise ValueError(f"{message}{self.num_train_steps}")
        return self

    def num_weights(self, num_inputs: int, action_dim: int) -> int:
        """Weights of all layers."""
        width = self.width
        return num_inputs * width + 2 * self.horizon * action_dim * width + self.num_blocks * 5 * width**2
