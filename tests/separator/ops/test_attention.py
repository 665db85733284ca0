"""Attention and its written-out gradient, against the definition."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mixit_jax.separator.ops import attention
from mixit_jax.separator.ops.attention import attend
from mixit_jax.separator.ops.dropout import dropout, fold_in_each

SHAPE = (5, 2, 7, 4)  # sequences, batch, length, features of a head


def draw(seed, shape=SHAPE):
  return np.random.default_rng(seed).standard_normal(shape, np.float32)


def by_definition(q, k, v, keys=None, rate=0.0):
  logits = jnp.einsum("sbie,sbje->sbij", q, k) / np.sqrt(q.shape[-1])
  weights = jax.nn.softmax(logits, -1)
  if keys is not None:
    weights = jnp.stack(
      [dropout(w, rate, fold_in_each(keys, n), 0) for n, w in enumerate(weights)]
    )
  return jnp.einsum("sbij,sbje->sbie", weights, v)


def with_gradients(function, *arguments):
  """Result, and gradients with respect to q, k and v of a weighted sum."""
  inputs, rest = arguments[:3], arguments[3:]
  y, pull = jax.vjp(lambda *inputs: function(*inputs, *rest), *inputs)
  return y, *pull(draw(9, y.shape).astype(y.dtype))


@pytest.mark.parametrize("rate", [0.0, 0.3])
@pytest.mark.parametrize("sequences", [1, 2, 5])  # of a group
@pytest.mark.parametrize("batch", [1, 2])
def test_values_and_gradients_follow_from_the_definition(
  rate, sequences, batch, monkeypatch
):
  monkeypatch.setattr(attention, "_WEIGHTS_AT_ONCE", sequences * batch * 7**2)
  keys = jax.random.split(jax.random.key(0), batch) if rate else None
  inputs = [draw(seed, (5, batch, 7, 4)) for seed in range(3)]
  found = with_gradients(attend, *inputs, keys, rate)
  expected = with_gradients(by_definition, *inputs, keys, rate)
  for ours, theirs in zip(found, expected, strict=True):
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=2e-6)


def test_sequences_at_once_are_sequences_group_by_group(monkeypatch):
  keys = jax.random.split(jax.random.key(0), 2)
  inputs = [draw(seed) for seed in range(3)]
  monkeypatch.setattr(attention, "_WEIGHTS_AT_ONCE", 1)
  in_groups = with_gradients(attend, *inputs, keys, 0.3)
  monkeypatch.setattr(attention, "by_platform", lambda default, cpu: default)
  at_once = with_gradients(attend, *inputs, keys, 0.3)
  for one, other in zip(in_groups, at_once, strict=True):
    np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def test_gradients_of_large_logits_are_finite():
  q, k, v = (100 * draw(seed) for seed in range(3))
  for array in with_gradients(attend, q, k, v, None, 0.0):
    assert np.isfinite(array).all()


def test_bfloat16_is_as_exact_as_its_factors():
  inputs = [jnp.asarray(draw(seed), jnp.bfloat16) for seed in range(3)]
  found = with_gradients(attend, *inputs, None, 0.0)
  exact = with_gradients(by_definition, *(x.astype(jnp.float32) for x in inputs))
  for ours, theirs in zip(found, exact, strict=True):
    assert ours.dtype == jnp.bfloat16
    error = np.linalg.norm(ours.astype(jnp.float32) - theirs) / np.linalg.norm(theirs)
    assert error < 0.02


def test_the_backward_pass_keeps_no_weights():
  length = 64
  q = jnp.zeros((3, 1, length, 4))
  _, pull = jax.vjp(lambda q: attend(q, q, q, None, 0.0), q)
  sizes = [leaf.size for leaf in jax.tree.leaves(pull) if hasattr(leaf, "size")]
  assert sizes
  assert max(sizes) < 3 * length**2


@pytest.mark.parametrize("length", [6, 7])
def test_the_padding_of_odd_lengths_for_cudnn_is_not_seen(length, monkeypatch):
  """JAX's plain implementation takes the place of the kernel, which needs a GPU."""
  plain = jax.nn.dot_product_attention

  def in_place(*arrays, implementation, **settings):
    assert implementation == "cudnn"
    assert arrays[0].shape[1] % 2 == 0
    return plain(*arrays, implementation="xla", **settings)

  monkeypatch.setattr(jax.nn, "dot_product_attention", in_place)
  qkv = draw(3, (2, 3, length, 3 * 8))

  def outcome(kernel):
    def loss(qkv):
      x = attention.self_attention(
        qkv, np.eye(24, dtype=np.float32), 2, None, 0.0, kernel
      )
      return jnp.sum(x**2), x

    return jax.grad(loss, has_aux=True)(jnp.asarray(qkv))

  for found, expected in zip(outcome("cudnn"), outcome("xla"), strict=True):
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
