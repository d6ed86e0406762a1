"""The classifier two-sample test: can a judge that has heard both tell generated music from real?

Half of its answers are right where it cannot (Lopez-Paz and Oquab 2017, "Revisiting classifier two-sample tests").
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fractal_live.music.excerpt import FloatArray, IntArray
from fractal_live.train.judges.trial import needed

FOLDS = 5
DRAWS = 3
JUDGE = {"max_iter": 60, "max_bins": 64, "min_samples_leaf": 10}
LEAST_WINDOWS = 160


@dataclass(frozen=True, slots=True, eq=False)
class Heard:
    """Features (N, F) and the piece each row is from (N,): rows of one piece are never on both sides of a test."""

    features: FloatArray
    piece: IntArray

    def drawn(self, count: int, rng: np.random.Generator) -> Heard:
        """So many rows, or all if there are fewer."""
        chosen = rng.permutation(len(self.features))[:count]
        return Heard(self.features[chosen], self.piece[chosen])


def told_apart(generated: Heard, real: Heard, seed: int = 0, is_paired: bool = False) -> float:
    """The share of held-out answers that are right, 0.5 where nothing tells them apart: gradient boosting, five
    folds, mean over three draws of as many real rows as there are generated ones; NaN where either has fewer rows
    than folds. `is_paired`: a piece of the one
    and a piece of the other with the same number share music, and stay on the same side too."""
    rng = np.random.default_rng(seed)
    if not is_paired:
        real = Heard(real.features, real.piece + generated.piece.max() + 1)
    count = min(len(generated.features), len(real.features))
    if count < FOLDS:
        return float("nan")
    shares = [_one_draw(generated.drawn(count, rng), real.drawn(count, rng), seed) for _ in range(DRAWS)]
    return float(np.mean(shares))


def _one_draw(generated: Heard, real: Heard, seed: int) -> float:
    ensemble, selection = needed("sklearn.ensemble"), needed("sklearn.model_selection")
    features = np.concatenate([generated.features, real.features])
    label = np.repeat([1, 0], [len(generated.features), len(real.features)])
    piece = np.concatenate([generated.piece, real.piece])
    folds = selection.StratifiedGroupKFold(FOLDS, shuffle=True, random_state=seed)
    right = np.zeros(len(label), dtype=bool)
    for learnt, asked in folds.split(features, label, piece):
        judge = ensemble.HistGradientBoostingClassifier(**JUDGE, random_state=seed)
        judge.fit(features[learnt], label[learnt])
        right[asked] = judge.predict(features[asked]) == label[asked]
    return float((right[label == 1].mean() + right[label == 0].mean()) / 2)
