#!/usr/bin/env python3
"""Writes golden cases of S5 with further options, from its equations in PyTorch.

    python3 -m venv /tmp/venv && /tmp/venv/bin/pip install torch numpy safetensors
    /tmp/venv/bin/python papers/s5/golden_cases.py DIR
    bazel run //papers:goldens -- --dir=DIR

The cases in goldens/ are the released code's. These have the options that those leave out: all modes, complex_normal in both
directions, another sampling rate, the other gates, the norm behind the layer, and a layer in evaluation. Every state is made by a
loop over the rows, in complex128.
"""

import json
import pathlib
import sys

import safetensors.torch
import torch
import torch.nn.functional as F

torch.set_default_dtype(torch.float64)


def state_space(x, p, config):
    """x [B, L, H] -> y and the states of the forward direction [B, L, P]."""
    real = p["Lambda_re"].clamp(max=-1e-4) if config.get("clip_eigs") else p["Lambda_re"]
    modes = torch.complex(real, p["Lambda_im"])
    step = config.get("step_rescale", 1.0) * p["log_step"][:, 0].exp()
    b = torch.view_as_complex(p["B"])
    if config["discretization"] == "zoh":
        a = (modes * step).exp()
        b_bar = ((a - 1) / modes)[:, None] * b
    else:
        inverse = 1 / (1 - step / 2 * modes)
        a = inverse * (1 + step / 2 * modes)
        b_bar = (inverse * step)[:, None] * b

    def run(rows):
        state, states = torch.zeros(x.shape[0], modes.shape[0], dtype=torch.complex128), {}
        for t in rows:
            state = a * state + x[:, t].to(torch.complex128) @ b_bar.T
            states[t] = state
        return torch.stack([states[t] for t in range(x.shape[1])], 1)

    forward = run(range(x.shape[1]))
    states = [forward]
    if config["bidirectional"]:
        states.append(run(reversed(range(x.shape[1]))))
    names = ["C"] if "C" in p else ["C1", "C2"]
    c = torch.cat([torch.view_as_complex(p[name]) for name in names], -1)
    y = (torch.cat(states, -1) @ c.T).real * (2 if config["conj_sym"] else 1)
    return y + p["D"] * x, forward, a, b_bar


def layer(x, p, config, results):
    def norm(z):
        if not config["batchnorm"]:
            return F.layer_norm(z, z.shape[-1:], p["norm.scale"], p["norm.bias"], config["norm_eps"])
        mean, var = torch.zeros(z.shape[-1]), torch.ones(z.shape[-1])
        if config["training"]:
            mean, var = z.mean((0, 1)), z.var((0, 1), unbiased=False)
            keep = config["bn_momentum"]
            results["out.running_mean"] = (1 - keep) * mean
            results["out.running_var"] = keep + (1 - keep) * var
        return (z - mean) / (var + config["norm_eps"]).sqrt() * p["norm.scale"] + p["norm.bias"]

    def mix(z):
        s = state_space(z, {k[4:]: v for k, v in p.items() if k.startswith("seq.")}, config)[0]
        g = F.gelu(s, approximate="tanh")
        if config["activation"] == "gelu":
            return g
        gate = torch.sigmoid(g @ p["out2.kernel"] + p["out2.bias"])
        value = {"half_glu1": g, "half_glu2": s}.get(config["activation"])
        return gate * (g @ p["out1.kernel"] + p["out1.bias"] if value is None else value)

    return x + mix(norm(x)) if config["prenorm"] else norm(x + mix(x))


def write(folder, name, **options):
    config = {"H": 5, "L": 17, "ssm_size_base": 8, "blocks": 2, "conj_sym": True, "C_init": "lecun_normal",
              "discretization": "zoh", "bidirectional": False, **options}
    width, stored = config["H"], config["ssm_size_base"] // (2 if config["conj_sym"] else 1)

    def leaf(*shape, scale=0.5, shift=0.0):  # float32 values, so that the file holds what was computed with
        return (shift + scale * torch.randn(*shape)).float().double().requires_grad_()

    seq = {"Lambda_re": leaf(stored, scale=0.2, shift=-0.5), "Lambda_im": leaf(stored, scale=3), "B": leaf(stored, width, 2),
           "D": leaf(width), "log_step": leaf(stored, 1, shift=-1.5)}
    if not config["bidirectional"]:
        seq["C"] = leaf(width, stored, 2)
    elif config["C_init"] == "complex_normal":
        seq["C"] = leaf(width, 2 * stored, 2)
    else:
        seq.update(C1=leaf(width, stored, 2), C2=leaf(width, stored, 2))
    params = seq
    if "activation" in config:
        config = {"batchnorm": False, "prenorm": True, "training": True, "dropout": 0, "norm_eps": 1e-5, "bn_momentum": 0.9, **config}
        params = {"seq." + key: value for key, value in seq.items()}
        params.update({"norm.scale": leaf(width, shift=1), "norm.bias": leaf(width)})
        for which in {"gelu": [], "full_glu": ["out1", "out2"]}.get(config["activation"], ["out2"]):
            params.update({which + ".kernel": leaf(width, width), which + ".bias": leaf(width)})
    x = leaf(2, config["L"], width, scale=1)
    results = {}
    if "activation" in config:
        y = layer(x, params, config, results)
    else:
        y, states, a, b_bar = state_space(x, params, config)
        results.update({"out.states_forward": torch.view_as_real(states), "out.Lambda_bar": torch.view_as_real(a),
                        "out.B_bar": torch.view_as_real(b_bar)})
    results["out.y"] = y
    cotangent = torch.randn_like(y).float().double()
    leaves = {"in.x": x, **{"param." + key: value for key, value in params.items()}}
    for key, gradient in zip(leaves, torch.autograd.grad((y * cotangent).sum(), list(leaves.values()))):
        results["grad." + key] = gradient
    tensors = {**leaves, **results, "cotangent.y": cotangent}
    metadata = {"paper": "s5", "case": name, "reference": "the equations of S5 in PyTorch, complex128", "config": json.dumps(config),
                "notes": "written by papers/s5/golden_cases.py"}
    safetensors.torch.save_file({key: t.detach().float().contiguous() for key, t in tensors.items()}, folder / f"{name}.safetensors",
                                metadata=metadata)


def main():
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    write(folder, "all_modes", conj_sym=False, ssm_size_base=6)
    write(folder, "complex_normal_both_ways", C_init="complex_normal", bidirectional=True)
    write(folder, "rescaled_bilinear", discretization="bilinear", step_rescale=2.0, clip_eigs=True, blocks=1)
    write(folder, "one_row", L=1, step_rescale=0.5)
    write(folder, "layer_full_glu", activation="full_glu", bidirectional=True)
    write(folder, "layer_gelu_norm_behind", activation="gelu", prenorm=False)
    write(folder, "layer_batch_norm_behind", activation="half_glu1", prenorm=False, batchnorm=True, bn_momentum=0.95)
    write(folder, "layer_batch_norm_in_evaluation", activation="half_glu2", batchnorm=True, training=False, dropout=0.1)


if __name__ == "__main__":
    main()
