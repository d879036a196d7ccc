"""The diagram of a proxy counts bits as one does by hand."""

import numpy as np
import pytest

from fdhmfe.figures import targets


@pytest.mark.parametrize(("apart", "sure"), [(5, 2), (4, 1), (1, 0)])
def test_wrong_bits_are_framed_and_half_the_distance_is_forgiven(apart, sure):
    own = np.ones(6, int)
    code, other = own.copy(), own.copy()
    code[0] = other[:apart] = -1
    above, below = targets.forgiven(own, code, other).axes
    assert len(above.lines) == 1 + apart  # frames: one wrong bit, and those of the other proxy
    assert [label.get_text() for label in above.get_yticklabels()][1] == "code"
    written = {text.get_text(): text for text in below.texts}
    assert f"{sure} forgiven" in written
    assert written["code"].xy[0] == 1
    assert below.get_xticks().tolist() == list(range(apart + 1))
