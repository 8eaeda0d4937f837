"""Thinking ahead in a dream: search over what may happen next."""
