"""The training engine: input pipeline, distribution, loop, checkpoints."""
