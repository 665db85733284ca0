"""More than two channels mixed down to two or one."""

import math

import numpy as np

_SIDE = math.sqrt(0.5)
_L, _R, _BOTH, _BACK, _NONE = (1, 0), (0, 1), (_SIDE, _SIDE), (0.5, 0.5), (0, 0)
_LEFT_BACK, _RIGHT_BACK = (_SIDE, 0), (0, _SIDE)
# Share of each channel in left and right (ITU-R BS.775), by the number of channels, in
# the order of FLAC and WAV files: front left and right, center, low frequencies, back
# (or side) left and right. Low frequencies are left out.
_LAYOUTS = {
  3: (_L, _R, _BOTH),
  4: (_L, _R, _LEFT_BACK, _RIGHT_BACK),
  5: (_L, _R, _BOTH, _LEFT_BACK, _RIGHT_BACK),
  6: (_L, _R, _BOTH, _NONE, _LEFT_BACK, _RIGHT_BACK),
  7: (_L, _R, _BOTH, _NONE, _BACK, _LEFT_BACK, _RIGHT_BACK),
  8: (_L, _R, _BOTH, _NONE, _LEFT_BACK, _RIGHT_BACK, _LEFT_BACK, _RIGHT_BACK),
}


def downmix_matrix(num_channels: int, wanted: int) -> np.ndarray:
  """Return the shares of a recording's channels in fewer channels.

  They add up to 1 in each, so that a recording within full scale stays there.

  Args:
    num_channels: channels of the recording, more than `wanted`.
    wanted: 1 or 2. The mean of all channels makes one; recordings of more than eight
      channels, whose order is not known, give two equal ones.

  Returns:
    matrix [wanted, num_channels], float32.
  """
  if wanted == 2 and num_channels in _LAYOUTS:
    matrix = np.array(_LAYOUTS[num_channels], np.float32).T
  else:
    matrix = np.ones((wanted, num_channels), np.float32)
  return matrix / matrix.sum(axis=1, keepdims=True)
