"""A backbone in two: a front whose maps are cached, and a tail that is trained from them.

The cut is at the resolution before the last, at a map through which everything flows. Training the
tail costs a fraction of fine-tuning the whole backbone, and lets a CPU do it.
"""

from collections.abc import Sequence
from copy import deepcopy
from typing import NamedTuple, cast

import timm.models._features_fx as timm_fx
import torch
from torch import Tensor, nn
from torch.fx import Graph, GraphModule, Node
from torch.fx.experimental.optimization import fuse
from torch.fx.passes.shape_prop import ShapeProp
from torchvision.models.feature_extraction import NodePathTracer

from fdhmfe.data.views import Preprocessing
from fdhmfe.features.backbone import StageBackbone, Values, to_grid

NO_TAIL = "this backbone has no tail to train"
HELP = 'set trainable to "none" or "all", or choose a convolutional backbone'
ROOM = 1.5  # the cut is the latest map that is at most this many times as large as the smallest


class Front(nn.Module):
    """Images (B, 3, H, W) -> the shallow stage maps, pooled to the grid, and the map to cut at.

    The last one, which the tail goes on from, keeps its resolution.
    """

    def __init__(self, graph: nn.Module, grid: int, preprocessing: Preprocessing) -> None:
        super().__init__()
        self.graph = graph
        self.grid = grid
        self.preprocessing = preprocessing

    def forward(self, images: Tensor) -> list[Tensor]:
        *shallow, cut = self.graph(images)
        return [*to_grid(shallow, self.grid), cut]


