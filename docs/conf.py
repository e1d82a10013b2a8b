"""How Sphinx builds the site that `docs/make_site.py` gathers. No page may request anything from elsewhere."""

import re

from fixlib import __version__

project, author, release = "fixlib", "the fixlib authors", __version__
copyright = "the fixlib authors, MIT license"
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]

exclude_patterns = ["examples", "fixlib"]  # files that pages link to

nb_execution_mode = "off"  # chapters are shown as stored
nb_ipywidgets_js = {}  # would be fetched from elsewhere
nb_render_markdown_format = "myst"  # tables and links in what a cell displays, as in a cell of text
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3

default_role = "code"  # a name in single backticks, in docstrings
autodoc_default_options = {"members": True, "show-inheritance": True}
autodoc_inherit_docstrings = False  # PyTorch's, of things that need none here
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
python_maximum_signature_line_length = 150
napoleon_google_docstring, napoleon_numpy_docstring = True, False

html_theme = "furo"
html_title = f"fixlib {release}"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sphinx = False
html_show_search_summary = False  # a page opened from a folder may not read other pages
suppress_warnings = ["docutils"]  # docstrings are written for readers of the code first


def setup(app):
    app.connect("autodoc-process-docstring", _as_meant)


def _as_meant(app, what, name, obj, options, lines):
    """Docstrings are written for readers of the code: |p - y| is a formula in them, and what is indented an example."""
    text = re.sub(r"(?<=[^:\n]):(?=\n\n {4}\S)", "::", "\n".join(lines))
    lines[:] = [re.sub(r"(`+[^`]*`+)|\|", lambda found: found[1] or r"\|", line) for line in text.split("\n")]
