"""Sphinx settings of the site (make site). Nothing in its pages asks another server."""

from docutils import nodes
from docutils.utils.math import MathError
from formulas import mathml  # build_site.py lies beside it
from numpy.typing import ArrayLike
from sphinx.application import Sphinx
from sphinx.errors import SphinxError
from sphinx.util.typing import stringify_annotation

project = "fdhmfe"
author = "the fdhmfe authors"
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.viewcode"]
autodoc_typehints_format = "short"
autodoc_member_order = "bysource"
default_role = "code"  # what docstrings have between backticks
python_maximum_signature_line_length = 80
add_module_names = False
html_theme = "sphinx_book_theme"
html_title = "FDH-MFE, a course in fine-grained hashing"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_theme_options = {
    "use_download_button": False,
    "use_fullscreen_button": False,
    "show_toc_level": 2,
    "navbar_persistent": [],  # the sidebar has the search field
}
html_context = {"default_mode": "light"}
html_use_index = False
html_show_copyright = False
html_math_renderer = "mathml"
html_show_search_summary = False  # summaries are fetched, which pages opened from disk may not do
html_copy_source = False
nb_execution_mode = "off"  # notebooks come executed
nb_ipywidgets_js = {}  # the explorer has a page of its own
nb_merge_streams = True
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3
suppress_warnings = ["mystnb.unknown_mime_type"]


def write_math(translator: nodes.NodeVisitor, node: nodes.math | nodes.math_block) -> None:
    """A formula as MathML."""
    block = isinstance(node, nodes.math_block)
    try:
        markup = mathml(node.astext(), block)
    except MathError as error:
        raise SphinxError(f"{translator.builder.current_docname}: {error}") from error
    tag = "div" if block else "span"
    translator.body.append(f'<{tag} class="math">{markup}</{tag}>')
    raise nodes.SkipNode


def shorten(*event: str | None) -> tuple[str | None, str | None]:
    """A signature with ArrayLike by its name: Sphinx writes out the union that it stands for."""
    whole = stringify_annotation(ArrayLike, "smart")
    arguments, returns = (text and text.replace(whole, "ArrayLike") for text in event[-2:])
    return arguments, returns


def setup(app: Sphinx) -> None:
    app.connect("autodoc-process-signature", shorten)
    app.add_html_math_renderer("mathml", (write_math, None), (write_math, None))