class Tail(nn.Module):
    """What `Front` returns -> all stage maps (B, C_l, H_l, W_l), shallow to deep, and one more.

    The last map is what the backbone's last block takes. `stages`: how many stage maps the tail
    itself computes. Without shallow maps in front, only these are returned.
    """

    def __init__(self, graph: nn.Module, grid: int, stages: int) -> None:
        super().__init__()
        self.graph = graph
        self.grid = grid
        self.stages = stages

    def forward(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        *shallow, cut = inputs
        *deep, before = self.graph(cut.contiguous(memory_format=torch.channels_last))
        return [*shallow, *to_grid(deep, self.grid), before]


class Halves(NamedTuple):
    """A backbone in two: `tail(front(images))` are the stage maps of the whole."""

    front: Front
    tail: Tail
    block: nn.Module  # a copy of the tail's last block: its last map -> the deepest stage's map


def split(backbone: StageBackbone) -> Halves:
    """Split a convolutional backbone at the resolution before its last; the backbone stays whole.

    The front's batch norms are folded into its convolutions. The tail's batch norms and dropout are
    trained as usual; random layers that are functions (stochastic depth) are left out of it. Raises
    ValueError if the backbone cannot be traced, or has no map that everything flows through.
    """
    whole, pre = traced(backbone), backbone.preprocessing
    ShapeProp(whole).propagate(torch.zeros(1, 3, pre.size, pre.size))
    *nodes, output = whole.graph.nodes
    place, last = cut_places(whole, nodes)
    stages = output.all_input_nodes  # shallow to deep
    early = [node for node in stages if nodes.index(node) < place]
    deep, cut, before = stages[len(early) :], nodes[place], nodes[last]
    front: nn.Module = part(whole, [], nodes[: place + 1], [*early, cut])
    tail = part(whole, [cut], nodes[place + 1 :], [*deep, before])
    block = part(whole, [before], nodes[last + 1 :], deep[-1:])
    if isinstance(backbone.extractor, Values):  # timm's own layers cannot all be traced again
        front = fuse(front)
    halves = Halves(
        Front(front, backbone.grid, pre),
        Tail(deepcopy(tail), backbone.grid, len(deep)),
        nn.Sequential(deepcopy(block), First()),
    )
    for layer in nn.ModuleList(halves).eval().modules():
        if isinstance(layer, nn.Conv2d):  # not all: traced masks of Swin have five dimensions
            layer.to(memory_format=torch.channels_last)
    return halves


class First(nn.Module):
    """The first of several outputs."""

    def forward(self, outputs: Sequence[Tensor]) -> Tensor:
        return outputs[0]


def traced(backbone: StageBackbone) -> GraphModule:
    """The backbone's extractor as a graph, in evaluation mode; ValueError if that cannot be had."""
    extractor = backbone.extractor
    if isinstance(extractor, Values):
        return cast(GraphModule, extractor.extractor)  # torchvision's feature extractors are graphs
    tracer = NodePathTracer(
        leaf_modules=timm_fx.get_notrace_modules(),
        autowrap_functions=timm_fx.get_notrace_functions(),
    )
    network = cast(nn.Module, extractor).eval()
    try:
        return GraphModule(network, tracer.trace(network))
    except Exception as error:  # tracing runs the network's own code: it may raise anything
        reason = " ".join(str(error).split())[:200]
        raise ValueError(f"{NO_TAIL}: it cannot be traced ({reason}); {HELP}") from error


def cut_places(whole: GraphModule, nodes: Sequence[Node]) -> tuple[int, int]:
    """Where the tail and where the last block begin: positions in a graph with known shapes.

    Candidates are maps that everything flows through: nothing before them is used after them,
    except as an output. For the tail, they have the lowest resolution that leaves layers to train
    at a lower one; for the last block, that lower one. The latest of those that are at most `ROOM`
    times as large as the smallest.
    """
    trained = [place for place, node in enumerate(nodes) if has_parameters(whole, node)]
    through = [place for place in flow(nodes) if trained and place < trained[-1]]
    lowest = side(nodes[trained[-1]]) if trained else 0
    shared = {side(nodes[place]) for place in through if side(nodes[place]) > lowest}
    at = [place for place in through if side(nodes[place]) == min(shared, default=0)]
    if not any(place >= trained[0] for place in at):  # nothing, or only the image itself
        raise ValueError(f"{NO_TAIL}: no map before its last resolution carries all; {HELP}")
    tail = narrow(nodes, at)
    last = [place for place in through if place > tail and side(nodes[place]) == lowest]
    return tail, narrow(nodes, last or [tail])


def flow(nodes: Sequence[Node]) -> list[int]:
    """The places of the maps of a graph that everything flows through."""
    order = {node: place for place, node in enumerate(nodes)}
    through, needed = [], 0  # needed: the last place that uses a node seen so far
    for place, node in enumerate(nodes):
        if node.op != "get_attr":  # parameters can be read on both sides
            if needed <= place and side(node) > 1:
                through.append(place)
            needed = max([needed, *(order[user] for user in node.users if user in order)])
    return through


def narrow(nodes: Sequence[Node], places: Sequence[int]) -> int:
    """The latest of these places whose map is at most `ROOM` times as large as the smallest."""
    sizes = {place: nodes[place].meta["tensor_meta"].shape.numel() for place in places}
    return max(place for place in places if sizes[place] <= ROOM * min(sizes.values()))


def has_parameters(whole: GraphModule, node: Node) -> bool:
    """Whether a node is a layer that can be trained and gives a map."""
    if node.op != "call_module" or not side(node) > 1:
        return False
    return any(True for _ in whole.get_submodule(str(node.target)).parameters())


def side(node: Node) -> int:
    """Pixels per side of a node's square map, whether channels come first or last; 0 if none."""
    shape: Sequence[int] = getattr(node.meta.get("tensor_meta"), "shape", ())
    if len(shape) != 4:
        return 0
    if shape[2] == shape[3]:
        return shape[2]
    return shape[1] if shape[1] == shape[2] else 0


def part(
    whole: GraphModule, inputs: Sequence[Node], nodes: Sequence[Node], outputs: Sequence[Node]
) -> GraphModule:
    """The part of a graph made of `nodes`, which takes the values of `inputs` (or has its own)."""
    graph, copies = Graph(), {}
    for node in inputs:
        copies[node] = graph.placeholder(node.name)

    def copy(node: Node) -> Node:
        if node not in copies:  # else only a parameter can come from before the inputs
            copies[node] = graph.node_copy(node, copy)
        return copies[node]

    for node in nodes:
        copy(node)
    graph.output([copy(node) for node in outputs])
    module = GraphModule(whole, graph)
    module.graph.eliminate_dead_code()
    module.recompile()
    return module
