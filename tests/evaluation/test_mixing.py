"""Mixing scores on hand-made points: 1 where labels are apart, chance where they are mixed."""

import numpy as np
import pytest

from jaxpert.evaluation import mixing


def blobs(sizes: list[int], gap: float) -> tuple[np.ndarray, np.ndarray]:
    labels = np.repeat(np.arange(len(sizes)), sizes)
    return np.random.default_rng(1).normal(size=(len(labels), 4)) + gap * labels[:, None], labels


@pytest.mark.parametrize("sizes", [[60, 60], [100, 8, 3]])
def test_labels_apart_score_one(sizes):
    """Also where a label has fewer cells than neighbours are asked."""
    scores = mixing.separation(*blobs(sizes, 100.0))
    assert scores is not None
    assert scores["same_label_neighbours"] == 1
    assert scores["silhouette"] > 0.9
    assert scores["cells"] == sum(sizes) and scores["labels"] == len(sizes)


@pytest.mark.parametrize("sizes", [[200, 200], [350, 50], [100, 100, 100, 100]])
def test_mixed_labels_score_chance(sizes):
    scores = mixing.separation(*blobs(sizes, 0.0))
    assert scores is not None
    assert scores["chance"] == pytest.approx(np.mean([(n - 1) / (sum(sizes) - 1) for n in sizes]))
    assert abs(scores["same_label_neighbours"] - scores["chance"]) < 0.04
    assert scores["chance_low"] < scores["chance"] < scores["chance_high"]
    assert abs(scores["silhouette"]) < 0.1


def test_by_hand():
    """On a line a a b b a: two neighbours of each, one for b, which has a single other cell."""
    points, labels = np.array([[0.0], [1.0], [2.1], [3.3], [4.6]]), np.array([*"aabba"])
    scores = mixing.separation(points, labels, neighbours=2)
    assert scores is not None
    a = (1 / 2 + 1 / 2 + 0) / 3  # neighbours a b, a b, b b
    b = (0 + 1) / 2  # the nearest of the first b is a, that of the second is b
    assert scores["same_label_neighbours"] == pytest.approx((a + b) / 2)


def test_a_cell_alone_with_its_label_is_left_out():
    points, labels = blobs([30, 30, 1], 100.0)
    scores = mixing.separation(points, labels)
    assert scores is not None and scores["cells"] == 60 and scores["labels"] == 2
    assert mixing.separation(points[:30], labels[:30]) is None
    assert mixing.separation(points[29:31], labels[29:31]) is None


def test_large_sets_have_a_sampled_silhouette(monkeypatch):
    points, labels = blobs([60, 60], 100.0)
    monkeypatch.setattr(mixing, "SILHOUETTE_CELLS", 40)
    scores = mixing.separation(points, labels)
    assert scores is not None and scores["silhouette"] > 0.9
