#!/usr/bin/env python3
"""Writes golden cases of Transformer-XL with further options and sizes, from the paper's equations in PyTorch.

    python3 -m venv /tmp/venv && /tmp/venv/bin/pip install torch numpy safetensors
    /tmp/venv/bin/python papers/transformer_xl/segment_cases.py DIR
    bazel run //papers:goldens -- --dir=DIR

The cases in papers/transformer_xl/goldens are the authors' code; these have other lengths of segment and memory (none, shorter and
longer than a segment, of one row), u and v of each layer's own, same_length and clamp_len by themselves, adaptive vocabularies
with and without a divisor, narrower than the model, with projections tied and not. Scores are made pair of rows by pair of rows,
keys looked up by their place in the stream, in float64.
"""

import json
import math
import pathlib
import sys

import safetensors.torch
import torch

BATCH = 2


def leaf(*shape, scale=0.4, shift=0.0):  # float32 values, so that the file holds what was computed with
    return (scale * torch.randn(*shape) + shift).float().double().requires_grad_()


def norm(x, p, name):
    mean = x.mean(-1, keepdim=True)
    variance = ((x - mean) ** 2).mean(-1, keepdim=True)
    return (x - mean) / torch.sqrt(variance + 1e-5) * p[f"{name}.weight"] + p[f"{name}.bias"]


def distance_row(distance, c):
    if c["clamp_len"] > 0:
        distance = min(distance, c["clamp_len"])
    angle = distance * 10000.0 ** (-torch.arange(0, c["d_model"], 2, dtype=torch.float64) / c["d_model"])
    return torch.cat([angle.sin(), angle.cos()])


def attention(x, memory, p, name, u, v, c):
    """x [L, B, D] behind memory [M, B, D]."""
    rows, width, heads, channels = x.shape[0], c["n_head"] * c["d_head"], c["n_head"], c["d_head"]
    everything = torch.cat([memory, x], 0)
    seen = norm(everything, p, f"{name}.layer_norm") if c["pre_lnorm"] else everything
    w_q, w_k, w_v = p[f"{name}.qkv_net.weight"].split(width)
    q = (seen[len(memory) :] @ w_q.T).view(rows, BATCH, heads, channels)
    k = (seen @ w_k.T).view(-1, BATCH, heads, channels)
    values = (seen @ w_v.T).view(-1, BATCH, heads, channels)
    out = []
    for i in range(rows):
        scores, which = [], []
        for j in range(len(memory) + i + 1):
            distance = len(memory) + i - j
            if c["same_length"] and distance >= c["mem_len"]:
                continue
            r = (p[f"{name}.r_net.weight"] @ distance_row(distance, c)).view(heads, channels)
            terms = q[i] * k[j] + q[i] * r + u * k[j] + v * r
            scores.append(terms.sum(-1) / math.sqrt(channels))
            which.append(j)
        weight = torch.stack(scores).softmax(0)  # [keys, B, H]
        out.append((weight[..., None] * values[which]).sum(0).reshape(BATCH, width))
    y = x + torch.stack(out) @ p[f"{name}.o_net.weight"].T
    return y if c["pre_lnorm"] else norm(y, p, f"{name}.layer_norm")


def feed_forward(x, p, name, c):
    def f(h):
        h = torch.relu(h @ p[f"{name}.CoreNet.0.weight"].T + p[f"{name}.CoreNet.0.bias"])
        return h @ p[f"{name}.CoreNet.3.weight"].T + p[f"{name}.CoreNet.3.bias"]

    if c["pre_lnorm"]:
        return x + f(norm(x, p, f"{name}.layer_norm"))
    return norm(x + f(x), p, f"{name}.layer_norm")


def ends(c):
    return c["cutoffs"] + [c["vocab"]]


def table(p, c, i):
    """The rows of cluster i, their output biases, and what takes them to the model's width when they are read and scored."""
    begin, end = ([0] + ends(c))[i], ends(c)[i]
    one = c["div_val"] == 1
    rows = p["word_emb.emb_layers.0.weight"][begin:end] if one else p[f"word_emb.emb_layers.{i}.weight"]
    bias = p["crit.out_layers.0.bias"][begin:end] if one else p[f"crit.out_layers.{i}.bias"]
    read = p.get("word_emb.emb_projs.0" if one else f"word_emb.emb_projs.{i}")
    return begin, end, rows, bias, read, p.get(f"crit.out_projs.{i}", read)


