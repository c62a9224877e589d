"""Example mixing: which clip is mixed with which, how much of each, and how log-mels are added.

Paper, section 2.2 (example mixing for both objectives, after its references 11 and 13) and appendix C (the
ratio is drawn from Beta(5, 2)). The paper leaves open, and we chose:

- Views are added band by band as energies, the exponential of the log-mel (the front end's mel bands before
  the logarithm), after each view was brought to a mean energy of 1 over the crop; so the ratio decides what
  is heard, not the clips' loudness. It also lifts digital silence to a faint noise at that energy.
- Each view of a clip has another partner; one partner in both views would give their match away.
- The partner is any other clip: the rows of a global batch are drawn at random, and view `v` of a row is mixed
  with the row `v + 1` places on, the first following the last. So no clip meets itself, and each is a partner
  as often as any other.

All numbers are drawn on the host by stateless Philox from seeds, so they are the same on every device.
"""

from __future__ import annotations

import tensorflow as tf

from models.frontend import standardise
from models.objective import Batch


def mixing_ratio(num_views: int, alpha: float, beta: float, seed: tf.Tensor) -> tf.Tensor:
    """Share of the clip itself in each of its views, from Beta(alpha, beta): (v,) float32 in [0, 1]."""
    # A Beta variate is a ratio of Gamma variates, which TensorFlow draws statelessly.
    gammas = tf.random.stateless_gamma([num_views, 2], seed, alpha=[alpha, beta])
    return gammas[:, 0] / tf.reduce_sum(gammas, axis=1)


def mix_log_mel(clips: tf.Tensor, others: tf.Tensor, ratio: tf.Tensor) -> tf.Tensor:
    """`log(ratio * clip + (1 - ratio) * other)` of the energies at equal mean energy.

    Args:
        clips: (..., t, f) float32 log-mel.
        others: (..., t, f), what each is mixed with.
        ratio: (...) share of `clips`, in [0, 1].

    Returns:
        (..., t, f) float32 log-mel with a mean energy of 1 over time and frequency.
    """
    share = ratio[..., tf.newaxis, tf.newaxis]
    # In logarithms throughout: neither loud nor silent crops leave the range of float32.
    own = _unit_energy(clips) + tf.math.log(share)
    other = _unit_energy(others) + tf.math.log1p(-share)
    peak = tf.maximum(own, other)
    return peak + tf.math.log(tf.exp(own - peak) + tf.exp(other - peak))


def mixed_views(batch: Batch) -> tf.Tensor:
    """Each crop mixed with its partner, then standardised: (v * b, t, f, 1) float32, first views first."""
    mixed = mix_log_mel(batch["clips"], batch["partners"], batch["ratio"])  # (b, v, t, f)
    views = tf.concat(tf.unstack(mixed, axis=1), axis=0)
    return standardise(views)[..., tf.newaxis]


def _unit_energy(log_mel: tf.Tensor) -> tf.Tensor:
    count = tf.cast(tf.reduce_prod(tf.shape(log_mel)[-2:]), log_mel.dtype)
    total = tf.reduce_logsumexp(log_mel, axis=[-2, -1], keepdims=True)
    return log_mel - (total - tf.math.log(count))
