"""What a world is worth: legality, fidelity, transfer, speed, and the report that shows them."""
