"""What TensorFlow Addons gave: LAMB and instance normalisation. Tried with Addons 0.23 on TensorFlow 2.15.

Addons' development has ended: its last wheels are for Python 3.11 and TensorFlow 2.15. Where it is installed its own
classes are used, else those below, which compute the same bits and keep the same checkpoints. They are here because a
Keras optimizer of the TF 2.0 kind is written by overriding its private methods. With an optimizer of Keras 3 for LAMB,
and without a model that was trained with Addons' layer, this file is unnecessary.
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Sequence
from typing import Any

import tensorflow as tf


def installed() -> bool:
    """Whether TensorFlow Addons is installed; it is imported on use, since it warns that its development has ended."""
    return importlib.util.find_spec("tensorflow_addons") is not None


def lamb(
    learning_rate: tf.keras.optimizers.schedules.LearningRateSchedule, unadapted: Sequence[str] = ()
) -> tf.keras.optimizers.legacy.Optimizer:
    """LAMB without weight decay (You et al., "Large batch optimization for deep learning").

    Args:
        learning_rate: of each step.
        unadapted: names of the variables whose steps are Adam's, whatever their own length.
    """
    if installed():
        from tensorflow_addons.optimizers import LAMB

        patterns = [f"^{re.escape(name)}$" for name in unadapted]
        return LAMB(learning_rate, exclude_from_layer_adaptation=patterns)
    return Lamb(learning_rate, unadapted)


def instance_normalization(epsilon: float, initial_gamma: float) -> tf.keras.layers.Layer:
    """A float32 layer that normalises each channel of each clip of (b, t, f, c), then scales and shifts it."""
    gamma = tf.keras.initializers.Constant(initial_gamma)
    if installed():
        from tensorflow_addons.layers import InstanceNormalization as Addons

        return Addons(epsilon=epsilon, gamma_initializer=gamma, dtype="float32")
    return InstanceNormalization(epsilon, gamma)


class Lamb(tf.keras.optimizers.legacy.Optimizer):
    """Addons' `LAMB` with its defaults: betas 0.9 and 0.999, epsilon 1e-6."""

    def __init__(
        self,
        learning_rate: tf.keras.optimizers.schedules.LearningRateSchedule,
        unadapted: Sequence[str] = (),
    ) -> None:
        super().__init__("LAMB")
        self._unadapted = frozenset(unadapted)
        # Addons' checkpoints hold these numbers, the two that change nothing here among them.
        hyper = {"weight_decay": 0.0, "decay": 0.0, "beta_1": 0.9, "beta_2": 0.999}
        for name, value in {"learning_rate": learning_rate, **hyper}.items():
            self._set_hyper(name, value)
        self._epsilon = 1e-6

    def _create_slots(self, var_list: list[tf.Variable]) -> None:
        for slot in ("m", "v"):
            for variable in var_list:
                self.add_slot(variable, slot)

    def _prepare_local(self, var_device: str, var_dtype: tf.DType, apply_state: Any) -> None:
        """What all variables share is computed once: with a copy for each, Grappler rounds differently."""
        super()._prepare_local(var_device, var_dtype, apply_state)
        step = tf.cast(self.iterations + 1, var_dtype)
        for name in ("beta_1", "beta_2"):
            decay = tf.identity(self._get_hyper(name, var_dtype))
            apply_state[(var_device, var_dtype)][name] = decay, 1 - decay, tf.pow(decay, step)

    def _shared(self, var: tf.Variable, apply_state: Any) -> dict[str, Any]:
        place = var.device, var.dtype.base_dtype
        found: dict[str, Any] = (apply_state or {}).get(place) or self._fallback_apply_state(*place)
        return found

    def _resource_apply_dense(self, grad: tf.Tensor, var: tf.Variable, apply_state: Any = None) -> tf.Tensor:
        shared, moments = self._shared(var, apply_state), []
        for name, power, (decay, rest, _) in self._moments(grad, shared):
            slot = self.get_slot(var, name)
            moments.append(slot.assign(slot * decay + power * rest, use_locking=self._use_locking))
        return self._changed(var, shared, *moments)

    def _resource_apply_sparse(
        self, grad: tf.Tensor, var: tf.Variable, indices: tf.Tensor, apply_state: Any = None
    ) -> tf.Tensor:
        """As with a dense gradient: the moments of rows without one decay too, and move them."""
        shared, moments = self._shared(var, apply_state), []
        for name, power, (decay, rest, _) in self._moments(grad, shared):
            slot = self.get_slot(var, name)
            scaled = (
                power * rest
            )  # here: under a control dependency Grappler would leave the product as it is
            with tf.control_dependencies([slot.assign(slot * decay, use_locking=self._use_locking)]):
                moments.append(self._resource_scatter_add(slot, indices, scaled))
        return self._changed(var, shared, *moments)

    def _moments(self, grad: tf.Tensor, shared: dict[str, Any]) -> tuple[tuple[str, tf.Tensor, Any], ...]:
        """Of both moments: the slot's name, the power of the gradient that it averages, and how fast it decays."""
        return ("m", grad, shared["beta_1"]), ("v", grad * grad, shared["beta_2"])

    def _changed(
        self, var: tf.Variable, shared: dict[str, Any], first: tf.Tensor, second: tf.Tensor
    ) -> tf.Tensor:
        """The variable after its step: times the learning rate as long as it is itself, where its length counts."""
        mean, square = first / (1.0 - shared["beta_1"][2]), second / (1.0 - shared["beta_2"][2])
        update = mean / (tf.sqrt(square) + tf.convert_to_tensor(self._epsilon, var.dtype.base_dtype))
        ratio = 1.0
        if var.name not in self._unadapted:
            length, step_length = tf.norm(var, ord=2), tf.norm(update, ord=2)
            ratio = tf.where((length > 0) & (step_length > 0), length / step_length, 1.0)
        return var.assign(var - ratio * shared["lr_t"] * update, use_locking=self._use_locking)

    def get_config(self) -> dict[str, Any]:
        """Arguments that build this optimizer again (asked for by Keras)."""
        rate = self._serialize_hyperparameter("learning_rate")
        return {"learning_rate": rate, "unadapted": sorted(self._unadapted)}


class InstanceNormalization(tf.keras.layers.Layer):
    """Addons' `InstanceNormalization` of (b, t, f, c); variables `gamma` and `beta` of (c,)."""

    def __init__(self, epsilon: float, gamma_initializer: tf.keras.initializers.Initializer) -> None:
        super().__init__(dtype="float32")
        self._epsilon = epsilon
        self._gamma_initializer = gamma_initializer

    def build(self, input_shape: tf.TensorShape) -> None:
        """Makes the variables (called by Keras)."""
        channels = [input_shape[-1]]
        self.gamma = self.add_weight("gamma", channels, initializer=self._gamma_initializer)
        self.beta = self.add_weight("beta", channels, initializer="zeros")
        super().build(input_shape)

    def call(self, x: tf.Tensor) -> tf.Tensor:
        """(b, t, f, c) -> the same shape."""
        mean, variance = tf.nn.moments(x, [1, 2], keepdims=True)
        return tf.nn.batch_normalization(x, mean, variance, self.beta, self.gamma, self._epsilon)
