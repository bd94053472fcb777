"""The library: everything about a channel's transcripts that is true without an orchestrator.

Folders are nouns and import only `channelscribe.core`; the modules beside this one are verbs that compose nouns.
"""

__version__ = "0.1.0"
