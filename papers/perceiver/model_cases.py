#!/usr/bin/env python3
"""Writes further golden cases of Perceiver, from the paper's formulas in PyTorch.

    python3 -m venv /tmp/venv && /tmp/venv/bin/pip install torch numpy safetensors
    /tmp/venv/bin/python papers/perceiver/model_cases.py DIR
    bazel run //papers:goldens -- --dir=DIR

goldens/ holds those of transformers and perceiver-pytorch, and of those here the ones whose names begin with `block_`, `package_` or
`formula_`. The first are in the form of transformers' PerceiverLayer, the second in that of perceiver-pytorch's Perceiver: what their
cases do not have. The others have the paper's options, and parameters as checkpoints of this project call them; rows
[begins[b], ends[b]) of sample b are real. In float64.
"""

import json
import math
import pathlib
import sys

import safetensors.torch
import torch
from torch.nn import functional


def leaf(*shape, scale=0.3, shift=0.0):  # float32 values, so that the file holds what was computed with
    return (shift + scale * torch.randn(*shape)).float().double().requires_grad_()


def norm(x, leaves, path):
    return functional.layer_norm(x, x.shape[-1:], leaves[path + ".weight"], leaves[path + ".bias"], 1e-5)


def attend(q, k, v, heads, mask=None):
    """q [B, N, C], k and v [B, M, C], mask [B, M] of the keys that are real -> [B, N, C]."""
    q, k, v = (t.unflatten(-1, (heads, -1)).transpose(1, 2) for t in (q, k, v))
    score = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])
    if mask is not None:
        score = score.masked_fill(~mask[:, None, None], -math.inf)
    return (score.softmax(-1) @ v).transpose(1, 2).flatten(2)


def fourier(coordinates, max_resolution, bands, order):
    """coordinates [.., A] -> [.., A (2 K + 1)]"""
    parts = []
    for a, most in enumerate(max_resolution):
        p = coordinates[..., a : a + 1]
        angle = math.pi * p * torch.linspace(1.0, most / 2, bands, dtype=torch.float64)
        parts.append((p, angle.sin(), angle.cos()))
    if order == "by_axis":
        return torch.cat([t for p, sine, cosine in parts for t in (sine, cosine, p)], -1)
    return torch.cat([t for kind in range(3) for t in (part[kind] for part in parts)], -1)


def grid(axis):
    lines = [torch.linspace(-1.0, 1.0, n, dtype=torch.float64) for n in axis]
    return torch.stack(torch.meshgrid(*lines, indexing="ij"), -1)


def save(folder, name, form, config, leaves, outputs, constants=None):
    """Outputs [name] -> tensor; leaves and constants under their full names."""
    tensors = {}
    loss = 0.0
    for key, value in outputs.items():
        tensors[f"out.{key}"] = value
        if value.requires_grad:
            tensors[f"cotangent.{key}"] = torch.randn(value.shape).float().double()
            loss = loss + (value * tensors[f"cotangent.{key}"]).sum()
    loss.backward()
    for key, value in leaves.items():
        tensors[key] = value
        tensors[f"grad.{key}"] = torch.zeros_like(value) if value.grad is None else value.grad
    tensors = {key: value.detach().float().contiguous() for key, value in tensors.items()}
    tensors.update(constants or {})
    metadata = {
        "paper": "perceiver",
        "case": name,
        "reference": "the paper's formula in PyTorch, papers/perceiver/model_cases.py",
        "notes": form,
        "config": json.dumps(config),
    }
    safetensors.torch.save_file(tensors, str(folder / f"{name}.safetensors"), metadata)


