"""TFX's own components, which also record what their outputs hold."""
