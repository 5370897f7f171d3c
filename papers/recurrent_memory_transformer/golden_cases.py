#!/usr/bin/env python3
"""Writes golden cases of the Recurrent Memory Transformer with further options, from the paper's equations in PyTorch.

    python3 -m venv /tmp/venv && /tmp/venv/bin/pip install torch numpy safetensors
    /tmp/venv/bin/python papers/recurrent_memory_transformer/golden_cases.py DIR
    bazel run //papers:goldens -- --dir=DIR

The cases in goldens/ are the authors' code; these are of the same two forms, with other depths of back-propagation,
alignments and sizes. Masks are dense and position terms of Transformer-XL are gathered entry by entry, in float64.
"""

import json
import math
import pathlib
import sys

import safetensors.torch
import torch
import torch.nn.functional as F

PAPER = "recurrent_memory_transformer"
GPT2 = "memory_cell.model.transformer."


class Case:
    """Parameters, inputs and outputs under the names of the file."""

    def __init__(self, name):
        self.name, self.params, self.inputs, self.outputs = name, {}, {}, {}

    def param(self, name, *shape, scale=0.3, shift=0.0):  # float32 values: the file holds what was computed with
        value = (scale * torch.randn(*shape) + shift).float().double().requires_grad_()
        self.params[name] = value
        return value

    def write(self, folder, config, notes):
        tensors, loss = {}, 0
        for name, value in self.outputs.items():
            cotangent = torch.randn(value.shape).double()
            loss = loss + (value * cotangent).sum()
            tensors["out." + name], tensors["cotangent." + name] = value.detach(), cotangent
        loss.backward()
        for name, value in self.params.items():
            tensors["param." + name], tensors["grad.param." + name] = value.detach(), value.grad
        tensors = {name: value.float().contiguous() for name, value in tensors.items()}
        tensors.update({"in." + name: value for name, value in self.inputs.items()})
        metadata = dict(paper=PAPER, case=self.name, config=json.dumps(config), notes=notes,
                        reference="papers/recurrent_memory_transformer/golden_cases.py")
        safetensors.torch.save_file(tensors, folder / f"{self.name}.safetensors", metadata)


