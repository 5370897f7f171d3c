#!/usr/bin/env python3
"""Writes golden cases of S4 layers with further options, from the paper's equations in PyTorch.

    python3 -m venv /tmp/venv && /tmp/venv/bin/pip install torch numpy safetensors
    /tmp/venv/bin/python papers/s4/layer_cases.py DIR
    bazel run //papers:goldens -- --dir=DIR

The layer in papers/s4/goldens is the authors' code; these are causal too, of rank 2, diagonal in both discretisations, of two
outputs a feature, with shared copies and padding. Matrices are dense and complex, kernels made power by power, in float64.
"""

import json
import pathlib
import sys

import safetensors.torch
import torch

BATCH, LENGTH, WIDTH, MODES, CHANNELS = 2, 21, 6, 3, 2


def leaf(*shape, scale=1.0, shift=0.0):  # float32 values, so that the file holds what was computed with
    return (scale * torch.randn(*shape) + shift).double().requires_grad_()


def completed(x):  # a mode and its conjugate
    return torch.cat([x, x.conj()], -1)


def kernels(p, config, feature):
    """[outputs, LENGTH] of a feature."""
    copy = feature % config["n_ssm"]
    raw = p["inv_dt"][feature, 0]
    dt = torch.exp(raw) if config["dt_transform"] == "exp" else torch.nn.functional.softplus(raw)
    a = torch.diag(completed(-torch.exp(p["A_real"][copy]) - 1j * p["A_imag"][copy]))
    b = completed(torch.view_as_complex(p["B"])[0, copy])
    one = torch.eye(2 * MODES, dtype=torch.complex128)
    for low in torch.view_as_complex(p["P"])[:, copy] if "P" in p else []:
        a = a - torch.outer(completed(low), completed(low).conj())
    if config.get("disc") == "zoh":
        decay = torch.exp(dt * torch.diagonal(a))
        step, into = torch.diag(decay), (decay - 1) / torch.diagonal(a) * b
    else:
        inverse = torch.linalg.inv(one - dt / 2 * a)
        step, into = inverse @ (one + dt / 2 * a), inverse @ (dt * b)
    outputs = []
    for c in torch.view_as_complex(p["C"])[:, feature]:
        row = completed(c)
        if "P" in p:  # C~ = C (1 - dA^L)
            row = torch.linalg.solve((one - torch.linalg.matrix_power(step, LENGTH)).T, row)
        state, kernel = into, []
        for _ in range(LENGTH):
            kernel.append((row * state).sum().real)
            state = step @ state
        outputs.append(torch.stack(kernel))
    return torch.stack(outputs)


def write(folder, name, **config):
    both_ways, copies = config["bidirectional"], config["n_ssm"]
    p = {
        "inv_dt": leaf(WIDTH, 1, scale=0.5, shift=-2),
        "A_real": leaf(copies, MODES, scale=0.3, shift=-0.5),
        "A_imag": leaf(copies, MODES, scale=3),
        "B": leaf(1, copies, MODES, 2),
        "C": leaf(CHANNELS * (2 if both_ways else 1), WIDTH, MODES, 2),
    }
    if config["mode"] == "nplr":
        p["P"] = leaf(2 if config["init"] == "legt" else 1, copies, MODES, 2, scale=0.7)
    skip, weight, bias = leaf(CHANNELS, WIDTH), leaf(2 * WIDTH, CHANNELS * WIDTH, scale=0.3), leaf(2 * WIDTH, scale=0.3)
    x, lengths = leaf(BATCH, LENGTH, WIDTH), torch.tensor([LENGTH, LENGTH - 5])
    kernel = torch.stack([kernels(p, config, h) for h in range(WIDTH)], 1)  # [outputs, WIDTH, LENGTH]
    u = x * (torch.arange(LENGTH)[None] < lengths[:, None])[:, :, None]
    channels = []
    for c in range(CHANNELS):
        rows = []
        for t in range(LENGTH):
            y = skip[c] * u[:, t] + sum(kernel[c, :, s] * u[:, t - s] for s in range(t + 1))
            for s in range(LENGTH - t - 1 if both_ways else 0):
                y = y + kernel[CHANNELS + c, :, s] * u[:, t + 1 + s]
            rows.append(y)
        channels.append(torch.stack(rows, 1))
    mixed = torch.nn.functional.gelu(torch.cat(channels, -1)) @ weight.T + bias
    y = torch.nn.functional.glu(mixed, -1)
    cotangent = torch.randn(*y.shape).double()
    (y * cotangent).sum().backward()

    parameters = {f"layer.kernel.{key}": value for key, value in p.items()}
    parameters |= {"layer.D": skip, "output_linear.0.weight": weight, "output_linear.0.bias": bias}
    tensors = {"in.x": x, "out.y": y, "out.K": kernel, "cotangent.y": cotangent, "grad.in.x": x.grad}
    for key, value in parameters.items():
        tensors |= {f"param.{key}": value, f"grad.param.{key}": value.grad}
    stored = {key: value.detach().float().contiguous() for key, value in tensors.items()} | {"in.lengths": lengths}
    config |= {"L": LENGTH, "channels": CHANNELS, "d_model": WIDTH, "d_state": 2 * MODES, "activation": "gelu", "final_act": "glu"}
    metadata = {"paper": "s4", "case": name, "reference": "papers/s4/layer_cases.py", "notes": "", "config": json.dumps(config)}
    safetensors.torch.save_file(stored, folder / f"{name}.safetensors", metadata)


def main():
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    low_rank = {"mode": "nplr"}
    write(folder, "causal_rank_2", **low_rank, init="legt", bidirectional=False, dt_transform="exp", n_ssm=3)
    write(folder, "both_ways", **low_rank, init="legs", bidirectional=True, dt_transform="softplus", n_ssm=WIDTH)
    write(folder, "diagonal", mode="diag", disc="zoh", bidirectional=False, dt_transform="softplus", n_ssm=2)
    write(folder, "diagonal_bilinear", mode="diag", disc="bilinear", bidirectional=True, dt_transform="exp", n_ssm=1)


if __name__ == "__main__":
    main()
