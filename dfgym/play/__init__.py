"""The player: one page in the browser, a learned game behind it, the real one beside it."""
