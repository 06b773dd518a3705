from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from mtl.code_identity.hashing import Node, Part, components, digest, hashes
from mtl.code_identity.modules import Target

Graph = list[list[int]]


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    """For each node the nodes that it uses."""
    size = draw(st.integers(1, 8))
    return draw(st.lists(st.lists(st.integers(0, size - 1), max_size=3), min_size=size, max_size=size))


def target(number: int) -> Target:
    return Target("definition", "module", str(number))


def nodes(graph: Graph, own: list[str]) -> dict[Target, Node]:
    return {
        target(number): (Part("", own[number], tuple(frozenset({("", target(other))}) for other in others)),)
        for number, others in enumerate(graph)
    }


def reaches(graph: Graph) -> np.ndarray:
    """Whether a node reaches another; each reaches itself."""
    size = len(graph)
    found = np.eye(size, dtype=bool)
    for number, others in enumerate(graph):
        found[number, others] = True
    for _ in range(size):
        found = found @ found
    return found


@given(graphs())
def test_components_are_those_of_scipy_and_come_after_what_they_use(graph: Graph) -> None:
    edges = [(number, other) for number, others in enumerate(graph) for other in others]
    rows, columns = zip(*edges, strict=True) if edges else ((), ())
    matrix = csr_array((np.ones(len(edges)), (rows, columns)), shape=(len(graph), len(graph)))
    _, labels = connected_components(matrix, connection="strong")
    found = [{int(node.name) for node in component} for component in components(nodes(graph, [""] * len(graph)))]
    expected = {frozenset(np.flatnonzero(labels == label).tolist()) for label in labels}
    assert sorted(map(sorted, found)) == sorted(map(sorted, expected))
    known: set[int] = set()
    for component in found:
        known |= component
        assert {other for number in component for other in graph[number]} <= known


@given(graphs(), st.data())
def test_a_hash_follows_exactly_what_is_reached(graph: Graph, draw: st.DataObject) -> None:
    own = [str(number) for number in range(len(graph))]
    before = hashes(nodes(graph, own))
    changed = draw.draw(st.integers(0, len(graph) - 1))
    after = hashes(nodes(graph, [*own[:changed], "other", *own[changed + 1 :]]))
    differs = [before[target(number)] != after[target(number)] for number in range(len(graph))]
    assert differs == reaches(graph)[:, changed].tolist()


@given(graphs(), st.data())
def test_hashes_depend_on_neither_names_nor_order(graph: Graph, draw: st.DataObject) -> None:
    own = [str(number) for number in range(len(graph))]
    order = draw.draw(st.permutations(range(len(graph))))
    place = {number: new for new, number in enumerate(order)}
    renamed = nodes([[place[other] for other in graph[number]] for number in order], [own[number] for number in order])
    before, after = hashes(nodes(graph, own)), hashes(renamed)
    assert [before[target(number)] for number in order] == [after[target(new)] for new in range(len(graph))]


def test_equal_code_in_two_places_has_one_hash() -> None:
    found = hashes(nodes([[1], [2], [1]], ["a", "b", "b"]))
    assert found[target(1)] == found[target(2)] != found[target(0)]


@given(st.lists(st.text(max_size=4), max_size=4), st.lists(st.text(max_size=4), max_size=4))
def test_digests_differ_if_and_only_if_the_texts_do(one: list[str], other: list[str]) -> None:
    assert (digest(*one) == digest(*other)) == (one == other)
