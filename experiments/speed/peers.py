#!/usr/bin/env python3
"""The workloads of the speed report in PyTorch, each written the fastest way that eager PyTorch offers on a CPU.

//experiments/speed starts it (--peers=PYTHON) and talks to it: a line "SECONDS WORKLOAD" on standard input is answered by a line
of JSON, {"seconds": median of a run} or {"absent": why not}. By hand:

    echo "0.5 RmsNorm/forward_backward/rows:8192/d:512" | python3 peers.py

Needs torch; the rows of Mamba need mambapy beside it (pip install torch numpy; pip install --no-deps mambapy). All float32.
"""

import argparse
import json
import math
import statistics
import sys
import time

import torch
import torch.nn.functional as F
from torch import nn


def normal(*shape, scale=1.0):
    return (torch.randn(*shape) * scale).requires_grad_()


def uniform(*shape, low, high):
    return torch.empty(*shape).uniform_(low, high).requires_grad_()


# Each returns (function, inputs): the workload is the function, or it and the gradients of all inputs.


def causal_attention(b, h, l, d):
    return lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True), [normal(b, h, l, d) for _ in range(3)]


def sliding_window_attention(b, h, l, d, w):
    """Blocks of w queries against their own block of keys and the one before, under a mask."""
    query, key = torch.arange(w)[:, None] + w, torch.arange(2 * w)
    visible = (key <= query) & (key > query - w)
    masks = visible.repeat(l // w, 1, 1)
    masks[0, :, :w] = False

    def attend(q, k, v):
        blocks = lambda x: x.unflatten(2, (l // w, w)).transpose(1, 2).flatten(0, 1)  # [b blocks, h, w, d]
        with_past = lambda x: blocks_of_two(x.unflatten(2, (l // w, w)))
        y = F.scaled_dot_product_attention(blocks(q), with_past(k), with_past(v), attn_mask=masks.repeat(b, 1, 1)[:, None])
        return y.unflatten(0, (b, l // w)).transpose(1, 2).flatten(2, 3)

    def blocks_of_two(x):
        past = F.pad(x, (0, 0, 0, 0, 1, 0))[:, :, :-1]
        return torch.cat([past, x], 3).transpose(1, 2).flatten(0, 1)

    return attend, [normal(b, h, l, d) for _ in range(3)]


def fft_convolution(b, d, l):
    def convolve(x, filters):
        return torch.fft.irfft(torch.fft.rfft(x, 2 * l) * torch.fft.rfft(filters, 2 * l), 2 * l)[..., :l]

    return convolve, [normal(b, d, l), normal(d, l)]


def selective_scan(b, d, l, n):
    from mambapy.pscan import pscan

    def scan(u, delta, a, bs, cs):
        h = pscan(torch.exp(delta[..., None] * a), (delta * u)[..., None] * bs[:, :, None])
        return (h @ cs[..., None])[..., 0]

    return scan, [normal(b, l, d), uniform(b, l, d, low=0, high=0.1), uniform(d, n, low=-1.5, high=-0.5), normal(b, l, n), normal(b, l, n)]


def diagonal_scan(b, l, p):
    """Doubling: after round r a row holds the sum over the 2^r rows that end at it."""

    def scan(a, u):
        a, x, step = torch.view_as_complex(a), torch.view_as_complex(u), 1
        while step < l:
            x = torch.cat([x[:, :step], x[:, step:] + a[:, step:] * x[:, :-step]], 1)
            a = torch.cat([a[:, :step], a[:, step:] * a[:, :-step]], 1)
            step *= 2
        return torch.view_as_real(x)

    return scan, [normal(b, l, p, 2, scale=0.5), normal(b, l, p, 2)]


def decayed_attention(q, k, v, log_decay, chunk):
    """Retention in chunks: within one as a matrix, a state from one to the next. q, k, v [b, h, l, d]."""
    place = torch.arange(chunk)
    inside = torch.exp((place[:, None] - place) * log_decay).tril()
    to_state, from_state = torch.exp((chunk - 1 - place)[:, None] * log_decay), torch.exp((place + 1)[:, None] * log_decay)
    over = torch.exp(chunk * log_decay)
    state, outputs = q.new_zeros(*q.shape[:2], q.shape[-1], v.shape[-1]), []
    for qc, kc, vc in zip(q.split(chunk, 2), k.split(chunk, 2), v.split(chunk, 2)):
        outputs.append((qc @ kc.mT * inside) @ vc + (qc * from_state) @ state)
        state = over * state + (kc * to_state).mT @ vc
    return torch.cat(outputs, 2)


def retention(b, h, l, d, e=None):
    log_decay = torch.log1p(-(2.0 ** (-5 - torch.arange(h))))[:, None, None]
    q, k, v = normal(b, h, l, d, scale=0.1), normal(b, h, l, d, scale=0.1), normal(b, h, l, e or d, scale=0.1)
    return lambda q, k, v: decayed_attention(q, k, v, log_decay, min(128, l)), [q, k, v]


def s4_kernel(h, n, l):
    """Cauchy sums at the roots of unity with the Woodbury correction of rank 1; n / 2 conjugate pairs."""
    root = torch.exp(-2j * math.pi * torch.arange(l // 2 + 1) / l)
    node = 2 * (1 - root) / (1 + root + 1e-12)

    def kernel(re, im, p, q, b, c, log_dt):
        dt = log_dt.exp()[:, None]
        pole = torch.complex(re, im) * dt
        p, q, b, c = (torch.view_as_complex(x) for x in (p, q, b, c))
        p, b = p * dt, b * dt

        def cauchy(weight):
            pairs = weight[..., None] / (node - pole[..., None]) + weight.conj()[..., None] / (node - pole.conj()[..., None])
            return pairs.sum(-2)

        spectrum = cauchy(b * c) - cauchy(b * q.conj()) * cauchy(p * c) / (1 + cauchy(p * q.conj()))
        return torch.fft.irfft(spectrum * 2 / (1 + root + 1e-12), n=l)

    return kernel, [uniform(h, n // 2, low=-1.1, high=-0.1), normal(h, n // 2, scale=30), *(normal(h, n // 2, 2) for _ in range(4)),
                    uniform(h, low=-5, high=-3)]


def cross_entropy(rows, v):
    target = torch.randint(0, v, (rows,))
    return lambda x: F.cross_entropy(x, target), [normal(rows, v)]


def embedding(n, v, d):
    ids = (v ** torch.rand(n)).long() - 1
    return lambda table: F.embedding(ids, table), [normal(v, d)]


def depthwise_convolution(b, d, l, k):
    return lambda x, w, bias: F.silu(F.conv1d(F.pad(x, (k - 1, 0)), w, bias, groups=d)), [normal(b, d, l), normal(d, 1, k), normal(d)]


DIFFERENTIABLE = {
    "CausalAttention": causal_attention,
    "SlidingWindowAttention": sliding_window_attention,
    "FftConvolution": fft_convolution,
    "SelectiveScan": selective_scan,
    "DiagonalScan": diagonal_scan,
    "Retention": retention,
    "S4Kernel": s4_kernel,
    "CrossEntropy": cross_entropy,
    "Embedding": embedding,
    "DepthwiseConvolution": depthwise_convolution,
    "LayerNorm": lambda rows, d: (lambda x, w, b: F.layer_norm(x, (d,), w, b), [normal(rows, d), normal(d), normal(d)]),
    "RmsNorm": lambda rows, d: (lambda x, w: F.rms_norm(x, (d,), w), [normal(rows, d), normal(d)]),
    "Softmax": lambda rows, d: (lambda x: F.softmax(x, -1), [normal(rows, d)]),
    "SwiGlu": lambda rows, d: (lambda a, b: F.silu(a) * b, [normal(rows, d), normal(rows, d)]),
    "Gelu": lambda rows, d: (F.gelu, [normal(rows, d)]),
    "GeluTanh": lambda rows, d: (lambda x: F.gelu(x, approximate="tanh"), [normal(rows, d)]),
}


def gemm(m, k, n):
    a, b = torch.randn(m, k), torch.randn(k, n)
    return lambda: a @ b


def adamw(n):
    parameter = normal(n)
    parameter.grad = torch.randn(n)
    return torch.optim.AdamW([parameter], lr=1e-3, weight_decay=0.1, fused=True).step


PLAIN = {"Gemm": gemm, "AdamW": adamw}


# The training step of //experiments/speed:lm_step.


def rotate(x):
    half = x.shape[-1] // 2
    angle = torch.arange(x.shape[-2])[:, None] * 10000.0 ** (-torch.arange(half) / half)
    cos, sin = angle.cos(), angle.sin()
    first, second = x.split(half, -1)
    return torch.cat([first * cos - second * sin, second * cos + first * sin], -1)


class Attention(nn.Module):
    def __init__(self, d, heads):
        super().__init__()
        self.heads, self.qkv, self.o = heads, nn.Linear(d, 3 * d, bias=False), nn.Linear(d, d, bias=False)

    def forward(self, x):
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        return self.o(F.scaled_dot_product_attention(rotate(q), rotate(k), v, is_causal=True).transpose(1, 2).flatten(2))


class Retention(nn.Module):
    """RetNet's layer in the parallel form (equation 5) with its three normalisations."""

    def __init__(self, d, heads):
        super().__init__()
        self.heads = heads
        self.q, self.k, self.v, self.g = (nn.Linear(d, width, bias=False) for width in (d, d, 2 * d, 2 * d))
        self.o = nn.Linear(2 * d, d, bias=False)
        self.log_decay = torch.log1p(-(2.0 ** (-5 - torch.arange(heads))))[:, None, None]

    def forward(self, x):
        q, k, v = (layer(x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for layer in (self.q, self.k, self.v))
        place = torch.arange(x.shape[1])
        decay = torch.exp((place[:, None] - place) * self.log_decay).tril()
        decay = decay / decay.sum(-1, keepdim=True).sqrt()
        score = rotate(q) @ rotate(k * q.shape[-1] ** -0.5).mT * decay
        score = score / score.detach().abs().sum(-1, keepdim=True).clamp(min=1)
        y = score @ v
        return self.o(F.silu(self.g(x)) * F.rms_norm(y, y.shape[-1:]).transpose(1, 2).flatten(2))


def mamba(d, layers):
    from mambapy.mamba import MambaBlock, MambaConfig

    return MambaBlock(MambaConfig(d_model=d, n_layers=layers, use_cuda=False))


class Block(nn.Module):
    def __init__(self, mixer, d, feed_forward):
        super().__init__()
        self.mixer, self.mixer_norm = mixer, nn.RMSNorm(d)
        self.feed_forward = feed_forward
        if feed_forward:
            width = -(-8 * d // 3 // 32) * 32
            self.norm, self.up, self.down = nn.RMSNorm(d), nn.Linear(d, 2 * width, bias=False), nn.Linear(width, d, bias=False)

    def forward(self, x):
        x = x + self.mixer(self.mixer_norm(x))
        if not self.feed_forward:
            return x
        gate, value = self.up(self.norm(x)).chunk(2, -1)
        return x + self.down(F.silu(gate) * value)


def training_step(mixer, precision="float32", *, b, l, d, layers, heads, v):
    make = {"attention": lambda: Attention(d, heads), "retnet": lambda: Retention(d, heads), "mamba": lambda: mamba(d, layers)}[mixer]
    model = nn.Sequential(nn.Embedding(v, d), *(Block(make(), d, mixer != "mamba") for _ in range(layers)), nn.RMSNorm(d),
                          nn.Linear(d, v, bias=False))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.1, fused=True)
    ids = torch.randint(0, v, (b, l + 1))

    def step():
        with torch.autocast("cpu", getattr(torch, precision), enabled=precision != "float32"):
            loss = F.cross_entropy(model(ids[:, :-1]).flatten(0, 1), ids[:, 1:].flatten())
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()

    return step


def build(workload):
    """The function to time. KeyError, TypeError: there is no such workload."""
    family, *rest = workload.split("/")
    words = [word for word in rest if ":" not in word]
    sizes = {name: int(value) for name, value in (word.split(":") for word in rest if ":" in word)}
    if family == "TrainingStep":
        return training_step(*words, **sizes)
    if family in PLAIN and not words:
        return PLAIN[family](**sizes)
    (direction,) = words
    function, inputs = DIFFERENTIABLE[family](**sizes)
    if direction == "forward":

        def forward():
            with torch.no_grad():
                function(*inputs)

        return forward
    with torch.no_grad():
        cotangent = torch.randn_like(function(*inputs))
    return lambda: torch.autograd.grad(function(*inputs), inputs, cotangent)


def measure(workload, seconds):
    try:
        run = build(workload)
        run()
    except ImportError as missing:
        return {"absent": f"needs {missing.name}"}
    except (KeyError, TypeError, ValueError):
        return {"absent": "no such workload"}
    times, end = [], time.perf_counter() + seconds
    while not times or time.perf_counter() < end:
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return {"seconds": statistics.median(times)}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="threads of PyTorch")
    torch.set_num_threads(parser.parse_args().threads)
    torch.manual_seed(0)
    print(json.dumps({"peer": f"torch {torch.__version__}"}), flush=True)
    for line in sys.stdin:
        seconds, workload = line.split()
        print(json.dumps(measure(workload, float(seconds))), flush=True)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        pass
