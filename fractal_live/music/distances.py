"""How far two sets of music lie apart: histograms, Gaussians, densities.

Plain numbers in, plain numbers out; knows nothing of notes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]

CLIP = 5.0
COMPONENTS = 32
DENSITY_POINTS = 1000


def divergence(p: FloatArray, q: FloatArray) -> float:
    """Jensen-Shannon divergence of two histograms in bits, 0 to 1."""
    p, q = p / p.sum(), q / q.sum()
    middle = (p + q) / 2
    total = 0.0
    for share in (p, q):
        there = share > 0
        total += 0.5 * float(np.sum(share[there] * np.log2(share[there] / middle[there])))
    return total


def cosine(a: FloatArray, b: FloatArray) -> float:
    """Cosine of two vectors; 1 where both are nothing, 0 where one is."""
    lengths = float(np.linalg.norm(a) * np.linalg.norm(b))
    if lengths == 0:
        return float(not a.any() and not b.any())
    return float(np.sum(a * b)) / lengths


def overlap(a: FloatArray, b: FloatArray) -> float:
    """The area that the densities of two samples share, 0 to 1, within the range of both together (kernel
    density estimates; Yang and Lerch 2018, "On the evaluation of generative models in music")."""
    low, high = min(a.min(), b.min()), max(a.max(), b.max())
    if low == high:
        return 1.0
    if a.std() == 0 or b.std() == 0:
        return 0.0
    at = np.linspace(low, high, DENSITY_POINTS)
    shared = np.minimum(_density(a, at), _density(b, at))
    return float(min(1.0, np.sum((shared[1:] + shared[:-1]) / 2) * (at[1] - at[0])))


def _density(sample: FloatArray, at: FloatArray) -> FloatArray:
    """A Gaussian kernel at every value, as wide as Scott's rule says."""
    width = sample.std(ddof=1) * len(sample) ** -0.2
    height = 1 / (len(sample) * width * np.sqrt(2 * np.pi))
    density: FloatArray = height * np.exp(-0.5 * ((at[:, None] - sample) / width) ** 2).sum(1)
    return density


@dataclass(frozen=True, slots=True, eq=False)
class Space:
    """Where features are compared: standardised on a reference, clipped, turned to its widest directions.
    mean, deviation (F,); directions (F, K)."""

    mean: FloatArray
    deviation: FloatArray
    directions: FloatArray

    def place(self, features: FloatArray) -> FloatArray:
        """(N, F) to (N, K)."""
        placed: FloatArray = self.standardised(features) @ self.directions
        return placed

    def standardised(self, features: FloatArray) -> FloatArray:
        clipped: FloatArray = np.clip((features - self.mean) / self.deviation, -CLIP, CLIP)
        return clipped


def space_of(reference: FloatArray, components: int = COMPONENTS) -> Space:
    """The space of a reference set (N, F). A feature that never varies there counts as it is."""
    deviation = reference.std(0)
    space = Space(reference.mean(0), np.where(deviation > 0, deviation, 1.0), np.eye(reference.shape[1]))
    scaled = space.standardised(reference)
    _, vectors = np.linalg.eigh(np.cov(scaled.T))
    return Space(space.mean, space.deviation, vectors[:, ::-1][:, :components])


def shrunk_covariance(sample: FloatArray) -> FloatArray:
    """Covariance of a sample (N, K), pulled towards a multiple of the identity as far as its own uncertainty
    says (Ledoit and Wolf 2004, "A well-conditioned estimator for large-dimensional covariance matrices")."""
    centred = sample - sample.mean(0)
    count, size = centred.shape
    covariance = centred.T @ centred / count
    middle = np.trace(covariance) / size
    spread = np.sum((covariance - middle * np.eye(size)) ** 2)
    noise = (np.sum((centred**2).T @ (centred**2)) / count - np.sum(covariance**2)) / count
    share = 0.0 if spread == 0 else float(np.clip(noise / spread, 0, 1))
    shrunk: FloatArray = (1 - share) * covariance + share * middle * np.eye(size)
    return shrunk


def frechet(a: FloatArray, b: FloatArray) -> float:
    """Frechet distance of two samples (N, K), (M, K) as Gaussians: squared distance of their means plus what
    their covariances differ. Grows as samples shrink, so only distances of equal sizes compare."""
    first, second = shrunk_covariance(a), shrunk_covariance(b)
    values, vectors = np.linalg.eigh(first)
    root = (vectors * np.sqrt(np.clip(values, 0, None))) @ vectors.T
    cross = np.sqrt(np.clip(np.linalg.eigvalsh(root @ second @ root), 0, None)).sum()
    apart = float(np.sum((a.mean(0) - b.mean(0)) ** 2))
    return float(apart + np.trace(first) + np.trace(second) - 2 * cross)


def correlation(a: FloatArray, b: FloatArray) -> float:
    """Pearson's r of what both know; 0 where one does not vary."""
    both = np.isfinite(a) & np.isfinite(b)
    a, b = a[both], b[both]
    if len(a) < 2 or a.std() < 1e-9 or b.std() < 1e-9:
        return 0.0
    return float(np.corrcoef(a, b)[0, 1])


def rank_correlation(a: FloatArray, b: FloatArray) -> float:
    """Spearman's rho; equals share their mean rank."""
    return correlation(_ranks(a), _ranks(b))


def _ranks(values: FloatArray) -> FloatArray:
    ranks: FloatArray = ((values[:, None] > values).sum(1) + (values[:, None] >= values).sum(1) - 1) / 2.0
    return ranks
