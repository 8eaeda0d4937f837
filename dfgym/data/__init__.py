"""Real environments brought to one form, recording, the episode store and the window sampler."""
