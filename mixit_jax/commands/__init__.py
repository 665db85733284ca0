"""The commands of `mixit-jax`: a module for each, with its flags and what it does."""
