import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mixit_jax.training.config import OptimizerConfig
from mixit_jax.training.optimizer import learning_rate, make_optimizer


def test_pretraining_schedule_of_the_paper():
  config = OptimizerConfig(peak_rate=1e-3, warmup_steps=5000, decay=0.965)

  def rate(step):
    return float(learning_rate(step, config, 1000))

  assert rate(0) == pytest.approx(1e-3 / 5000)
  assert rate(2499) == pytest.approx(5e-4)
  assert rate(4999) == pytest.approx(1e-3)
  assert rate(5999) == pytest.approx(1e-3)
  assert rate(6000) == pytest.approx(1e-3 * 0.965)
  assert rate(149_999) == pytest.approx(1e-3 * 0.965**144, rel=1e-4)


def test_finetuning_schedule_of_the_paper():
  config = OptimizerConfig(constant_epochs=550, decay=0.98, decay_epochs=2)
  steps = [549 * 110, 551 * 110, 552 * 110, 554 * 110]
  rates = [float(learning_rate(step, config, 110)) for step in steps]
  np.testing.assert_allclose(rates, [1e-3, 1e-3, 0.98e-3, 0.98**2 * 1e-3], rtol=1e-5)


def test_updates_equal_those_of_torch():
  torch = pytest.importorskip("torch")
  config = OptimizerConfig(peak_rate=1e-2, warmup_steps=0, decay=1.0, clip_norm=5.0)
  start = np.linspace(-2, 2, 12, dtype=np.float32).reshape(3, 4)
  grads = [10 * np.cos(start * k).astype(np.float32) for k in range(1, 6)]

  theirs = torch.nn.Parameter(torch.tensor(start))
  optimizer = torch.optim.AdamW([theirs], lr=1e-2, weight_decay=1e-2)
  for grad in grads:
    theirs.grad = torch.tensor(grad)
    torch.nn.utils.clip_grad_norm_([theirs], 5.0)
    optimizer.step()

  ours = {"w": jnp.asarray(start)}
  optimizer = make_optimizer(config, 100)
  state = optimizer.init(ours)
  for grad in grads:
    norm = jnp.linalg.norm(grad)
    updates, state = optimizer.update({"w": jnp.asarray(grad)}, state, ours, norm=norm)
    ours = jax.tree.map(jnp.add, ours, updates)
  np.testing.assert_allclose(ours["w"], theirs.detach().numpy(), rtol=1e-5)
