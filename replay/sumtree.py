"""Sum trees of priorities, one per task of a ring: who is drawn by priority is found in as many steps as the tree has levels."""

import numpy as np
from numpy.typing import NDArray


class SumTrees:
    """K trees with a leaf for each slot, all of them 0 at first.

    Every node is exactly the sum of its two children, whatever was written in which order: leaves alone determine a tree.
    """

    def __init__(self, tasks: int, leaves: int) -> None:
        self._size = 1 << max(1, (leaves - 1).bit_length())
        self._levels = self._size.bit_length() - 1
        self._nodes = np.zeros((tasks, 2 * self._size))
        """node 1 is the root, those below node i are 2 i and 2 i + 1, leaves are the last ``_size``"""
        self._flat = self._nodes.reshape(-1)
        self.leaves: NDArray[np.float64] = self._nodes[:, self._size : self._size + leaves]
        """(K, leaves) views; ``rebuild`` after a change"""

    def totals(self) -> NDArray[np.float64]:
        """(K,) sums of all leaves."""
        return self._nodes[:, 1]

    def set(self, tasks: NDArray[np.int64], slots: NDArray[np.int64], values: NDArray[np.float64]) -> None:
        """Writes n leaves (n,) and what is above them; of a leaf named twice the last value counts."""
        tree, node, flat = tasks * (2 * self._size), slots + self._size, self._flat
        flat[tree + node] = values
        for _ in range(self._levels):
            node = node >> 1
            below = tree + 2 * node
            flat[tree + node] = flat[below] + flat[below + 1]

    def rebuild(self) -> None:
        """All nodes from the leaves."""
        nodes, first = self._nodes, self._size >> 1
        while first:
            np.add(nodes[:, 2 * first : 4 * first : 2], nodes[:, 2 * first + 1 : 4 * first : 2], out=nodes[:, first : 2 * first])
            first >>= 1

    def find(self, tasks: NDArray[np.int64], at: NDArray[np.float64]) -> NDArray[np.int64]:
        """(n,) slots at which the running sum of the leaves passes ``at``, 0 <= at < total; never one of priority 0."""
        tree, node, left_over, flat = tasks * (2 * self._size), np.ones(len(at), np.int64), at.copy(), self._flat
        for _ in range(self._levels):
            node <<= 1
            left, right = flat[tree + node], flat[tree + node + 1]
            # A sum is rounded: where nothing is on the right, what is a little too much on the left stays there.
            goes_right = (left_over >= left) & (right > 0)
            left_over -= np.where(goes_right, left, 0.0)
            node += goes_right
        return node - self._size
