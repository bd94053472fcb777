"""Media files to 16 kHz mono sound, and where in it somebody speaks."""
