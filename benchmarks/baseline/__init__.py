"""Band-split TF-Locoformer and its losses in plain PyTorch: the yardstick.

It is written from the paper alone and shares no code with `mixit_jax`: the speed
of the package is measured against it, and it is a second check of correctness.
"""
