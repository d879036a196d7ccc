"""A retrieval explorer for any finished run: a widget in Jupyter, or one page for any browser.

The page holds thumbnails of the run's images: check their licence before you share it.
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
from fdhmfe.encoding.trained import TrainedRun
from fdhmfe.explorer.gallery import Gallery, text, thumbnail
from fdhmfe.support.files import atomic

SCRIPT, STYLE, PAGE = (
    Path(__file__).with_name(f"explorer.{kind}") for kind in ("js", "css", "html")
)


class Explorer(anywidget.AnyWidget):
    """The explorer in Jupyter. The run's network encodes each image that you upload."""

    _esm = SCRIPT
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


def write_page(gallery: Gallery, path: Path) -> None:
    """Write one HTML file that needs no server and no internet: it searches in the browser."""
    content = json.dumps(gallery.as_json(), separators=(",", ":"))
    page = Template(PAGE.read_text(encoding="utf-8")).substitute(
        title=html.escape(f"Retrieval explorer: {gallery.title}"),
        style=STYLE.read_text(encoding="utf-8"),
        script=SCRIPT.read_text(encoding="utf-8"),
        gallery=content.replace("<", "\\u003c"),  # else a name could end the script element
    )
    with atomic(path) as partial:
        partial.write_text(page, encoding="utf-8")
