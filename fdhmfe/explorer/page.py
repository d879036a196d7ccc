"""A retrieval explorer for any finished run: a widget for Jupyter, and one page for everyone else.

The page holds thumbnails of the run's images: mind their licence before you pass it on.
"""

import html
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import anywidget
import traitlets
from PIL import Image, UnidentifiedImageError

from fdhmfe.codes import code_bytes
from fdhmfe.data.dataset import decode
from fdhmfe.encoding.trained import TrainedRun
from fdhmfe.explorer.gallery import Gallery, text, thumbnail
from fdhmfe.support.files import atomic

SCRIPT, STYLE = (Path(__file__).with_name(f"explorer.{kind}") for kind in ("js", "css"))
PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'">
<link rel="icon" href="data:,">
<title>{title}</title>
<style>
body {{ margin: 0 auto; max-width: 1180px; padding: 16px; font-family: system-ui, sans-serif; }}
h1 {{ font-size: 24px; margin: 0 12px; }}
{style}
</style>
</head>
<body>
<main>
<h1>Retrieval explorer</h1>
<div id="explorer"><noscript>This page needs JavaScript to search.</noscript></div>
</main>
<script type="application/json" id="gallery">{gallery}</script>
<script type="module">
{script}
const gallery = JSON.parse(document.getElementById("gallery").textContent);
render({{ model: {{ get: () => gallery }}, el: document.getElementById("explorer") }});
</script>
</body>
</html>
"""


class Explorer(anywidget.AnyWidget):
    """The explorer in Jupyter; an image that is uploaded is encoded by the run's network."""

    _esm = SCRIPT
    _css = STYLE
    gallery = traitlets.Dict().tag(sync=True)

    def __init__(self, run: TrainedRun, gallery: Gallery) -> None:
        super().__init__(gallery=gallery.as_json())
        self.run = run
        self.on_msg(answer)


def answer(explorer: Explorer, message: dict[str, Any], buffers: Sequence[bytes]) -> None:
    """Encode an uploaded image and send what the front end shows of it, or what went wrong."""
    try:
        image = decode(io.BytesIO(buffers[0]))
    except (UnidentifiedImageError, OSError, Image.DecompressionBombError) as error:
        explorer.send({"error": f"{message['upload']} cannot be read as an image ({error})"})
        return
    codes, kept = explorer.run.encode([image]), explorer.run.kept(explorer.run.maps([image]))
    encoded = {"code": text(code_bytes(codes).tobytes()), "kept": text(kept.tobytes())}
    shown = {"name": message["upload"], "thumbnail": text(thumbnail(image))}
    explorer.send({"encoded": encoded | shown})


def write_page(gallery: Gallery, path: Path) -> None:
    """One self-contained HTML file: it searches by itself and asks the network for nothing."""
    content = json.dumps(gallery.as_json(), separators=(",", ":"))
    page = PAGE.format(
        title=html.escape(f"Retrieval explorer: {gallery.title}"),
        style=STYLE.read_text(encoding="utf-8"),
        script=SCRIPT.read_text(encoding="utf-8"),
        gallery=content.replace("<", "\\u003c"),  # no text can end the script element
    )
    with atomic(path) as partial:
        partial.write_text(page, encoding="utf-8")
