"""Maps of points: every point is drawn, and no class lies on top of all others."""

import numpy as np

from fdhmfe.figures import clouds


def test_classes_take_turns_and_each_has_one_name():
    labels = np.repeat([0, 1], 7)
    points = np.stack([np.arange(14.0), labels], axis=1)
    figure = clouds.code_maps([points, points], ["a", "b"], labels, ["x", "y"], "toy, 48 bits")
    axis = figure.axes[0]
    drawn = [each.get_offsets().data for each in axis.collections]
    assert np.array_equal(np.unique(np.concatenate(drawn), axis=0), points)
    assert drawn[0][0, 1] == 0 and drawn[-1][0, 1] == 1 and drawn[2][0, 1] == 0
    assert axis.get_legend_handles_labels()[1] == ["x", "y"]
    assert figure.get_suptitle() == "toy, 48 bits"
