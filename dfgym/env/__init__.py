"""Gymnasium and Stable-Baselines3 shells over a world's dynamics."""
