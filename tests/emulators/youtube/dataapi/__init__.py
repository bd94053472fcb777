"""YouTube Data API v3, every request checked against the discovery document that google-api-python-client bundles."""
