"""The network that `08_train` writes from scratch is the library's, to the last bit."""

import ast
import math

import nbformat
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from fdhmfe.lessons.notebooks import NOTEBOOKS
from fdhmfe.network import FDHMFE
from fdhmfe.proxies import maxmin_proxies

CELLS = nbformat.read(NOTEBOOKS / "08_train.ipynb", as_version=4).cells
SOURCES = [c.source for c in CELLS if "network" in c.metadata.get("tags", [])]
CODE = [c.source for c in CELLS if c.cell_type == "code"]
GIVEN = {"math": math, "torch": torch, "nn": nn, "F": F}  # what the notebook has imported before
CLASSES, BITS, SIZES = 5, 16, dict(keep=3, nodes=7, dropout=0.2)
# Grids that shrink, that stay, and that must be interpolated as well as pooled
GRIDS = ([(6, 6), (6, 6), (3, 3)], [(4, 4), (8, 8), (3, 5)], [(2, 3)])


def written() -> dict:
    """What the notebook's network cells define."""
    namespace = dict(GIVEN)
    for source in SOURCES:
        exec(source, namespace)
    return namespace


def both(head: str, channels: list[int]) -> tuple[nn.Module, nn.Module]:
    """Ours and the library's, with the same random numbers in every tensor."""
    proxies = maxmin_proxies(CLASSES, BITS, 0)
    sizes = SIZES["keep"], SIZES["nodes"], head, SIZES["dropout"]
    ours = written()["FDHMFE"](channels, proxies, 8, *sizes)
    library = FDHMFE(channels, CLASSES, BITS, width=8, hash_head=head, proxies=proxies, **SIZES)
    torch.manual_seed(1)
    for tensor in library.state_dict().values():
        if tensor.is_floating_point():
            tensor.copy_(torch.rand_like(tensor) + 0.1)
    stored = zip(ours.state_dict(), library.state_dict().values(), strict=True)
    ours.load_state_dict(dict(stored))
    return ours, library


def test_the_cells_are_about_90_lines_of_definitions():
    lines = [line for source in SOURCES for line in source.splitlines() if line.strip()]
    assert 80 <= len(lines) <= 95
    kinds = (ast.FunctionDef, ast.ClassDef, ast.ImportFrom)
    assert all(isinstance(node, kinds) for source in SOURCES for node in ast.parse(source).body)


def test_nothing_of_the_network_is_imported():
    trees = [ast.parse(source) for source in CODE]
    imported = [n for tree in trees for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)]
    taught = ("network", "stages", "graph")
    assert not {n.module for n in imported} & {f"fdhmfe.{name}" for name in taught}
    kit = {a.asname or a.name for n in imported if n.module.startswith("fdhmfe") for a in n.names}
    assert not {a for n in imported if n.module == "fdhmfe" for a in kit} & set(taught)
    used = {
        node.id
        for source in SOURCES
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)
    }
    assert used & kit <= {"proxies"}  # there it is an argument: the codes, not the module


@pytest.mark.parametrize("train", [False, True], ids=["evaluation", "training"])
@pytest.mark.parametrize("head", ["linear", "mlp"])
@pytest.mark.parametrize("grids", GRIDS, ids=len)
def test_it_equals_the_library_to_the_last_bit(grids, head, train):
    channels = [5, 6, 7][: len(grids)]
    ours, library = both(head, channels)
    maps = [torch.randn(4, c, *grid) for c, grid in zip(channels, grids, strict=True)]
    torch.manual_seed(2)
    u, kept, logits, class_logits = ours.train(train)(maps)
    torch.manual_seed(2)
    expected = library.train(train)(maps)
    assert torch.equal(u, expected.u)
    assert all(map(torch.equal, kept, expected.kept_index))
    assert all(map(torch.equal, logits, expected.token_logits))
    assert torch.equal(class_logits, expected.class_logits[0])


def test_the_same_seed_draws_the_same_first_weights():
    proxies = maxmin_proxies(CLASSES, BITS, 0)
    torch.manual_seed(0)
    ours = written()["FDHMFE"]([5, 6], proxies, 8, 3, 7, "mlp", 0.2)
    torch.manual_seed(0)
    library = FDHMFE([5, 6], CLASSES, BITS, width=8, hash_head="mlp", proxies=proxies, **SIZES)
    stored = zip(ours.state_dict().values(), library.state_dict().values(), strict=True)
    assert all(torch.equal(a, b) for a, b in stored)
