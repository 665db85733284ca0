"""Our model and the independent PyTorch baseline agree, at the paper's sizes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

torch = pytest.importorskip("torch")

from benchmarks.baseline import objectives as torch_objectives  # noqa: E402
from benchmarks.baseline.config import SIZES, BaselineConfig  # noqa: E402
from benchmarks.baseline.model import Baseline  # noqa: E402
from mixit_jax.objectives.mixit import assign, mixit_loss, remix  # noqa: E402
from mixit_jax.objectives.snr import inactive_snr_loss  # noqa: E402
from mixit_jax.separator import init  # noqa: E402
from mixit_jax.separator import separate as our_separation  # noqa: E402
from mixit_jax.separator.bs_locoformer import estimate_masks  # noqa: E402
from mixit_jax.separator.config import SeparatorConfig  # noqa: E402
from mixit_jax.separator.waveform import analyze, synthesize  # noqa: E402
from mixit_jax.weights.torch_weights import from_torch, to_torch  # noqa: E402

LENGTH = 18000  # 0.4 s, not a multiple of the hop


def random_baseline(config: BaselineConfig) -> Baseline:
  """A baseline in which no gain is one and no bias is zero."""
  torch.manual_seed(0)
  baseline = Baseline(config).eval()
  with torch.no_grad():
    for parameter in baseline.parameters():
      if parameter.ndim == 1:
        parameter.add_(0.1 * torch.randn_like(parameter))
  return baseline


def stems() -> np.ndarray:
  """References [1, 4, 2, L] of different levels; one is nearly silent."""
  draw = np.random.default_rng(0).standard_normal((1, 4, 2, LENGTH))
  gain = np.asarray([0.1, 0.03, 0.2, 1e-6]).reshape(1, 4, 1, 1)
  return (draw * gain).astype(np.float32)


def relative_error(found, expected) -> float:
  distance = np.linalg.norm(np.asarray(found) - np.asarray(expected))
  return float(distance / np.linalg.norm(expected))


def our_pretraining_loss(estimates, references):
  mixtures = jnp.stack([references[:, :2].sum(1), references[:, 2:].sum(1)], 1)
  chosen = assign(jax.lax.stop_gradient(estimates), mixtures)
  return mixit_loss(remix(estimates, chosen), mixtures).mean()


def our_finetuning_loss(estimates, references):
  return inactive_snr_loss(references, estimates).mean()


def their_pretraining_loss(baseline, references):
  mixtures = torch.stack([references[:, :2].sum(1), references[:, 2:].sum(1)], 1)
  return torch_objectives.mixit_loss(baseline, mixtures)


LOSSES = {
  "pre-training": (our_pretraining_loss, their_pretraining_loss),
  "fine-tuning": (our_finetuning_loss, torch_objectives.stem_loss),
}


@pytest.mark.parametrize(
  "size",
  [
    "small",
    pytest.param("medium", marks=pytest.mark.slow),
    pytest.param("large", marks=pytest.mark.slow),
  ],
)
def test_outputs_losses_and_gradients_agree_with_the_baseline(size):
  baseline = random_baseline(SIZES[size])
  config, params = from_torch(baseline.state_dict())
  assert config == SeparatorConfig.preset(size)
  references = stems()
  mixture = references.sum(1)

  @jax.jit
  def run(params, mixture, cotangent):
    """Estimates and level, and the gradient for a gradient of the estimates."""

    def separate(params):
      spectrogram, scale = analyze(config, mixture)
      masks = estimate_masks(config, params, spectrogram)
      return synthesize(config, masks, spectrogram, mixture.shape[-1]), scale

    estimates, backward, scale = jax.vjp(separate, params, has_aux=True)
    return estimates, scale, backward(cotangent)[0]

  silent = jnp.zeros(references.shape)
  estimates, scale, _ = run(params, mixture, silent)
  with torch.no_grad():
    their_estimates, their_scale = baseline.model(torch.tensor(mixture))
  assert relative_error(scale, their_scale) < 1e-5
  assert relative_error(estimates, their_estimates) < 1e-4

  for name, (our_loss, their_loss) in LOSSES.items():
    ours, cotangent = jax.value_and_grad(our_loss)(
      estimates, references / scale[:, None, :, None]
    )
    gradients = run(params, mixture, cotangent)[2]
    baseline.zero_grad()
    theirs = their_loss(baseline, torch.tensor(references))
    theirs.backward()
    assert abs(float(ours) - theirs.item()) < 1e-3, name
    grads = {key: p.grad for key, p in baseline.named_parameters()}
    _, expected = from_torch(grads)
    errors = jax.tree.map(relative_error, gradients, expected)
    for path, error in jax.tree_util.tree_leaves_with_path(errors):
      assert error < 1e-3, (name, jax.tree_util.keystr(path), error)


def test_exported_weights_load_strictly_into_the_baseline():
  sizes = {
    "num_blocks": 2,
    "embed_dim": 12,
    "ffn_dim": 10,
    "num_heads": 3,
    "num_groups": 2,
    "kernel_size": 5,
    "num_sources": 3,
    "num_channels": 1,
    "n_fft": 64,
    "hop": 16,
    "bands": (2, 2, 4, 25),
  }
  config = SeparatorConfig(**sizes)
  shapes = jax.eval_shape(lambda: init(config, jax.random.key(0)))
  draw = np.random.default_rng(0)
  params = jax.tree.map(
    lambda leaf: 0.3 * draw.standard_normal(leaf.shape, np.float32), shapes
  )
  baseline = Baseline(BaselineConfig(**sizes))
  exported = {k: torch.tensor(v) for k, v in to_torch(config, params).items()}
  result = baseline.load_state_dict(exported, strict=True)
  assert not result.missing_keys
  assert not result.unexpected_keys
  mixture = draw.standard_normal((2, 1, 640), np.float32)
  estimates = jax.jit(our_separation, static_argnums=0)(config, params, mixture)
  with torch.no_grad():
    expected = baseline(torch.tensor(mixture))
  assert relative_error(estimates, expected) < 1e-4
