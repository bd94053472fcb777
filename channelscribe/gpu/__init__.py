"""The card: what it says (reader), what may happen to it (policy), and the hands that make it so (gate, cap)."""
