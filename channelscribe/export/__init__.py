"""Transcripts as files for people."""
