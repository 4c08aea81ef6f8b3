"""How the documentation is built: ``make docs``; a warning is an error."""

import beltsight

project = "Beltsight"
author = "The Beltsight authors"
copyright = author
version = release = beltsight.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
html_theme = "furo"
html_title = f"Beltsight {version}"
exclude_patterns = ["_build"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
napoleon_google_docstring = True
napoleon_numpy_docstring = False

# Types of other projects, whose index is not at hand without a network.
nitpick_ignore_regex = [
    (r"py:.*", r"(numpy|collections\.abc|pathlib|os|pydantic)\..*"),
]
# Types of this project that are not part of the public surface: named, not linked.
nitpick_ignore = [
    ("py:class", name)
    for name in (
        "Card", "Engine", "Path", "Photo", "Run", "Source", "StoredPhoto", "TrainSettings",
        "beltsight.card.Card", "beltsight.leak.Leak", "beltsight.evaluation.TaskResult",
        "beltsight.taxonomy.Taxonomy", "beltsight.policy.Policy", "Policy", "Taxonomy",
        "beltsight.quantization.run.Trial",
    )
] + [
    ("py:func", "beltsight.image.prepare"),
    ("py:func", "beltsight.robustness.measure_robustness"),
]  # fmt: skip
