"""Real recordings under open licenses, from packages of Debian."""
