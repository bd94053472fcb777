"""The YouTube side: what the user typed, listings, downloads, and what each failure means."""
