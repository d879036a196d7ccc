"""What the explorer shows is what the run stored."""

import base64
import io

import numpy as np
from PIL import Image

from fdhmfe.encoding.trained import open_run
from fdhmfe.explorer.gallery import SIDE, build_gallery, thumbnail
from fdhmfe.runs.results import read_codes


def test_gallery_holds_queries_then_database(folder_run):
    gallery, stored = build_gallery(open_run(folder_run)), read_codes(folder_run)
    count = gallery.queries
    unpacked = np.unpackbits(gallery.codes, axis=1)[:, : gallery.bits] * 2.0 - 1
    np.testing.assert_array_equal(unpacked[:count], stored["query_codes"])
    np.testing.assert_array_equal(unpacked[count:], stored["database_codes"])
    np.testing.assert_array_equal(gallery.labels[:count], stored["query_labels"])
    np.testing.assert_array_equal(gallery.labels[count:], stored["database_labels"])
    # two cells of four squares each
    kept_by_first_stage = (gallery.kept & 1).sum((1, 2))
    assert set(kept_by_first_stage) == {2 * 4} and gallery.stages == 3


def test_as_json_gives_the_bytes_back(folder_run):
    gallery = build_gallery(open_run(folder_run))
    content = gallery.as_json()
    assert base64.b64decode(content["codes"]) == gallery.codes.tobytes()
    assert len(base64.b64decode(content["kept"])) == len(gallery.names) * content["side"] ** 2
    picture = Image.open(io.BytesIO(base64.b64decode(content["thumbnails"][0])))
    assert picture.format == "WEBP"


def test_thumbnails_keep_their_shape():
    image = Image.new("RGB", (400, 200), "green")
    assert Image.open(io.BytesIO(thumbnail(image))).size == (SIDE, SIDE // 2)
    assert image.size == (400, 200)
