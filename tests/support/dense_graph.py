"""A gene graph as a matrix."""

import numpy as np

from jaxpert.nn.graphs import edges_of


def dense(graph):
    """Weights `[receiver, sender]`, 0 where there is no edge."""
    edges = edges_of(graph)
    matrix = np.zeros((edges.nodes, edges.nodes))
    matrix[edges.receivers, edges.senders] = edges.weights
    return matrix
