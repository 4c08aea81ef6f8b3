"""Pages for people: one self-contained HTML file per report, readable in light and dark."""

from beltsight.report.render import photo_uri, render

__all__ = ["photo_uri", "render"]
