"""One Prefect task per step: cache key, retries, limits and names; the work is a library call."""
