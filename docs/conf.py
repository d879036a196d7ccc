"""Sphinx settings of the rendered notebooks (make site). Nothing in them asks another server."""

from docutils import nodes
from docutils.utils.math import MathError
from formulas import mathml  # build_site.py lies beside it
from sphinx.application import Sphinx
from sphinx.errors import SphinxError

project = "fdhmfe"
author = "the fdhmfe authors"
extensions = ["myst_nb"]
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


def setup(app: Sphinx) -> None:
    app.add_html_math_renderer("mathml", (write_math, None), (write_math, None))
