"""The papers: every folder here that has plugins. A new paper is one line in this list (sorted)."""

PAPERS = [
    "needle_in_a_haystack",
    "position_interpolation",
    "rope_extension",
    "transformer",
]
