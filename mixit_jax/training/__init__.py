"""Training: configuration, mesh, state, steps, checkpoints, telemetry and the loop."""
