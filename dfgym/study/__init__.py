"""The deck's claims, each tried in a command: same network, same data, same compute."""
