"""What crosses borders between the rooms: the data model, the error tree, the fingerprint and the settings."""
