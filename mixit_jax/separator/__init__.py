"""The separator: band-split TF-Locoformer, long recordings, weights of other formats."""
