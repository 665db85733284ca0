"""The separator, its chunked use on long recordings, and its weights."""
