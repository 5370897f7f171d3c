#!/usr/bin/env python3
"""Writes golden cases of Linformer's layers with every sharing, order and pooling, from the paper's formula in PyTorch.

    python3 -m venv /tmp/venv && /tmp/venv/bin/pip install torch numpy safetensors
    /tmp/venv/bin/python papers/linformer/layer_cases.py DIR
    bazel run //papers:goldens -- --dir=DIR

goldens/ holds layers of the package and of the authors' code, and of those here the ones whose names begin with `formula_`. Options and
parameters are called as in linformer.proto and in checkpoints of this project. Padding is zeros: of keys and values, or of the
input where that is compressed; a run of rows that is all padding is no slot. In float64.
"""

import json
import math
import pathlib
import sys

import safetensors.torch
import torch


def leaf(*shape):  # float32 values, so that the file holds what was computed with
    return (0.3 * torch.randn(*shape)).double().requires_grad_()


def compress(y, mixture, config, real):
    """y [B, N, C] -> slots [B, R, C], or of a mixture by head [B, K, R, C]; real [B] rows. And which slots there are, [B, R]."""
    length, rank = y.shape[1], config["rank"]
    if config["pooling"] == "linear":
        there = torch.ones(y.shape[0], rank, dtype=torch.bool)
        columns = mixture[..., :length]
        return torch.einsum("krn,bnc->bkrc" if columns.dim() == 3 else "rn,bnc->brc", columns, y), there
    run = config["n_max"] // rank
    slots = []
    for begin in range(0, length, run):
        of_sample = []
        for b in range(y.shape[0]):
            rows = y[b, begin : min(begin + run, length, max(int(real[b]), begin + 1))]
            if config["pooling"] == "mean":
                of_sample.append(rows.mean(0))
            elif config["pooling"] == "max":
                of_sample.append(rows.max(0).values)
            else:
                weights = mixture[..., : rows.shape[0]]
                of_sample.append(torch.einsum("kn,nc->kc" if weights.dim() == 2 else "n,nc->c", weights, rows))
        slots.append(torch.stack(of_sample))
    there = torch.tensor([[begin < int(real[b]) for begin in range(0, length, run)] for b in range(y.shape[0])])
    return torch.stack(slots, -2), there