def block_case(folder, name, batch, latents, width, inputs, input_width, heads, channels, widening, lengths):
    """transformers' PerceiverLayer as a cross-attend."""
    sizes = {
        "attention.self.query": (channels, width),
        "attention.self.key": (channels, input_width),
        "attention.self.value": (channels, input_width),
        "attention.output.dense": (width, channels),
        "mlp.dense1": (widening * width, width),
        "mlp.dense2": (width, widening * width),
    }
    p = {}
    for path, (out, into) in sizes.items():
        p[path + ".weight"], p[path + ".bias"] = leaf(out, into), leaf(out)
    for path, size in (("attention.self.layernorm1", width), ("attention.self.layernorm2", input_width), ("layernorm", width)):
        p[path + ".weight"], p[path + ".bias"] = leaf(size, shift=1.0), leaf(size)
    z, x = leaf(batch, latents, width, scale=1.0), leaf(batch, inputs, input_width, scale=1.0)
    mask = torch.arange(inputs)[None] < torch.tensor(lengths)[:, None]

    def linear(path, rows):
        return functional.linear(rows, p[path + ".weight"], p[path + ".bias"])

    n = norm(x, p, "attention.self.layernorm2")
    q = linear("attention.self.query", norm(z, p, "attention.self.layernorm1"))
    mixed = attend(q, linear("attention.self.key", n), linear("attention.self.value", n), heads, mask)
    y = z + linear("attention.output.dense", mixed)
    y = y + linear("mlp.dense2", functional.gelu(linear("mlp.dense1", norm(y, p, "layernorm"))))
    config = dict(num_latents=latents, d_latents=width, num_inputs=inputs, d_inputs=input_width, heads=heads, qk_channels=channels,
                  v_channels=channels, cross=True, widening_factor=widening, use_query_residual=True, batch=batch, lengths=lengths, ln_eps=1e-5)
    leaves = {"in.latents": z, "in.inputs": x, **{f"param.{key}": value for key, value in p.items()}}
    save(folder, name, "As cross_block.", config, leaves, {"y": y}, {"in.mask": mask.long()})


def package_case(folder, name, batch, axis, channels, bands, max_freq, depth, latents, width, cross_heads, cross_head, latent_heads, latent_head, layers, tied,
                 classes=4, widening=4, masked=False):
    """perceiver-pytorch's Perceiver."""
    input_width = channels + len(axis) * (2 * bands + 1)
    p = {"latents": leaf(latents, width)}

    def make(attention, feed_forward, inside, into, context):
        p[attention + ".fn.to_q.weight"] = leaf(inside, width)
        p[attention + ".fn.to_kv.weight"] = leaf(2 * inside, into)
        p[attention + ".fn.to_out.weight"], p[attention + ".fn.to_out.bias"] = leaf(width, inside), leaf(width)
        for path, size in ((attention + ".norm", width), (feed_forward + ".norm", width)) + (((attention + ".norm_context", into),) if context else ()):
            p[path + ".weight"], p[path + ".bias"] = leaf(size, shift=1.0), leaf(size)
        p[feed_forward + ".fn.net.0.weight"], p[feed_forward + ".fn.net.0.bias"] = leaf(2 * widening * width, width), leaf(2 * widening * width)
        p[feed_forward + ".fn.net.2.weight"], p[feed_forward + ".fn.net.2.bias"] = leaf(width, widening * width), leaf(width)

    for i in range(min(depth, 2) if tied else depth):
        make(f"layers.{i}.cross_attn", f"layers.{i}.cross_ff", cross_heads * cross_head, input_width, True)
        for j in range(layers):
            make(f"layers.{i}.self_attns.{j}.0", f"layers.{i}.self_attns.{j}.1", latent_heads * latent_head, width, False)
    for path, shape in (("to_logits.1.weight", (width,)), ("to_logits.1.bias", (width,)), ("to_logits.2.weight", (classes, width)), ("to_logits.2.bias", (classes,))):
        p[path] = leaf(*shape, shift=1.0 if path == "to_logits.1.weight" else 0.0)
    data = leaf(batch, *axis, channels, scale=1.0)
    codes = fourier(grid(axis), [max_freq] * len(axis), bands, "by_axis")
    x = torch.cat([data, codes.expand(batch, *codes.shape)], -1).flatten(1, -2)
    mask = torch.rand(batch, *axis) < 0.6 if masked else None

    def apply(z, attention, feed_forward, heads, context, keys):
        n = norm(z, p, attention + ".norm")
        k, v = functional.linear(norm(context, p, attention + ".norm_context") if context is not None else n, p[attention + ".fn.to_kv.weight"]).chunk(2, -1)
        mixed = attend(functional.linear(n, p[attention + ".fn.to_q.weight"]), k, v, heads, keys)
        z = z + functional.linear(mixed, p[attention + ".fn.to_out.weight"], p[attention + ".fn.to_out.bias"])
        up, gate = functional.linear(norm(z, p, feed_forward + ".norm"), p[feed_forward + ".fn.net.0.weight"], p[feed_forward + ".fn.net.0.bias"]).chunk(2, -1)
        return z + functional.linear(up * functional.gelu(gate), p[feed_forward + ".fn.net.2.weight"], p[feed_forward + ".fn.net.2.bias"])

    z = p["latents"].expand(batch, -1, -1)
    for t in range(depth):
        i = min(t, 1) if tied else t
        z = apply(z, f"layers.{i}.cross_attn", f"layers.{i}.cross_ff", cross_heads, x, mask.flatten(1) if masked else None)
        for j in range(layers):
            z = apply(z, f"layers.{i}.self_attns.{j}.0", f"layers.{i}.self_attns.{j}.1", latent_heads, None, None)
    logits = functional.linear(norm(z.mean(1), {"n.weight": p["to_logits.1.weight"], "n.bias": p["to_logits.1.bias"]}, "n"), p["to_logits.2.weight"], p["to_logits.2.bias"])
    config = dict(axes=list(axis), input_channels=channels, num_freq_bands=bands, max_freq=max_freq, depth=depth, num_latents=latents, latent_dim=width,
                  cross_heads=cross_heads, cross_dim_head=cross_head, latent_heads=latent_heads, latent_dim_head=latent_head, self_per_cross_attn=layers,
                  weight_tie_layers=tied, num_classes=classes, ff_mult=widening, batch=batch)
    leaves = {"in.data": data, **{f"param.{key}": value for key, value in p.items()}}
    save(folder, name, "As perceiver_2d_tied_masked.", config, leaves, {"fourier": codes, "latents": z, "logits": logits},
         {"in.mask": mask.long()} if masked else None)