def lengths(total, segment, alignment):
    count = -(-total // segment)
    size = -(-total // count) if alignment == "center" else segment
    sizes = [min(size, total - at) for at in range(0, total, size)]
    return sizes[::-1] if alignment == "right" else sizes


def gpt2(folder, name, width, heads, layers, memory, segment, total, vocab=13, batch=2, alignment="left", depth=-1):
    case = Case(name)
    first = case.param("memory_cell.memory", memory, width, scale=1)
    wte = case.param(GPT2 + "wte.weight", vocab, width)
    wpe = case.param(GPT2 + "wpe.weight", segment + 2 * memory, width)
    norm = lambda at: (case.param(at + "weight", width, shift=1), case.param(at + "bias", width))
    conv = lambda at, n, k: (case.param(at + "weight", n, k), case.param(at + "bias", k))
    blocks = [[norm(f"{GPT2}h.{i}.ln_1."), conv(f"{GPT2}h.{i}.attn.c_attn.", width, 3 * width),
               conv(f"{GPT2}h.{i}.attn.c_proj.", width, width), norm(f"{GPT2}h.{i}.ln_2."),
               conv(f"{GPT2}h.{i}.mlp.c_fc.", width, 4 * width),
               conv(f"{GPT2}h.{i}.mlp.c_proj.", 4 * width, width)] for i in range(layers)]
    last = norm(GPT2 + "ln_f.")
    ids = torch.randint(vocab, (batch, total))
    case.inputs["input_ids"] = ids

    def model(x):  # [batch, rows, width]
        rows = x.shape[1]
        x = x + wpe[:rows]
        visible = torch.ones(rows, rows, dtype=torch.bool).tril()
        for (w1, b1), (wa, ba), (wo, bo), (w2, b2), (wf, bf), (wp, bp) in blocks:
            q, k, v = (F.layer_norm(x, (width,), w1, b1) @ wa + ba).chunk(3, -1)
            split = lambda t: t.view(batch, rows, heads, -1).transpose(1, 2)
            score = split(q) @ split(k).transpose(2, 3) / math.sqrt(width // heads)
            mixed = score.masked_fill(~visible, -math.inf).softmax(-1) @ split(v)
            x = x + mixed.transpose(1, 2).reshape(batch, rows, width) @ wo + bo
            hidden = F.gelu(F.layer_norm(x, (width,), w2, b2) @ wf + bf, approximate="tanh")
            x = x + hidden @ wp + bp
        return F.layer_norm(x, (width,), *last)

    carried, at, logits = first.expand(batch, -1, -1), 0, []
    for s, size in enumerate(lengths(total, segment, alignment)):
        out = model(torch.cat([carried, wte[ids[:, at:at + size]], carried], 1))
        logits.append(out[:, memory:memory + size] @ wte.T)
        carried, at = out[:, memory + size:], at + size
        case.outputs[f"memory{s}"] = carried
        if depth >= 0 and (s + 1) % (depth + 1) == 0:
            carried = carried.detach()
    logits = torch.cat(logits, 1)
    case.outputs["logits"] = logits
    case.outputs["loss"] = F.cross_entropy(logits[:, :-1].reshape(-1, vocab), ids[:, 1:].reshape(-1))
    case.write(folder, dict(vocab=vocab, n_embd=width, n_layer=layers, n_head=heads, num_mem_tokens=memory,
                            segment_size=segment, total_length=total, segment_alignment=alignment, batch=batch,
                            bptt="full" if depth < 0 else f"depth {depth}", activation="gelu tanh", ln_eps=1e-5),
               "As gpt2_three_segments_bptt. Of bptt 'depth k', each (k + 1)-th border detaches the memory.")


def transformer_xl(folder, name, width, heads, p, layers, memory, segment, segments, inner=20, vocab=11, batch=2):
    case = Case(name)
    first = case.param("mem_tokens", memory, 1, width, scale=1)
    emb = case.param("word_emb.emb_layers.0.weight", vocab, width)
    bias = case.param("crit.out_layers.0.bias", vocab)
    u, w = case.param("r_w_bias", heads, p), case.param("r_r_bias", heads, p)
    blocks = []
    for i in range(layers):
        at = f"layers.{i}."
        norm = lambda n: (case.param(at + n + "weight", width, shift=1), case.param(at + n + "bias", width))
        blocks.append([case.param(at + "dec_attn.qkv_net.weight", 3 * heads * p, width),
                       case.param(at + "dec_attn.r_net.weight", heads * p, width),
                       case.param(at + "dec_attn.o_net.weight", width, heads * p), norm("dec_attn.layer_norm."),
                       case.param(at + "pos_ff.CoreNet.0.weight", inner, width),
                       case.param(at + "pos_ff.CoreNet.0.bias", inner),
                       case.param(at + "pos_ff.CoreNet.3.weight", width, inner),
                       case.param(at + "pos_ff.CoreNet.3.bias", width), norm("pos_ff.layer_norm.")])

    rows = 2 * memory + segment
    visible = torch.ones(rows, rows, dtype=torch.bool).tril()
    visible[:memory, :memory] = True
    visible[memory + segment:] = True
    # Row i, key j of the shifted table: its own distance i - j up to the diagonal, 0 just behind it, then the next row's
    # columns from the left, which are the largest distances.
    source = [[(i, rows - 1 - (i - j)) if j <= i else None if j == i + 1 else (i + 1, j - i - 2) for j in range(rows)]
              for i in range(rows)]

    def shifted(score):  # [batch, heads, rows, distance rows - 1 .. 0]
        zero = torch.zeros(score.shape[:2], dtype=score.dtype)
        return torch.stack([torch.stack([zero if at is None else score[:, :, at[0], at[1]] for at in line], -1)
                            for line in source], -2)

    angle = torch.arange(rows - 1, -1, -1.0).double()[:, None] / 10000 ** (torch.arange(0, width, 2).double() / width)
    position = torch.cat([angle.sin(), angle.cos()], -1)

    def model(x):  # [batch, rows, width]
        for qkv, r, o, n1, w0, b0, w3, b3, n2 in blocks:
            split = lambda t: t.view(*t.shape[:-1], heads, p)
            q, k, v = (split(t) for t in (x @ qkv.T).chunk(3, -1))
            content = torch.einsum("bihp,bjhp->bhij", q + u, k)
            place = shifted(torch.einsum("bihp,jhp->bhij", q + w, split(position @ r.T)))
            score = ((content + place) / math.sqrt(p)).masked_fill(~visible, -math.inf)
            mixed = torch.einsum("bhij,bjhp->bihp", score.softmax(-1), v).reshape(batch, rows, heads * p)
            x = F.layer_norm(x + mixed @ o.T, (width,), *n1)
            x = F.layer_norm(x + F.relu(x @ w0.T + b0) @ w3.T + b3, (width,), *n2)
        return x

    carried = first.transpose(0, 1).expand(batch, -1, -1)
    for s in range(segments):
        ids, target = torch.randint(vocab, (segment, batch)), torch.randint(vocab, (segment, batch))
        case.inputs[f"ids{s}"], case.inputs[f"target{s}"] = ids, target
        out = model(torch.cat([carried, emb[ids.T] * math.sqrt(width), carried], 1))
        logits = out[:, memory:memory + segment] @ emb.T + bias
        nll = F.cross_entropy(logits.reshape(-1, vocab), target.T.reshape(-1), reduction="none")
        carried = out[:, memory + segment:]
        case.outputs[f"loss{s}"] = nll.view(batch, segment).T
        case.outputs[f"memory{s}"] = carried.transpose(0, 1)
    case.write(folder, dict(n_token=vocab, d_model=width, n_head=heads, d_head=p, d_inner=inner, n_layer=layers,
                            tgt_len=segment, num_mem_tokens=memory, mem_len=0, segments=segments, batch=batch,
                            mem_at_end=True, read_mem_from_cache=False, pre_lnorm=False, attn_type=0, ln_eps=1e-5),
               "As txl_noncausal_memory.")


def main():
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(5)
    gpt2(folder, "gpt2_depth_one", 12, 3, 2, memory=2, segment=5, total=23, depth=1)
    gpt2(folder, "gpt2_depth_two", 12, 2, 1, memory=2, segment=3, total=21, depth=2, batch=1)
    gpt2(folder, "gpt2_right_aligned", 12, 2, 2, memory=3, segment=8, total=19, alignment="right")
    gpt2(folder, "gpt2_center_aligned", 12, 2, 2, memory=1, segment=8, total=17, alignment="center")
    gpt2(folder, "gpt2_segments_of_one_row", 8, 2, 1, memory=1, segment=1, total=4, batch=3)
    gpt2(folder, "gpt2_no_recurrence", 8, 2, 1, memory=2, segment=16, total=9)
    transformer_xl(folder, "txl_four_memory_rows", 12, 3, 4, layers=3, memory=4, segment=5, segments=4)
    transformer_xl(folder, "txl_one_memory_row", 8, 2, 3, layers=1, memory=1, segment=3, segments=2, batch=3)


main()
