"""Audio files in and out, spectrograms, segments and their activity."""
