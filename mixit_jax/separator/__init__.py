"""The separator: from waveforms to waveforms, as pure functions of parameters."""

from mixit_jax.separator.waveform import init, separate

__all__ = ["init", "separate"]
