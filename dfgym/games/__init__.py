"""Real games: opening any of them, and what is known of each."""
