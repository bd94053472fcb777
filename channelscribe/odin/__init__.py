"""The ODIN AI knowledge base: one thin client, keys, and proof that a document arrived."""
