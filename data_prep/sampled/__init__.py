"""Songs on sampled instruments: synthetic scores, rendered by FluidSynth."""
