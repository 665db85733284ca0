"""What is measured with this package: grids of trainings that can be repeated."""
