"""Toys that tests share: small games, worlds, a server, a browser."""
