"""Is this machine ready, and what will a run need: `mixit-jax doctor`."""