DEFAULTS = dict(latents=3, latent_width=8, cross_attends=3, latent_layers=2, sharing="all_but_first_cross", cross_heads=1, latent_heads=2, cross_width="least",
                qkv_biases=True, feed_forward="gelu", widening=1, positions="fourier", axis=[0], bands=3, max_resolution=[], order="by_kind", learned_channels=5)


def formula_case(folder, name, batch, length, width, begins=None, ends=None, **options):
    """The paper's model."""
    c = {**DEFAULTS, **options}
    axis, latent_width = list(c["axis"]), c["latent_width"]
    code_width = {"fourier": len(axis) * (2 * c["bands"] + 1), "learned": c["learned_channels"], "nowhere": 0}[c["positions"]]
    input_width = width + code_width
    inside = {"least": min(latent_width, input_width), "of_latents": latent_width, "of_inputs": input_width}[c["cross_width"]]
    p = {"latents": leaf(c["latents"], latent_width)}
    if c["positions"] == "learned":
        p["positions"] = leaf(math.prod(axis), c["learned_channels"], scale=1.0)
    gated = c["feed_forward"] == "geglu"
    hidden = c["widening"] * latent_width

    def make(path, into, inside, context):
        for which, out, size in (("q", inside, latent_width), ("k", inside, into), ("v", inside, into), ("o", latent_width, inside),
                                 ("up", (2 if gated else 1) * hidden, latent_width), ("down", latent_width, hidden)):
            p[f"{path}.w_{which}"] = leaf(out, size)
            if which not in "qkv" or c["qkv_biases"]:
                p[f"{path}.b_{which}"] = leaf(out)
        for which, size in (("latents", latent_width), ("feed_forward", latent_width)) + ((("input", into),) if context else ()):
            p[f"{path}.norm_{which}.weight"], p[f"{path}.norm_{which}.bias"] = leaf(size, shift=1.0), leaf(size)

    set_of = {"none": lambda t: t, "all": lambda t: 0}.get(c["sharing"], lambda t: min(t, 1))
    block_of = (lambda t: 0) if c["sharing"] == "all_but_first_cross" else set_of
    for s in range(set_of(c["cross_attends"] - 1) + 1):
        make(f"cross.{s}", input_width, inside, True)
    for s in range(block_of(c["cross_attends"] - 1) + 1):
        for layer in range(c["latent_layers"]):
            make(f"latent.{s}.layers.{layer}", latent_width, latent_width, False)
    x = leaf(batch, length, width, scale=1.0)
    begin, end = begins or [0] * batch, ends or [length] * batch
    rows = torch.arange(length)
    mask = torch.stack([(rows >= begin[b]) & (rows < end[b]) for b in range(batch)])

    codes = torch.zeros(batch, length, code_width).double()
    for b in range(batch):  # padding has whatever code
        real = end[b] - begin[b]
        if c["positions"] == "fourier":
            of_line = math.prod(axis[1:])
            sizes = [axis[0] or -(-real // of_line)] + axis[1:]
            most = c["max_resolution"] or sizes
            most = list(most) * len(axis) if len(most) == 1 else most
            codes[b, begin[b] : end[b]] = fourier(grid(sizes), most, c["bands"], c["order"]).flatten(0, -2)[:real]
        elif c["positions"] == "learned":
            codes = codes.clone()
            codes[b, begin[b] : end[b]] = p["positions"][:real]
    seen = torch.cat([x, codes], -1)

    def apply(path, z, heads, context, keys):
        def linear(which, t):
            return functional.linear(t, p[f"{path}.w_{which}"], p.get(f"{path}.b_{which}"))

        n = norm(z, p, path + ".norm_latents")
        into = n if context is None else norm(context, p, path + ".norm_input")
        z = z + linear("o", attend(linear("q", n), linear("k", into), linear("v", into), heads, keys))
        up = linear("up", norm(z, p, path + ".norm_feed_forward"))
        if gated:
            a, g = up.chunk(2, -1)
            return z + linear("down", a * functional.gelu(g))
        return z + linear("down", functional.gelu(up))

    z = p["latents"].expand(batch, -1, -1)
    for t in range(c["cross_attends"]):
        z = apply(f"cross.{set_of(t)}", z, c["cross_heads"], seen, mask)
        for layer in range(c["latent_layers"]):
            z = apply(f"latent.{block_of(t)}.layers.{layer}", z, c["latent_heads"], None, None)
    if begins:
        c["begins"] = begins
    if ends:
        c["ends"] = ends
    leaves = {"in.x": x, **{f"param.{key}": value for key, value in p.items()}}
    save(folder, name, "The paper's model to its last latents. Weights are [out, in].", c, leaves, {"y": z})


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    block_case(folder, "block_all_but_one_padded", 3, 4, 8, 17, 5, 1, 5, 1, [1, 17, 2])
    block_case(folder, "block_two_heads_odd_widths", 2, 3, 10, 33, 7, 2, 14, 3, [33, 20])
    package_case(folder, "package_tied_depth_4", 2, [13], 3, 3, 9.0, 4, 3, 8, 2, 3, 2, 4, 2, True)
    package_case(folder, "package_one_latent_masked", 2, [3, 7], 2, 2, 7.0, 2, 1, 8, 1, 5, 1, 6, 1, False, masked=True)
    formula_case(folder, "formula_2d_padded_both_sides", 3, 23, 3, begins=[0, 4, 2], ends=[23, 20, 3], axis=[0, 5], max_resolution=[6, 5])
    formula_case(folder, "formula_1d_padded", 2, 15, 4, ends=[15, 6])
    formula_case(folder, "formula_learned_positions", 2, 11, 3, begins=[0, 3], positions="learned", axis=[4, 3], cross_width="of_inputs", cross_heads=2)
    n = 0
    for sharing in ("all_but_first_cross", "all_but_first", "none", "all"):
        for feed_forward in ("gelu", "geglu"):
            for positions, order in (("fourier", "by_kind"), ("fourier", "by_axis"), ("learned", "by_kind"), ("nowhere", "by_kind")):
                axis = [3, 7] if n % 2 else [21]
                formula_case(folder, f"case_{n}_{sharing}_{feed_forward}_{positions}_{order}", 2, 21 - n % 3, 4, begins=[2, 0] if n % 4 == 1 else None,
                             ends=[19, 7] if n % 3 == 2 else None, sharing=sharing, feed_forward=feed_forward, positions=positions, order=order, axis=axis,
                             qkv_biases=n % 5 != 0, cross_attends=1 + n % 4, latent_layers=n % 3, latents=1 + n % 4, widening=1 + n % 3,
                             cross_width=("least", "of_latents", "of_inputs")[n % 3], max_resolution=[] if n % 2 else [10.0])
                n += 1


if __name__ == "__main__":
    main()
