#!/usr/bin/env python3
"""Writes golden cases of Longformer's attention at further sizes, from its definition in PyTorch.

    python3 -m venv /tmp/venv && /tmp/venv/bin/pip install torch numpy safetensors
    /tmp/venv/bin/python papers/longformer/layer_cases.py DIR
    bazel run //papers:goldens -- --dir=DIR

goldens/ holds transformers' layer and dilated attention, and of those here the ones whose names begin with `formula_`. These join what
the others have apart: dilation by head with global rows and padding, global rows inside and outside the window, rows that are all
global, texts shorter than the window, global rows without projections of their own. Scores of all rows are made, and masked, in
float64; no attention kernel of PyTorch is used.
"""

import json
import math
import pathlib
import sys

import safetensors.torch
import torch


def leaf(*shape):  # float32 values, so that the file holds what was computed with
    return (0.5 * torch.randn(*shape)).double().requires_grad_()


def band(length, side, dilation, causal):
    """[N, N]: is key j in the window of query i?"""
    away = torch.arange(length)[None] - torch.arange(length)[:, None]
    inside = (away % dilation == 0) & (away.abs() <= side * dilation)
    return inside & (away <= 0) if causal else inside


def attend(q, k, v, seen):
    """q, k, v [.., N, D], seen [.., N, S]; rows that see nothing are 0."""
    score = (q @ k.transpose(-1, -2)) / math.sqrt(q.shape[-1])
    score = score.masked_fill(~seen, -math.inf)
    p = torch.where(seen.any(-1, keepdim=True), score, torch.zeros_like(score)).softmax(-1)
    return torch.where(seen.any(-1, keepdim=True), p @ v, torch.zeros_like(q[..., :1]))


def write(folder, name, config, leaves, y, notes, extra=None):
    tensors = {"out.y": y, "cotangent.y": torch.randn(y.shape)}
    (y * tensors["cotangent.y"]).sum().backward()
    for key, value in leaves.items():
        tensors[key] = value
        tensors[f"grad.{key}"] = value.grad if value.grad is not None else torch.zeros_like(value)
    tensors = {key: value.detach().float().contiguous() for key, value in tensors.items()}
    tensors.update(extra or {})
    metadata = {
        "paper": "longformer",
        "case": name,
        "reference": "the definition in PyTorch, papers/longformer/layer_cases.py",
        "notes": notes,
        "config": json.dumps(config),
    }
    safetensors.torch.save_file(tensors, str(folder / f"{name}.safetensors"), metadata)


def layer(folder, name, batch, length, heads, width, window, dilation, kinds, own_projections=True):
    """`kinds`: of each sample its real rows and its global ones."""
    named = ["query", "key", "value"]
    any_global = any(rows for _, rows in kinds)
    if own_projections and any_global:
        named += ["query_global", "key_global", "value_global"]
    leaves = {"in.x": leaf(batch, length, width)}
    for projection in named:
        leaves[f"param.{projection}.weight"] = leaf(width, width)
        leaves[f"param.{projection}.bias"] = leaf(width)

    def project(which):
        y = leaves["in.x"] @ leaves[f"param.{which}.weight"].T + leaves[f"param.{which}.bias"]
        return y.view(batch, length, heads, -1).transpose(1, 2)

    q, k, v = project("query"), project("key"), project("value")
    kind = torch.zeros(batch, length, dtype=torch.int64)
    for b, (real, rows) in enumerate(kinds):
        kind[b, :real] = 1
        kind[b, rows] = 2
    is_real, is_global = (kind > 0)[:, None], (kind == 2)[:, None]
    window_of = torch.stack([band(length, window // 2, d, False) for d in (dilation * heads)[:heads]])[None]
    seen = (window_of | is_global[:, :, None]) & is_real[:, :, None] & is_real[..., None]
    local = attend(q, k, v, seen)
    if own_projections and any_global:
        q, k, v = project("query_global"), project("key_global"), project("value_global")
    dense = attend(q, k, v, (is_real[:, :, None] & is_real[..., None]).expand(-1, heads, -1, -1))
    y = torch.where(is_global[..., None], dense, local).transpose(1, 2).reshape(batch, length, width)
    config = dict(hidden_size=width, heads=heads, attention_window=window, n=length, batch=batch, dilation_per_head=(dilation * heads)[:heads])
    write(folder, name, config, leaves, y, "as goldens/window_global, with dilation_per_head", {"in.attention_kind": kind})


def dilated(folder, name, batch, heads, length, width, side, dilation, causal):
    leaves = {f"in.{which}": leaf(batch, heads, length, width) for which in "qkv"}
    mask = torch.stack([band(length, side, d, causal) for d in dilation])
    y = attend(*leaves.values(), mask[None].expand(batch, -1, -1, -1))
    config = dict(batch=batch, heads=heads, n=length, d=width, one_sided_window=side, dilation_per_head=dilation, causal=causal)
    write(folder, name, config, leaves, y, "as goldens/dilated_per_head", {"in.mask": mask.long()})


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    layer(folder, "formula_dilated_global_padded", 2, 23, 2, 8, 4, [1, 3], [(23, [0, 7]), (17, [16])])
    layer(folder, "formula_shared_projections", 2, 19, 3, 6, 6, [1], [(19, [2]), (18, [0, 1, 9])], own_projections=False)
    dilated(folder, "formula_causal_three_dilations", 2, 3, 31, 4, 5, [1, 2, 6], True)
    layer(folder, "all_rows_global", 1, 9, 2, 8, 2, [1], [(9, list(range(9)))])
    layer(folder, "shorter_than_the_window", 2, 7, 2, 8, 16, [1], [(7, [3]), (2, [1])])
    layer(folder, "no_global_row", 3, 40, 4, 16, 10, [1, 1, 2, 5], [(40, []), (1, []), (33, [])])
    layer(folder, "long", 1, 300, 2, 16, 32, [1, 4], [(290, [0, 100, 289])])
    dilated(folder, "dilation_beyond_the_text", 1, 2, 6, 4, 3, [1, 50], False)
    dilated(folder, "long_causal", 1, 2, 250, 8, 20, [1, 7], True)


if __name__ == "__main__":
    main()
