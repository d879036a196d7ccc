"""A finished run opened again makes the same codes, and refuses what does not belong to it."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import save_image, write_folder

from fdhmfe.encoding.trained import encode_images, kept_cells, kept_regions, open_run
from fdhmfe.network import Output
from fdhmfe.runs import experiment
from fdhmfe.runs.results import read_codes


def test_images_get_the_codes_and_regions_that_the_run_stored(folder_run):
    run = open_run(folder_run)
    rows = run.inputs.dataset.rows("test")
    codes, kept = encode_images(run, [run.inputs.dataset.image(row) for row in rows])
    assert codes.dtype == np.int8 and codes.shape == (len(rows), 20)
    np.testing.assert_array_equal(codes, read_codes(folder_run)["query_codes"])
    np.testing.assert_array_equal(kept, kept_regions(run, rows))


def test_kept_cells_by_hand():
    logits = [torch.zeros(1, 16, 3), torch.zeros(1, 4, 3)]  # 4 x 4 and 2 x 2 tokens
    index = [torch.tensor([[0, 15]]), torch.tensor([[1]])]  # two corners; the upper right quarter
    cells = [[1, 0, 2, 2], [0, 0, 2, 2], [0, 0, 0, 0], [0, 0, 0, 1]]
    found = kept_cells(Output(torch.zeros(1, 8), logits, index), [0.0, 0.0])
    np.testing.assert_array_equal(found[0], np.kron(cells, np.ones((2, 2))))  # in half cells


def test_kept_cells_lie_where_their_tokens_look():
    logits, index = [torch.zeros(1, 4, 3)] * 2, [torch.tensor([[0, 3]]), torch.tensor([[1]])]
    found = kept_cells(Output(torch.zeros(1, 8), logits, index), [-0.48, 0.5])[0]
    # Half a cell up and left: a corner of cell 0 is left, cell 3 is in the middle; the last row
    # and column are no token's. Half a cell down and right: so lies half of cell 1.
    assert found.tolist() == [[1, 0, 0, 0], [0, 1, 1, 2], [0, 1, 1, 2], [0, 0, 0, 0]]


def test_a_method_without_regions_opens_too(folder_run):
    run = open_run(folder_run)
    lsh = open_run(experiment.run(replace(run.config, method="lsh")))
    image = run.inputs.dataset.image(0)
    codes, kept = encode_images(lsh, [image])
    assert codes.shape == (1, 20) and kept.shape == (1, 0, 0)


def test_moved_images_are_found_and_other_images_refused(folder_run, tmp_path):
    root = open_run(folder_run).inputs.dataset.root
    shutil.copytree(root, tmp_path / "moved")
    assert open_run(folder_run, data_dir=str(tmp_path / "moved")).inputs.dataset.root != root
    other = write_folder(tmp_path / "other", classes=3, per_class=10)
    save_image(other / "train" / "class_0" / "1.jpg", seed=99)
    with pytest.raises(ValueError, match=r"other images than those in .*other"):
        open_run(folder_run, data_dir=str(other))


def test_what_is_no_finished_run_is_said(folder_run, tmp_path):
    with pytest.raises(ValueError, match=r"not a finished run.*06_train"):
        open_run(tmp_path)
    broken = tmp_path / folder_run.name
    shutil.copytree(folder_run, broken)
    (broken / "config.json").write_text('{"profile": "smoke", "colour": 3}')
    with pytest.raises(ValueError, match=r"another version.*colour"):
        open_run(broken)
