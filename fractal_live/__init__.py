"""A live instrument: a fractal model of symbolic music that plays ahead of the beat."""

import os

# A bar is thousands of small products in numpy: sharing each among threads costs more than it saves, and the other
# cores are the performer's. Read when numpy is first imported, by this process and by those it starts.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

__version__ = "0.1.0"
