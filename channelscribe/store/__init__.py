"""The data root and its Parquet tables: what is done is what stands here."""
