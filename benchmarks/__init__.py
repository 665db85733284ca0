"""Speed of this package beside a PyTorch baseline written for the purpose."""
