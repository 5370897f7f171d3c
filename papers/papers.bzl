"""The folders of //papers. A new paper is one line in PAPERS, and one in GOLDENS once it has golden cases (both sorted)."""

# Have a library of their own name that registers their plugins.
PAPERS = [
    "needle_in_a_haystack",
    "position_interpolation",
    "rope_extension",
    "transformer",
]

# Have a library golden_adapter, and cases in their folder goldens/.
GOLDENS = [
    "position_interpolation",
    "rope_extension",
]
