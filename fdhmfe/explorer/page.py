"""A retrieval explorer for a run or an album: a widget in Jupyter, or one page for any browser.

The page holds thumbnails of the images: check their licence before you share it.
"""

import html
import io
import json
from collections.abc import Sequence
from pathlib import Path
from string import Template
from typing import Any

import anywidget
import traitlets

from fdhmfe.codes import code_bytes
from fdhmfe.data.picture import Unreadable, decode
from fdhmfe.encoding.neighbours import open_model
from fdhmfe.encoding.trained import TrainedRun
from fdhmfe.explorer.gallery import Gallery, album_gallery, build_gallery, text, thumbnail
from fdhmfe.support.files import write_text

PARTS, SCRIPT, STYLE, PAGE = (
    Path(__file__).with_name(name).read_text(encoding="utf-8")
    for name in ("parts.js", "explorer.js", "explorer.css", "explorer.html")
)


class Explorer(anywidget.AnyWidget):
    """The explorer in Jupyter. The run's network encodes each photo that you give it."""

    _esm = PARTS + SCRIPT
    _css = STYLE
    gallery = traitlets.Dict().tag(sync=True)

    def __init__(self, run: TrainedRun, gallery: Gallery) -> None:
        super().__init__(gallery=gallery.as_json())
        self.run = run
        self.on_msg(answer)


def answer(explorer: Explorer, message: dict[str, Any], buffers: Sequence[bytes]) -> None:
    """Encode an uploaded image; send the browser its code and thumbnail, or what went wrong."""
    try:
        image = decode(io.BytesIO(buffers[0]))
    except Unreadable as error:
        explorer.send({"error": f"{message['upload']} cannot be read as an image ({error})"})
        return
    codes, kept = explorer.run.encode([image]), explorer.run.kept(explorer.run.maps([image]))
    encoded = {"code": text(code_bytes(codes).tobytes()), "kept": text(kept.tobytes())}
    shown = {"name": message["upload"], "thumbnail": text(thumbnail(image))}
    explorer.send({"encoded": encoded | shown})


def explore(run: str, folder: str, out: Path, *, network: str, given: dict[str, Any]) -> None:
    """Write the page of a finished run; or, if a folder is named, that of the folder's pictures.

    network: a finished run that encodes the folder; empty: none does. given: what `open_model`
    takes. Raises ValueError if it is not clear which page is wanted.
    """
    if run and folder:
        raise ValueError(f"{run} is shown without --in; with --in, name it as --run {run}")
    if network and not folder:
        raise ValueError(
            f"--run {network} needs --in FOLDER; its own images are shown without --run"
        )
    if not (run or folder):
        raise ValueError("name a run's folder, or a folder of pictures: --in FOLDER")
    model = open_model(run or network, Path(folder), **given)
    write_page(album_gallery(Path(folder), model) if folder else build_gallery(model), out)
    print(f"{out}: {out.stat().st_size / 2**20:.1f} MB, opens in any browser")


def write_page(gallery: Gallery, path: Path) -> None:
    """Write one HTML file that needs no server and no internet: it searches in the browser."""
    content = json.dumps(gallery.as_json(), separators=(",", ":"))
    page = Template(PAGE).substitute(
        title=html.escape(f"Retrieval explorer: {gallery.title}"),
        style=STYLE,
        script=PARTS + SCRIPT,
        gallery=content.replace("<", "\\u003c"),  # else a name could end the script element
    )
    write_text(path, page)
