"""The mathematics of diffusion forcing on tensors: no network, no file, no environment."""
