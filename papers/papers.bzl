"""The folders of //papers: a new paper is a line in each list that it belongs to (sorted)."""

# Have a library of their own name that registers their plugins.
PAPERS = [
    "needle_in_a_haystack",
    "position_interpolation",
    "rope_extension",
    "transformer",
]

# Have golden cases in their folder goldens/, and a library golden_adapter.
GOLDENS = [
    "needle_in_a_haystack",
    "position_interpolation",
    "rope_extension",
]

# Have a claims.textproto: papers, not the control arm.
CLAIMS = [
    "context_extension_study",
    "needle_in_a_haystack",
    "position_interpolation",
    "rope_extension",
]
