"""The folders of //papers, sorted. A new paper is one line here (`bazel run //papers:new` writes it) and its folder."""

PAPERS = [
    "alibi",
    "clex",
    "context_extension_study",
    "induction_heads",
    "landmark_attention",
    "lm_infinite",
    "long_range_arena",
    "longlora",
    "mamba",
    "needle_in_a_haystack",
    "position_interpolation",
    "retnet",
    "rope_extension",
    "s4",
    "s5",
    "self_extend",
    "streaming_llm",
    "transformer",
]
