"""How fast a world is, and where the time goes."""
