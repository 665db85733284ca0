"""Whether JAX can use its devices, said in one line."""

from mixit_jax.errors import UserError, one_line


def check_devices() -> None:
  """Starts the devices, so that what is wrong with them shows before anything else.

  Raises:
    UserError: JAX finds no device, or `JAX_PLATFORMS` asks for one that is not there.
  """
  import jax  # takes a second

  try:
    jax.devices()
  except (RuntimeError, AssertionError) as error:  # the latter without a plugin
    asked = jax.config.jax_platforms  # type: ignore[attr-defined]
    where = f"JAX_PLATFORMS={asked}: " if asked else ""
    reason = one_line(error) if str(error) else "nothing installed offers it"
    raise UserError(
      f"{where}JAX cannot use the devices ({reason}); install the extra of "
      "the accelerator (cuda12, cuda13, tpu), or set JAX_PLATFORMS=cpu"
    ) from error
