"""Patches, settings and checkpoints of an installed copy; in a clone they lie beside the package."""
