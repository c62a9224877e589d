"""The twelve HARES tasks, one module each."""
