"""Gated propagation against a node-by-node reference."""

import pytest
import torch

from dsrb_core.graph import GatedGraph
from tests.references import naive_graph


def test_propagation_equals_the_equations_node_by_node() -> None:
    torch.manual_seed(0)
    adjacency, vectors = torch.rand(4, 4), torch.randn(2, 4, 3)
    graph = GatedGraph(adjacency, dim=3, hidden=3, steps=3)
    z, r, h = graph.from_neighbours.weight.chunk(3)
    bz, br, bh = graph.from_neighbours.bias.chunk(3)
    uz, ur = graph.from_self.weight.chunk(2)
    weights = {"Wz": z, "Wr": r, "Wh": h, "bz": bz, "br": br, "bh": bh, "Uz": uz, "Ur": ur}
    expected = naive_graph(vectors, adjacency, weights | {"Uh": graph.from_reset.weight}, 3)
    assert torch.allclose(graph(vectors), expected, atol=1e-5)


def test_evidence_travels_along_an_edge_and_nowhere_else() -> None:
    torch.manual_seed(0)
    adjacency = torch.eye(3)
    adjacency[0, 1] = 0.9
    graph = GatedGraph(adjacency, dim=3, hidden=3, steps=1)
    vectors = torch.randn(1, 3, 3, requires_grad=True)
    graph(vectors)[0, 0].sum().backward()
    reached = vectors.grad.abs().sum(-1)[0] > 0
    assert reached.tolist() == [True, True, False]


def test_narrower_nodes_enter_through_one_map_and_zero_steps_leave_them() -> None:
    graph = GatedGraph(torch.eye(4), dim=6, hidden=2, steps=0)
    vectors = torch.randn(2, 4, 6)
    assert torch.equal(graph(vectors), graph.enter(vectors))
    assert graph(vectors).shape == (2, 4, 2)


@pytest.mark.parametrize("wrong", [torch.zeros(2, 3), torch.full((2, 2), float("nan"))])
def test_a_graph_that_would_poison_the_net_is_refused(wrong: torch.Tensor) -> None:
    with pytest.raises(ValueError, match="adjacency"):
        GatedGraph(wrong, dim=2, hidden=2, steps=1)
