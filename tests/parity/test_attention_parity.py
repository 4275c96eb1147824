"""Agreement with PyTorch: scaled dot-product and multi-head attention, and their gradients."""

from __future__ import annotations

import numpy as np
import pytest

import tinygrad_seq as tgs
from tinygrad_seq import nn

torch = pytest.importorskip("torch", reason="PyTorch is not installed (make parity)")


def agree(pairs):
    for mine, other in pairs:
        np.testing.assert_allclose(mine, other.detach().numpy(), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("masked", [False, True])
def test_scaled_dot_product(masked):
    rng = np.random.default_rng(0)
    shapes = [(2, 3, 5, 4), (2, 3, 7, 4), (2, 3, 7, 6)]
    arrays = [rng.standard_normal(shape) for shape in shapes]
    mask = rng.random((2, 3, 5, 7)) < 0.6 if masked else None
    if masked:
        mask[..., 0] = True  # PyTorch gives NaN for a row with nothing to attend to
    ours = [tgs.tensor(a, requires_grad=True) for a in arrays]
    theirs = [torch.from_numpy(a).requires_grad_() for a in arrays]
    context, _ = tgs.scaled_dot_product_attention(*ours, mask=mask)
    expected = torch.nn.functional.scaled_dot_product_attention(
        *theirs, attn_mask=None if mask is None else torch.from_numpy(mask)
    )
    weights = rng.standard_normal(context.shape)
    (context * weights).sum().backward()
    (expected * torch.from_numpy(weights)).sum().backward()
    agree(
        [
            (context.numpy(), expected),
            *((a.grad, b.grad) for a, b in zip(ours, theirs, strict=True)),
        ]
    )


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("lengths", [None, [6, 2, 4]])
def test_multihead(causal, lengths):
    rng = np.random.default_rng(1)
    steps = 6
    ours = nn.MultiheadAttention(8, 2, kdim=5, vdim=7, rng=rng, dtype=np.float64)
    theirs = torch.nn.MultiheadAttention(8, 2, kdim=5, vdim=7, dtype=torch.float64)
    linears = [ours.query, ours.key, ours.value]
    for linear in [*linears, ours.out]:
        linear.bias.data = rng.standard_normal(8)
    with torch.no_grad():
        for name, linear in zip("qkv", linears, strict=True):
            weight = torch.from_numpy(linear.weight.numpy().T.copy())
            getattr(theirs, f"{name}_proj_weight").copy_(weight)
        bias = np.concatenate([linear.bias.numpy() for linear in linears])
        theirs.in_proj_bias.copy_(torch.from_numpy(bias))
        theirs.out_proj.weight.copy_(torch.from_numpy(ours.out.weight.numpy().T.copy()))
        theirs.out_proj.bias.copy_(torch.from_numpy(ours.out.bias.numpy()))
    arrays = [rng.standard_normal((steps, 3, size)) for size in (8, 5, 7)]
    mine = [tgs.tensor(a, requires_grad=True) for a in arrays]
    given = [torch.from_numpy(a).requires_grad_() for a in arrays]
    y, weights = ours(*mine, lengths=lengths, causal=causal)
    hidden = None if lengths is None else torch.from_numpy(~nn.length_mask(lengths, steps))
    later = torch.from_numpy(~nn.causal_mask(steps)) if causal else None
    expected, expected_weights = theirs(
        *given, key_padding_mask=hidden, attn_mask=later, average_attn_weights=False
    )
    scale = rng.standard_normal(y.shape)
    (y * scale).sum().backward()
    (expected * torch.from_numpy(scale)).sum().backward()
    pairs = [(y.numpy(), expected), (weights.numpy(), expected_weights)]
    pairs += [(a.grad, b.grad) for a, b in zip(mine, given, strict=True)]
    for name, linear in zip("qkv", linears, strict=True):
        pairs.append((linear.weight.grad.T, getattr(theirs, f"{name}_proj_weight").grad))
    joined = np.concatenate([linear.bias.grad for linear in linears])
    pairs.append((joined, theirs.in_proj_bias.grad))
    pairs.append((ours.out.weight.grad.T, theirs.out_proj.weight.grad))
    pairs.append((ours.out.bias.grad, theirs.out_proj.bias.grad))
    agree(pairs)
