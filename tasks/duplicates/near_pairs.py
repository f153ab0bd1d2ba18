"""Near pairs among very many texts: candidates by MinHash, each verified by the exact similarity.

Texts that share a band of their MinHash signatures (Broder, 1997; bands as in Leskovec, Rajaraman and Ullman, Mining of Massive
Datasets, ch. 3.4) are candidates. The signatures are rensa's. Its index is not used: it answers with everybody who shares a
band, and prompts written from one template do so by the thousand. Here they are compared with their next neighbours only, so the
work is linear in the number of texts, whatever they look like.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt

from tasks.duplicates.similarity import ngrams, words

Ints = npt.NDArray[np.int64]
Keys = npt.NDArray[np.uint64]
Floats = npt.NDArray[np.float64]
Pairs = tuple[Ints, Ints]

PERMUTATIONS = 128
"""Length of a MinHash signature."""
SEED = 1
"""Seed of the permutations; it decides only which candidates are looked at."""
RECALL = 0.99
"""Least probability that two texts that are just similar enough share a band."""
NEIGHBOURS = 16
"""How many next neighbours a text is compared with in each of its bands; up to 17 texts that share a band are all compared."""
TEXTS_AT_ONCE, PAIRS_AT_ONCE = 20_000, 200_000
"""How many texts get their signatures, and how many pairs are compared, in one step: bounds the memory."""


def band_rows(threshold: float) -> int:
    """The most rows r per band with which a pair at the threshold s shares one of the b bands: 1 - (1 - sʳ)ᵇ ≥ RECALL."""
    return max(r for r in range(1, PERMUTATIONS + 1) if r == 1 or 1 - (1 - threshold**r) ** (PERMUTATIONS // r) >= RECALL)


@dataclass(frozen=True)
class TextIndex:
    """Texts by their word n-grams; texts of the same words count as one entry."""

    threshold: float
    entry: Ints
    """The entry of each text; entries are numbered in the order in which they first appear."""
    first: Ints
    """The first text of each entry."""
    grams: Any
    """Sparse, one row per entry: ones in the columns that are the hashes of its n-grams. Among 63 bits none meet by chance."""
    sizes: Ints
    """How many n-grams each entry has."""
    bands: Keys
    """One row per entry, one column per band of its signature."""

    @classmethod
    def of(cls, texts: Iterable[str], n: int, threshold: float) -> "TextIndex":
        """Index texts for pairs whose sets of word n-grams have at least a Jaccard similarity."""
        numbers: dict[str, int] = {}
        entry = np.fromiter((numbers.setdefault(" ".join(words(text)), len(numbers)) for text in texts), np.int64)
        _, first = np.unique(entry, return_index=True)
        rows = band_rows(threshold)
        parts = [_hashed([ngrams(key.split(" "), n) for key in keys], rows) for keys in _chunks(numbers)]
        nothing = np.empty(0, np.int64), np.empty(0, np.int64), np.empty((0, PERMUTATIONS // rows), np.uint64)
        columns, sizes, bands = (np.concatenate(arrays) for arrays in zip(nothing, *parts, strict=True))
        return cls(threshold, entry, first, _sparse(columns, sizes), sizes, bands)

    def groups(self) -> Ints:
        """For each text the first text of its group: the connected components of the near pairs."""
        return self.growing_groups(np.zeros(len(self.entry), np.int64))[0]

    def growing_groups(self, batches: Ints) -> tuple[Ints, dict[int, list[int]]]:
        """The groups of texts that became known batch after batch, where what is known never changes its group.

        Texts of one batch that are near each other go together (their components), and join the group of the earlier texts that
        they are near to; of several groups the one with the earliest first text.

        Args:
            batches: (texts,) never falling.

        Returns:
            For each text the first text of its group; and the first texts of the further groups that a text, or one that goes
            with it, is near to, for the texts that have any.
        """
        batch = batches[self.first]
        leader, links = np.arange(len(self.sizes)), _Links(len(self.sizes))
        for band in range(self.bands.shape[1]):
            pairs = [(np.minimum(left, right), np.maximum(left, right)) for left, right in self._neighbours(band)]
            leader = self._joined(leader, [(i[same], j[same]) for i, j in pairs if (same := batch[i] == batch[j]).any()])
            for older, newer in pairs:
                apart = (batch[older] != batch[newer]) & ~links.known(newer, leader[older])
                i, j = older[apart], newer[apart]
                near = _similarities(self, i, self, j) >= self.threshold
                links.add(j[near], leader[i[near]])
        group, others = links.resolved(leader)
        further = {text: self.first[others[one]].tolist() for text, one in enumerate(self.entry.tolist()) if one in others}
        return self.first[group[self.entry]], further

    def similarities(self, left: Ints, right: Ints) -> Floats:
        """The similarity of pairs of texts."""
        return _similarities(self, self.entry[left], self, self.entry[right])

    def near(self, other: "TextIndex") -> Iterator[tuple[Ints, Ints, Floats]]:
        """The near pairs of an entry here and an entry there, with their similarities; a pair can come more than once.

        No pair that shares a band is left out, so the work grows with the product of the two where both hold one template.
        """
        for ours, theirs in zip(self.bands.T, other.bands.T, strict=True):
            order = np.argsort(theirs, kind="stable")
            begin, end = np.searchsorted(theirs[order], ours, "left"), np.searchsorted(theirs[order], ours, "right")
            met = np.flatnonzero(end > begin)
            for some in np.array_split(met, 1 + int((end - begin).sum()) // PAIRS_AT_ONCE):
                left, right = np.repeat(some, (end - begin)[some]), order[_ranges(begin[some], end[some])]
                similarity = _similarities(self, left, other, right)
                near = similarity >= self.threshold
                yield left[near], right[near], similarity[near]

    def _neighbours(self, band: int) -> Iterator[Pairs]:
        """Pairs of entries that share a band; among very many those stand next to each other that share the bands after it."""
        keys, then, last = (self.bands[:, (band + shift) % self.bands.shape[1]] for shift in range(3))
        shared = _repeated(keys)
        order = shared[np.lexsort((shared, last[shared], then[shared], keys[shared]))]
        for distance in range(1, NEIGHBOURS + 1):
            left, right = order[:-distance], order[distance:]
            same = keys[left] == keys[right]
            if not same.any():
                return
            yield left[same], right[same]

    def _joined(self, leader: Ints, candidates: Sequence[Pairs]) -> Ints:
        """The leaders after the near ones among the candidates have joined their groups."""
        for left, right in candidates:
            apart = leader[left] != leader[right]
            i, j = left[apart], right[apart]
            near = _similarities(self, i, self, j) >= self.threshold
            if near.any():
                leader = _components(leader, i[near], j[near])
        return leader


class _Links:
    """Which new entries are near to which earlier ones, the earlier ones by their leader when the link was found."""

    def __init__(self, entries: int) -> None:
        self.entries = entries
        self.latest = np.full(entries, -1)
        self.keys: list[Ints] = []

    def known(self, newer: Ints, older: Ints) -> npt.NDArray[np.bool_]:
        """Whether a link is the latest that was added for the new entry: most need no other, and are not compared again."""
        return np.asarray(self.latest[newer] == older)

    def add(self, newer: Ints, older: Ints) -> None:
        """Add links."""
        if len(newer):
            self.latest[newer] = older
            self.keys.append(np.unique(newer * self.entries + older))

    def resolved(self, leader: Ints) -> tuple[Ints, dict[int, Ints]]:
        """The group of each entry, by its first entry, and the further groups of the entries that have any."""
        keys = np.unique(np.concatenate([np.empty(0, np.int64), *self.keys]))
        newer, older = leader[keys // self.entries], leader[keys % self.entries]
        order = np.argsort(newer, kind="stable")
        clusters, starts = np.unique(newer[order], return_index=True)
        group, further = np.arange(self.entries), {}
        for cluster, near in zip(clusters.tolist(), np.split(older[order], starts[1:]), strict=False):  # from the eldest on
            found = np.unique(group[near])
            group[cluster] = found[0]
            if len(found) > 1:
                further[cluster] = found[1:]
        members = np.flatnonzero(np.isin(leader, list(further)))
        return group[leader], {int(entry): further[int(leader[entry])] for entry in members}


def _chunks(keys: Iterable[str]) -> Iterator[list[str]]:
    iterator = iter(keys)
    while some := list(islice(iterator, TEXTS_AT_ONCE)):
        yield some


def _hashed(sets: list[list[str]], rows: int) -> tuple[Ints, Ints, Keys]:
    """The hashes of n-gram sets, sorted within each; the sets' sizes; and their band keys."""
    from rensa import RMinHash

    hashes = RMinHash.hash_token_sets(sets)
    sizes = np.array([len(one) for one in hashes], np.int64)
    flat = np.array([value for one in hashes for value in one], np.uint64)
    offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.uint64)
    signatures = np.array(RMinHash.digest_matrix_from_flat_token_hashes(flat, offsets, PERMUTATIONS, SEED).to_rows(), np.uint64)
    columns = (flat >> np.uint64(1)).astype(np.int64)
    return columns[np.lexsort((columns, np.repeat(np.arange(len(sizes)), sizes)))], sizes, _band_keys(signatures, rows)