def embed(ids, p, c):
    out = torch.zeros(*ids.shape, c["d_model"], dtype=torch.float64)
    for i in range(len(ends(c))):
        begin, end, rows, _, read, _ = table(p, c, i)
        mine = (ids >= begin) & (ids < end)
        part = rows[ids[mine] - begin]
        out[mine] = part if read is None else part @ read.T
    return out * math.sqrt(c["d_model"])


def losses(hidden, targets, p, c):
    def scores(i, rows, bias):
        project = table(p, c, i)[5]
        return (hidden if project is None else hidden @ project) @ rows.T + bias

    _, shortlist, rows, bias, _, _ = table(p, c, 0)
    tails = len(ends(c)) - 1
    if tails:
        rows, bias = torch.cat([rows, p["crit.cluster_weight"]]), torch.cat([bias, p["crit.cluster_bias"]])
    head = scores(0, rows, bias).log_softmax(-1)
    out = torch.zeros(targets.shape, dtype=torch.float64)
    for i in range(tails + 1):
        begin, end, rows, bias, _, _ = table(p, c, i)
        mine = (targets >= begin) & (targets < end)
        at = (targets[mine] - begin)[:, None]
        if i == 0:
            out[mine] = -head[mine].gather(1, at)[:, 0]
        else:  # cluster 1 is the last column
            tail = scores(i, rows, bias).log_softmax(-1)
            out[mine] = -head[mine][:, shortlist + tails - i] - tail[mine].gather(1, at)[:, 0]
    return out


def parameters(c):
    width, heads, channels, inner = c["d_model"], c["n_head"], c["d_head"], c["d_inner"]
    p = {}
    for layer in range(c["n_layer"]):
        at, ff = f"layers.{layer}.dec_attn", f"layers.{layer}.pos_ff"
        p[f"{at}.qkv_net.weight"] = leaf(3 * heads * channels, width)
        p[f"{at}.r_net.weight"] = leaf(heads * channels, width)
        p[f"{at}.o_net.weight"] = leaf(width, heads * channels)
        p[f"{ff}.CoreNet.0.weight"], p[f"{ff}.CoreNet.0.bias"] = leaf(inner, width), leaf(inner)
        p[f"{ff}.CoreNet.3.weight"], p[f"{ff}.CoreNet.3.bias"] = leaf(width, inner), leaf(width)
        for part in (at, ff):
            p[f"{part}.layer_norm.weight"] = leaf(width, scale=0.2, shift=1.0)
            p[f"{part}.layer_norm.bias"] = leaf(width)
        if c["untie_r"]:
            p[f"{at}.r_w_bias"], p[f"{at}.r_r_bias"] = leaf(heads, channels), leaf(heads, channels)
    if not c["untie_r"]:
        p["r_w_bias"], p["r_r_bias"] = leaf(heads, channels), leaf(heads, channels)
    embedded = c["d_embed"] or width
    projects = c["div_val"] > 1 or embedded != width
    begins = [0] + ends(c)
    for i, end in enumerate(ends(c)):
        mine = embedded // c["div_val"] ** i
        if c["div_val"] > 1:
            p[f"word_emb.emb_layers.{i}.weight"] = leaf(end - begins[i], mine)
            p[f"word_emb.emb_projs.{i}"] = leaf(width, mine)
            p[f"crit.out_layers.{i}.bias"] = leaf(end - begins[i])
        if projects and not c["tie_projs"][i]:
            p[f"crit.out_projs.{i}"] = leaf(width, mine)
    if c["div_val"] == 1:
        p["word_emb.emb_layers.0.weight"], p["crit.out_layers.0.bias"] = leaf(c["vocab"], embedded), leaf(c["vocab"])
        if projects:
            p["word_emb.emb_projs.0"] = leaf(width, embedded)
    if c["cutoffs"]:
        p["crit.cluster_weight"], p["crit.cluster_bias"] = leaf(len(c["cutoffs"]), embedded), leaf(len(c["cutoffs"]))
    return p


