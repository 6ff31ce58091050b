"""What saccade.ops compute, in NumPy and float64: written to be read next to their docstrings."""

import numpy as np


def rms_norm(x, weight, shift=0.0, eps=1e-6):
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + eps) * weight + shift


def layer_norm(x, weight, bias, eps=1e-6):
    centered = x - x.mean(-1, keepdims=True)
    return centered / np.sqrt((centered**2).mean(-1, keepdims=True) + eps) * weight + bias


def gelu(x):
    return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


def linear(x, weight, bias=0.0, activation="none"):
    product = x @ weight.T + bias
    if activation == "geglu":
        gate, up = np.split(product, 2, axis=-1)
        return gelu(gate) * up
    return {"none": product, "gelu": gelu(product), "silu": product / (1 + np.exp(-product))
            }[activation]


def rope(qkv, positions, table, kv_heads, cache_rows):
    rows, head_dim = len(qkv), table.shape[1]
    heads = qkv.shape[1] // head_dim
    split = qkv.reshape(rows, heads, head_dim)
    low, high = np.split(split, 2, axis=-1)
    cos, sin = np.split(table[positions][:, None], 2, axis=-1)
    turned = np.concatenate([low * cos - high * sin, high * cos + low * sin], axis=-1)
    queries = heads - 2 * kv_heads
    k, v = np.zeros((2, cache_rows, kv_heads, head_dim))
    k[positions], v[positions] = turned[:, queries:-kv_heads], split[:, -kv_heads:]
    return turned[:, :queries], k, v


def attention(q, k, v, visible=None, scale=None):
    rows, heads, head_dim = q.shape
    visible = np.full(rows, len(k)) if visible is None else visible
    scale = head_dim**-0.5 if scale is None else scale
    k, v = (np.repeat(x, heads // x.shape[1], axis=1) for x in (k, v))
    logits = scale * np.einsum("rhd,jhd->hrj", q, k)
    logits[:, np.arange(len(k)) >= visible[:, None]] = -np.inf
    weights = np.exp(logits - logits.max(-1, keepdims=True))
    weights /= weights.sum(-1, keepdims=True)
    return np.einsum("hrj,jhd->rhd", weights, v).reshape(rows, heads * head_dim)


def attention_packed(qkv, heads, scale=None):
    batch, rows, width = qkv.shape
    q, k, v = np.moveaxis(qkv.reshape(batch, rows, 3, heads, width // 3 // heads), 2, 0)
    return np.stack([attention(*sequence, scale=scale) for sequence in zip(q, k, v)])


def block_scales(x, per_block):
    width = 128 if per_block else x.shape[1]
    starts = range(0, x.shape[1], width)
    scales = np.stack([abs(x[:, i:i + width]).max(-1) for i in starts]) / 448
    return np.where(scales < 2.0**-126, 1, scales)


def scaled(values, scales):
    """What values with scales [blocks, rows] stand for."""
    width = values.shape[1] if len(scales) == 1 else 128
    return values * np.repeat(scales, width, axis=0)[:values.shape[1]].T
