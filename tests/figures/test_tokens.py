"""The diagrams of tokens show what fusion and selection compute."""

import numpy as np
import pytest
import torch

from fdhmfe import stages
from fdhmfe.figures import frames, tokens


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_message_down_and_one_up_between_neighbouring_stages(count):
    axis = tokens.fusion_steps(count).axes[0]
    sent = [text for text in axis.texts if text.get_text() == ""]
    across = [a for a in sent if a.xy[1] != a.xyann[1]]
    down = [a.xy[0] for a in across if a.xy[1] < a.xyann[1]]
    up = [a.xy[0] for a in across if a.xy[1] > a.xyann[1]]
    assert len(down) == len(up) == count - 1
    assert all(first < then for first in down for then in up)


def test_the_letters_of_the_formulas_stand_at_their_arrows():
    axis = tokens.fusion_steps(2).axes[0]
    letters = {text.get_text(): text.get_position()[1] for text in axis.texts}
    down, up = letters["$+\\,V_1$"], letters["$+\\,U_1$"]
    assert letters["$W_1$"] < down == up < letters["$W_2$"]


def test_the_diagram_of_selection_agrees_with_the_selection():
    logits = torch.tensor([[[0.0, 3.0], [2.0, 0.0], [0.0, 1.0], [0.0, 2.5]]])  # class 1 wins
    kept = stages.best_tokens(logits, 2)[0].numpy()
    table, vote, scores, cells = tokens.selection_steps(logits[0].numpy(), kept).axes
    assert [bar.get_height() for bar in vote.patches] == [0.5, 1.625]
    shown = [text.get_text() for text in scores.texts]
    assert shown == [f"{value:.2f}" for value in logits[0].log_softmax(-1)[:, 1].tolist()]
    assert scores.get_xticklabels()[0].get_text() == "log P(class 1)"
    words = [text.get_text() for text in cells.texts]
    assert words == ["0\nkept", "1\ndropped", "2\ndropped", "3\nkept"]
    assert len(table.texts) == 8


def test_its_type_is_legible_in_a_column():
    figure = tokens.selection_steps(np.zeros((4, 2)), np.array([0]))
    smallest = min(text.get_fontsize() for axis in figure.axes for text in axis.texts)
    assert smallest * 3.35 / figure.get_figwidth() >= 7
    assert tokens.fusion_steps(3).get_figwidth() <= frames.WIDTH
