"""TFX's own components, with provenance recorded on their outputs."""
