"""Names of the stems of MUSDB18, in the order of the paper's models."""

STEMS = ("bass", "drums", "vocals", "other")
MIXTURE = "mixture"
