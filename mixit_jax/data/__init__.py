"""Records of audio segments and the Grain pipelines over them."""
