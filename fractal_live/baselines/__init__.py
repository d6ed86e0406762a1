"""The earlier systems, behind the same door as the fractal: a request in, a bar out."""
