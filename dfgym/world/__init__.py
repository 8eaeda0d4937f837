"""A world: its card, its files, the shelf it is found on, the dynamics that step it."""
