#!/usr/bin/env python3
"""Writes golden cases of induction heads with further shapes and options, from the definitions in NumPy and PyTorch.

    python3 -m venv /tmp/venv && /tmp/venv/bin/pip install torch numpy safetensors
    /tmp/venv/bin/python papers/induction_heads/golden_cases.py DIR
    bazel run //papers:goldens -- --dir=DIR

Scores: a token that comes twice in a row, tokens that repeat at no fixed distance. Copying: more heads, a token twice in the sample.
Losses: another length. Smeared keys: attention by the formulas, in float64, with and without learned positions on queries and keys,
with heads that share keys; its gradients are autograd's.
"""

import json
import pathlib
import sys

import numpy as np
import safetensors.numpy
import torch

torch.set_default_dtype(torch.float64)
RNG = np.random.default_rng(20260)


def save(folder, case, config, tensors, notes):
    tensors = {k: np.ascontiguousarray(v if np.issubdtype(np.asarray(v).dtype, np.integer) else np.asarray(v, np.float32))
               for k, v in tensors.items()}
    meta = {"paper": "induction_heads", "case": case, "reference": "definitions in NumPy and PyTorch (golden_cases.py)",
            "config": json.dumps(config), "notes": notes}
    safetensors.numpy.save_file(tensors, str(folder / f"{case}.safetensors"), meta)


def stored(x):
    """As float32 holds it, so that results are those of what is stored."""
    return np.asarray(x, np.float32).astype(np.float64)


def attention_maps(heads, n):
    scores = RNG.normal(size=(heads, n, n)) * 2
    scores[:, np.triu_indices(n, 1)[0], np.triu_indices(n, 1)[1]] = -np.inf
    p = np.exp(scores - scores.max(-1, keepdims=True))
    return stored(p / p.sum(-1, keepdims=True))


def patterns(tokens):
    n = len(tokens)
    previous, duplicate, induction, preceding = (np.zeros((n, n)) for _ in range(4))
    for q in range(n):
        if q:
            previous[q, q - 1] = 1
        for k in range(q):
            if tokens[k] == tokens[q]:
                duplicate[q, k] = 1
                induction[q, k + 1] = 1
                if k > 1:
                    preceding[q, k - 1] = 1
    return previous, duplicate, induction, preceding


def head_scores(folder, case, tokens, heads):
    tokens, a = np.asarray(tokens, np.int64), attention_maps(heads, len(tokens))
    n = len(tokens)
    previous, duplicate, induction, preceding = patterns(tokens)
    out = {"in.tokens": tokens, "in.attention": a}
    for name, pattern in (("previous_token", previous), ("duplicate_token", duplicate), ("induction", induction)):
        out[f"out.{name}.pattern"] = pattern
        for bos in (0, 1):
            for cur in (0, 1):
                keep = np.ones((n, n))
                if bos:
                    keep[:, 0] = 0
                if cur:
                    keep *= 1 - np.eye(n)
                mul = (a * pattern * keep).sum((1, 2)) / (a * keep).sum((1, 2))
                distance = (np.abs(a - pattern) * keep).mean((1, 2)) * n
                out[f"out.{name}.mul.bos{bos}.cur{cur}"] = mul
                out[f"out.{name}.abs.bos{bos}.cur{cur}"] = 1 - np.round(distance, 3)
    rows = induction.sum(1) > 0
    out["out.prefix_matching.mask"] = induction
    out["out.prefix_matching.mean_entry"] = (a * induction).sum((1, 2)) / induction.sum()
    out["out.prefix_matching.mean_row_mass"] = (a * induction).sum(2)[:, rows].mean(1)
    out["out.preceding.mean_entry"] = (a * preceding).sum((1, 2)) / preceding.sum()
    out["out.previous_token.mean_entry"] = (a * previous).sum((1, 2)) / previous.sum()
    save(folder, case, {"heads": heads}, out, "as head_scores; tokens that repeat at no fixed distance, one twice in a row")


