import jax.numpy as jnp
import pytest

from mixit_jax.doctor.overfit import LEAST_DB, overfit
from mixit_jax.errors import UserError
from mixit_jax.training.losses import Losses
from mixit_jax.training.objectives import Finetuning, Pretraining


def constant(value):
  """A loss that no parameter changes."""

  def loss(self, params, batch, keys):
    return Losses(jnp.full(len(batch.positions), value), {})

  return loss


@pytest.mark.parametrize(
  "kind", ["mixit", pytest.param("stems", marks=pytest.mark.slow)]
)
def test_the_separator_learns_its_batch(kind):
  line = overfit(kind)
  assert f"at least {LEAST_DB:g} dB" in line
  assert "cpu in float32" in line


def test_steps_that_are_not_finite_are_counted(monkeypatch):
  monkeypatch.setattr(Pretraining, "loss", constant(jnp.nan))
  with pytest.raises(UserError, match=r"40 of 40 steps .* not finite; .*driver"):
    overfit("mixit")


def test_a_loss_that_does_not_fall_is_a_failure(monkeypatch):
  monkeypatch.setattr(Finetuning, "loss", constant(1.5))
  with pytest.raises(UserError, match=r"from 1\.5 to 1\.5 dB .* a fall by 6 dB"):
    overfit("stems")
