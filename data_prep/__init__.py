"""Data preparation: from audio files to shards of segments."""
