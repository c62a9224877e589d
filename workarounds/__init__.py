"""Every use of a private name of TFX, Beam, Keras or ML Metadata, and every function of theirs that is replaced.

One file a library. Each workaround names the version it was tried on and what would make it unnecessary, so an upgrade
is checked here. `tests/test_private_names.py` keeps such names out of all other packages. This package stands below
all layers and imports none of them.
"""
