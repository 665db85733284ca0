"""A page to listen to a separated song: stems in sync, with pictures and scores."""