def attention(x, parameters, prefix, config, real):
    batch, length, width = x.shape
    heads, kv_heads = config["heads"], config["kv_heads"] or config["heads"]
    inside = (torch.arange(length)[None] < real[:, None])[..., None]

    def weight(which):
        return parameters[f"param.{prefix}w_{which}"]

    def bias(which):
        return parameters.get(f"param.{prefix}b_{which}", 0.0)

    def mixture(which):
        for name in (f"param.{prefix}{which}", f"param.{prefix}e", "param.shared.linformer.e"):
            if name in parameters:
                return parameters[name]
        return None

    def slots(which, mix):
        head_width = weight(which).shape[0] // kv_heads
        if config["order"] == "project_then_compress":
            y = torch.where(inside, x @ weight(which).T + bias(which), torch.zeros(()).double())
            made, there = compress(y, mix, config, real)
            if made.dim() == 4:  # [B, K, R, all channels]: each head's own
                made = made.view(batch, kv_heads, -1, kv_heads, head_width)
                made = torch.stack([made[:, h, :, h] for h in range(kv_heads)], 1)
            else:
                made = made.view(batch, -1, kv_heads, head_width).transpose(1, 2)
            return made, there
        made, there = compress(torch.where(inside, x, torch.zeros(()).double()), mix, config, real)
        if made.dim() == 3:
            made = made[:, None].expand(-1, kv_heads, -1, -1)
        w = weight(which).view(kv_heads, head_width, width)
        b = bias(which)
        made = torch.einsum("bkrd,kpd->bkrp", made, w)
        return (made + b.view(kv_heads, 1, head_width) if torch.is_tensor(b) else made), there

    k, there = slots("k", mixture("e"))
    v, _ = slots("v", mixture("f"))
    q = (x @ weight("q").T + bias("q")).view(batch, length, heads, -1).transpose(1, 2)
    k, v = k.repeat_interleave(heads // kv_heads, 1), v.repeat_interleave(heads // kv_heads, 1)
    score = (q @ k.transpose(-1, -2)) / math.sqrt(q.shape[-1])
    p = score.masked_fill(~there[:, None, None], -math.inf).softmax(-1)
    mixed = torch.where(inside, (p @ v).transpose(1, 2).reshape(batch, length, -1), torch.zeros(()).double())
    return mixed @ weight("o").T + bias("o")


def write(folder, name, batch, length, width, heads, rank, n_max, sharing, order="project_then_compress", pooling="linear", biases=True, kv_heads=0, layers=1, lengths=None):
    config = dict(batch=batch, n=length, width=width, heads=heads, kv_heads=kv_heads, rank=rank, n_max=n_max, sharing=sharing, order=order,
                  pooling=pooling, biases=biases, layers=layers)
    if lengths:
        config["lengths"] = lengths
    groups, head_width = kv_heads or heads, width // heads
    leaves = {"in.x": leaf(batch, length, width)}

    def mixture():
        shape = (rank, n_max) if pooling == "linear" else (n_max // rank,)
        return leaf(*((groups,) + shape if sharing == "none" else shape))

    for i in range(layers):
        for which, out in (("q", width), ("k", groups * head_width), ("v", groups * head_width), ("o", width)):
            leaves[f"param.layers.{i}.w_{which}"] = leaf(out, width)
            if biases:
                leaves[f"param.layers.{i}.b_{which}"] = leaf(out)
        if pooling in ("linear", "convolution") and sharing != "layerwise":
            leaves[f"param.layers.{i}.e"] = mixture()
            if sharing != "key_value":
                leaves[f"param.layers.{i}.f"] = mixture()
    if pooling in ("linear", "convolution") and sharing == "layerwise":
        leaves["param.shared.linformer.e"] = mixture()
    real = torch.tensor(lengths or [length] * batch)
    y = leaves["in.x"]
    for i in range(layers):
        y = attention(y, leaves, f"layers.{i}.", config, real)
    tensors = {"out.y": y, "cotangent.y": torch.randn(y.shape)}
    (y * tensors["cotangent.y"]).sum().backward()
    for key, value in leaves.items():
        tensors[key] = value
        tensors[f"grad.{key}"] = value.grad
    tensors = {key: value.detach().float().contiguous() for key, value in tensors.items()}
    metadata = {
        "paper": "linformer",
        "case": name,
        "reference": "the paper's formula in PyTorch, papers/linformer/layer_cases.py",
        "notes": "rows [lengths[b], n) of sample b are padding; y there is the output's bias. Weights are [out, in].",
        "config": json.dumps(config),
    }
    safetensors.torch.save_file(tensors, str(folder / f"{name}.safetensors"), metadata)


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    write(folder, "formula_layerwise_two_layers_padded", 2, 17, 12, 3, 5, 20, "layerwise", layers=2, lengths=[17, 9])
    write(folder, "formula_own_of_every_head_padded", 2, 14, 8, 2, 4, 14, "none", lengths=[5, 14])
    write(folder, "formula_own_compressed_first", 1, 11, 8, 2, 3, 16, "none", order="compress_then_project", kv_heads=1)
    write(folder, "formula_convolution_by_head", 2, 13, 8, 2, 4, 16, "none", pooling="convolution", lengths=[13, 6])
    write(folder, "formula_max_padded", 2, 13, 8, 2, 4, 16, "headwise", pooling="max", lengths=[4, 13])
    n = 0
    for sharing in ("layerwise", "key_value", "headwise", "none"):
        for order in ("project_then_compress", "compress_then_project"):
            for pooling in ("linear", "mean", "max", "convolution"):
                biases, lengths = n % 3 != 0, [19, 3] if n % 2 else None
                # Rows that were pooled are much alike: on top of them float32 tells little.
                layers = 2 if pooling == "linear" else 1
                write(folder, f"case_{n}_{sharing}_{order}_{pooling}", 2, 19, 12, 4, 6, 24, sharing, order, pooling, biases, (0, 2, 1)[n % 3], layers, lengths)
                n += 1


if __name__ == "__main__":
    main()
