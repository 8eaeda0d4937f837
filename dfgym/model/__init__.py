"""The networks that learn a game; `dfgym.model.network` builds them."""