def write(folder, name, **changes):
    c = dict(vocab=13, n_layer=2, n_head=2, d_model=8, d_head=4, d_inner=12, segments=[4, 4, 4], mem_len=4, ext_len=0)
    c.update(clamp_len=-1, same_length=False, pre_lnorm=False, untie_r=False, cutoffs=[], div_val=1, d_embed=None, tie_projs=[False])
    c.update(changes)
    torch.manual_seed(sum(map(ord, name)))
    p = parameters(c)
    tensors, loss, memories, last = {}, 0.0, None, []
    for s, length in enumerate(c["segments"]):
        ids, targets = torch.randint(c["vocab"], (length, BATCH)), torch.randint(c["vocab"], (length, BATCH))
        rows = embed(ids, p, c)
        inputs = []
        for layer in range(c["n_layer"]):
            inputs.append(rows.detach())
            at = f"layers.{layer}.dec_attn"
            u, v = (p[f"{at}.r_w_bias"], p[f"{at}.r_r_bias"]) if c["untie_r"] else (p["r_w_bias"], p["r_r_bias"])
            memory = memories[layer] if memories else rows[:0]
            rows = feed_forward(attention(rows, memory, p, at, u, v, c), p, f"layers.{layer}.pos_ff", c)
        inputs.append(rows.detach())
        before = memories or [x[:0] for x in inputs]
        memories = [torch.cat([m, x], 0)[max(0, len(m) + length - c["mem_len"]) :].detach() for m, x in zip(before, inputs)]
        nll = losses(rows, targets, p, c)
        for output, value in ((f"hidden{s}", rows), (f"loss{s}", nll)):
            tensors[f"out.{output}"], tensors[f"cotangent.{output}"] = value, torch.randn(value.shape)
            loss = loss + (value * tensors[f"cotangent.{output}"]).sum()
        tensors[f"out.mems{s}"] = torch.stack(memories)
        tensors[f"in.ids{s}"], tensors[f"in.targets{s}"] = ids, targets
    loss.backward()
    for key, value in p.items():
        tensors[f"param.{key}"] = value
        tensors[f"grad.param.{key}"] = torch.zeros_like(value) if value.grad is None else value.grad
    tensors = {k: t.detach().contiguous() if t.dtype == torch.int64 else t.detach().float().contiguous() for k, t in tensors.items()}
    metadata = {"paper": "transformer_xl", "case": name, "reference": "formula", "notes": "", "config": json.dumps(c)}
    safetensors.torch.save_file(tensors, str(folder / f"{name}.safetensors"), metadata)


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    write(folder, "without_memory", mem_len=0)
    write(folder, "memory_of_one_row", mem_len=1, n_layer=3)
    write(folder, "memory_longer_than_all", mem_len=40, segments=[3, 3, 3, 2], pre_lnorm=True)
    write(folder, "segments_of_one_row", segments=[1, 1, 1, 1, 1], mem_len=3)
    write(folder, "memory_shorter_than_a_segment", segments=[6, 6, 1], mem_len=4, same_length=True)
    write(folder, "untied", untie_r=True, n_layer=3, mem_len=5)
    write(folder, "untied_prenorm_clamp", untie_r=True, pre_lnorm=True, clamp_len=2, mem_len=7)
    write(folder, "clamp_alone", clamp_len=6, mem_len=9, n_head=4, d_head=3)
    write(folder, "same_length_alone", same_length=True, mem_len=5, n_head=1, d_head=8)
    write(folder, "clusters_of_one_width", cutoffs=[3, 9])
    write(folder, "narrow_embedding", d_embed=4)
    write(folder, "narrow_clusters_tied", cutoffs=[5], d_embed=4, tie_projs=[True, True])
    write(folder, "narrow_clusters_untied", cutoffs=[5, 8], d_embed=6, tie_projs=[False, False, False])
    write(folder, "divided_by_four", cutoffs=[4, 7], div_val=4, d_model=16, d_head=8, tie_projs=[False, True, True], vocab=21)
    write(folder, "divided_all_untied", cutoffs=[2, 3, 11], div_val=2, tie_projs=[False] * 4, pre_lnorm=True)
    write(folder, "divided_all_tied", cutoffs=[6], div_val=2, tie_projs=[True, True], segments=[5, 3], mem_len=2)


if __name__ == "__main__":
    main()