def copying(folder, case, tokens, vocabulary, d, heads, p):
    tokens = np.asarray(tokens, np.int64)
    n = len(tokens)
    a = attention_maps(heads, n)
    w_e, w_u = stored(RNG.normal(size=(vocabulary, d))), stored(RNG.normal(size=(d, vocabulary)))
    w_v, w_o = stored(RNG.normal(size=(heads, d, p))), stored(RNG.normal(size=(heads, p, d)))
    own, sample, eigenvalues = [], [], []
    for h in range(heads):
        effect = a[h][:, :, None] * (w_e[tokens] @ w_v[h] @ w_o[h] @ w_u)[None]
        raised = np.maximum(effect - effect.mean(-1, keepdims=True), 0)
        own.append(sum(raised[:, j, tokens[j]].sum() for j in range(n)))
        sample.append(raised[:, :, sorted(set(tokens))].sum())
        values = np.linalg.eigvals(w_v[h] @ w_o[h])
        eigenvalues.append((values.sum() / np.abs(values).sum()).real)
    save(folder, case, {"H": heads, "V": vocabulary, "n": n, "d": d, "d_head": p},
         {"in.tokens": tokens, "in.attention": a, "in.W_E": w_e, "in.W_U": w_u, "in.W_V": w_v, "in.W_O": w_o,
          "out.raised_own": own, "out.raised_sample": sample, "out.ratio": np.array(own) / np.array(sample),
          "out.ov_eig_sum_over_abs": eigenvalues},
         "as copying; a token that comes twice is one token of the sample")


def in_context(folder, case, examples, length):
    loss = stored(6 / np.log(np.arange(1, length + 1) + 2) + RNG.normal(size=(examples, length)) * 0.3)
    mean = loss.mean(0)
    save(folder, case, {"examples": examples, "length": length},
         {"in.token_loss": loss, "out.mean_by_position": mean, "out.icl_score": [mean[499] - mean[49]],
          "out.icl_score_zero_based": [mean[500] - mean[50]],
          "out.dloss_dlog_index": np.gradient(mean, np.log(np.arange(1, length + 1)))}, "as icl_score")


def smeared(folder, case, batch, rows, d, heads, kv_heads, p, positions):
    def normal(*shape, scale=1.0):
        return torch.tensor(stored(RNG.normal(size=shape) * scale), requires_grad=True)

    x = normal(batch, rows, d)
    param = {"W_Q": normal(heads, d, p, scale=0.5), "W_K": normal(kv_heads, d, p, scale=0.5),
             "W_V": normal(kv_heads, d, p, scale=0.5), "W_O": normal(heads, p, d, scale=0.5), "alpha": normal(kv_heads)}
    placed = x
    if positions:
        param["W_pos"] = normal(positions, d)
        placed = x + param["W_pos"][:rows]
    q = torch.einsum("btd,hdp->bhtp", placed, param["W_Q"])
    k = torch.einsum("btd,hdp->bhtp", placed, param["W_K"])
    v = torch.einsum("btd,hdp->bhtp", x, param["W_V"])
    s = torch.sigmoid(param["alpha"])[None, :, None, None]
    k = torch.cat([k[:, :, :1], s * k[:, :, 1:] + (1 - s) * k[:, :, :-1]], 2)
    k, v = (t.repeat_interleave(heads // kv_heads, 1) for t in (k, v))
    scores = q @ k.transpose(-1, -2) / p**0.5
    scores = scores.masked_fill(torch.triu(torch.ones(rows, rows, dtype=torch.bool), 1), -torch.inf)
    attention = scores.softmax(-1)
    head_out = (attention @ v).transpose(1, 2)
    y = torch.einsum("bthp,hpd->btd", head_out, param["W_O"])
    cotangent = torch.tensor(stored(RNG.normal(size=y.shape)))
    (y * cotangent).sum().backward()
    tensors = {"in.x": x, "out.y": y, "out.head_out": head_out, "out.attention": attention, "cotangent.y": cotangent,
               "grad.in.x": x.grad}
    for name, value in param.items():
        tensors[f"param.{name}"], tensors[f"grad.param.{name}"] = value, value.grad
    save(folder, case, {"B": batch, "T": rows, "D": d, "H": heads, "H_kv": kv_heads, "d_head": p},
         {k: v.detach().numpy() for k, v in tensors.items()},
         "k_j <- s k_j + (1 - s) k_(j-1), s = sigmoid(alpha) of the (key-value) head, none at j = 0; W_pos is added to what queries "
         "and keys are made of; head_out [B, T, H, d_head], attention [B, H, T, T]; scores / sqrt(d_head), causal")


def main():
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    head_scores(folder, "scores_ragged", [0, 5, 9, 9, 3, 5, 2, 9, 7, 3, 3, 5, 9, 2, 2, 11, 5], heads=3)
    copying(folder, "copying_repeats", [3, 17, 8, 3, 21, 9, 30], vocabulary=31, d=12, heads=4, p=5)
    in_context(folder, "icl_longer", examples=3, length=640)
    smeared(folder, "smeared_positions", batch=2, rows=9, d=12, heads=3, kv_heads=3, p=4, positions=11)
    smeared(folder, "smeared_shared_keys", batch=2, rows=6, d=8, heads=4, kv_heads=2, p=5, positions=0)


if __name__ == "__main__":
    main()
