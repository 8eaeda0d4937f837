"""What a world is worth: the referee, fidelity, transfer, speed, and the report that shows them."""
