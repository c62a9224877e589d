"""Functions that TFX finds by name. Each has a module that only imports it.

TFX reloads a module whenever it looks up a function in it. TensorFlow would take reloaded code for new code, and keeps
the stack of every operation that it ever traced, with the code on it, until the process ends: 10 MiB for each
retraining. What is reloaded here is only an import, so the function stays the same.
"""
