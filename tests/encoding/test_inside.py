"""An opened run is the run: the same codes, and clear errors where there is none."""

import numpy as np
import pytest
import torch
from conftest import write_folder

from fdhmfe import config
from fdhmfe.encoding import inside
from fdhmfe.network import binarise
from fdhmfe.runs import experiment, results
from fdhmfe.runs.inputs import prepare


@pytest.fixture
def settings(tmp_path, own_cache):
    root = write_folder(tmp_path / "images")
    return config.load(
        "smoke", dataset="folder", data_dir=str(root), results_dir=str(tmp_path / "results")
    )


def test_the_opened_head_makes_the_stored_codes(settings):
    inputs = prepare(settings)
    folder = experiment.run(settings)
    head, read = inside.open_run(folder, settings, inputs)
    rows = inputs.dataset.rows("test")
    stages = read(rows)
    assert [x.shape[0] for x in stages] == [len(rows)] * settings.stages
    mirrored = inputs.source.plain_batches(rows)[1]
    codes = binarise(torch.stack([head(stages).u, head(mirrored).u]).mean(0)).numpy()
    assert np.array_equal(codes, results.read_codes(folder)["query_codes"])
    fresh, _ = inside.untrained(settings, inputs)
    assert not torch.equal(fresh.hash.linear.weight, head.hash.linear.weight)


def test_a_missing_run_says_what_to_run(settings, tmp_path):
    with pytest.raises(FileNotFoundError, match="run notebook 06_train first"):
        inside.open_run(tmp_path / "nothing", settings, prepare(settings))


def test_another_method_has_no_parts_to_open(settings):
    inputs = prepare(settings)
    network = experiment.build_model(config.load("smoke", method="orthohash"), inputs).network
    with pytest.raises(ValueError, match="use method 'fdh-mfe'"):
        inside.opened(network, inputs)
