"""Agents that live in dreams and in the real game, installed as `dfgym.agents`."""
