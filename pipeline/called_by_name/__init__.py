"""Functions that TFX finds by name, each in a module that holds nothing but the name.

TFX loads a module anew whenever it looks a function up in it. Code that is loaded anew is other code to TensorFlow,
which keeps the stack of every operation that it ever traced, and the code on it, for as long as the process lives:
10 MiB for each retraining. So what is loaded anew here is an import, and the function behind it stays the same.
"""