def _band_keys(signatures: Keys, rows: int) -> Keys:
    """One key per band, from its rows as the digits of a number modulo 2⁶⁴; keys that meet by chance cost one comparison."""
    bands = signatures[:, : PERMUTATIONS // rows * rows].reshape(len(signatures), -1, rows)
    base = np.uint64(0x9E3779B97F4A7C15)  # 2⁶⁴ over the golden ratio, made odd (Knuth, The Art of Computer Programming, vol. 3, 6.4)
    keys = np.zeros(bands.shape[:2], np.uint64)
    for place in range(rows):
        keys = (keys + bands[:, :, place] + np.uint64(1)) * base
    return keys


def _sparse(columns: Ints, sizes: Ints) -> Any:
    """Rows of sorted, distinct columns as a sparse matrix; being canonical, its rows are compared by merging them."""
    from scipy.sparse import csr_matrix

    offsets = np.concatenate([[0], np.cumsum(sizes)])
    matrix = csr_matrix((np.ones(len(columns), np.int8), columns, offsets), shape=(len(sizes), 2**63 - 1))
    matrix.has_canonical_format = True
    return matrix


def _similarities(one: TextIndex, left: Ints, other: TextIndex, right: Ints) -> Floats:
    """The exact Jaccard similarities of pairs of entries, in steps that bound the memory."""
    found = [np.empty(0)]
    for start in range(0, len(left), PAIRS_AT_ONCE):
        i, j = left[start : start + PAIRS_AT_ONCE], right[start : start + PAIRS_AT_ONCE]
        common = np.diff(one.grams[i].multiply(other.grams[j]).indptr)
        found.append(common / (one.sizes[i] + other.sizes[j] - common))
    return np.concatenate(found)


def _components(leader: Ints, left: Ints, right: Ints) -> Ints:
    """The first member of each one's component, with edges to its leader so far and the new ones."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    edges = np.concatenate([np.arange(len(leader)), left]), np.concatenate([leader, right])
    graph = coo_matrix((np.ones(len(edges[0]), np.int8), edges), shape=(len(leader), len(leader)))
    _, labels = connected_components(graph, directed=False)
    _, first, component = np.unique(labels, return_index=True, return_inverse=True)
    return np.asarray(first[component], np.int64)


def _repeated(keys: Keys) -> Ints:
    """The places of the keys that come more than once."""
    _, inverse, counts = np.unique(keys, return_inverse=True, return_counts=True)
    return np.flatnonzero(counts[inverse] > 1)


def _ranges(begin: Ints, end: Ints) -> Ints:
    """The numbers from each `begin` up to its `end`, one range after the other."""
    lengths = end - begin
    before = np.concatenate([[0], np.cumsum(lengths)])[:-1]
    return np.repeat(begin - before, lengths) + np.arange(lengths.sum())
