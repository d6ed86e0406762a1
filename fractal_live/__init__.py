"""A live instrument: a fractal model of symbolic music that plays ahead of the beat."""

__version__ = "0.1.0"
