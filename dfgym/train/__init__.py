"""Training: one visible loop, its checkpoints, and packing a world from them."""
