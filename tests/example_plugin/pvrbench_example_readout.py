"""A readout with code of its own: the maximum of every channel over the patch grid."""

from torch import Tensor

from pvrbench.encoders.base import Features
from pvrbench.encoders.readouts.base import ProjectedReadout


class MaxPooling(ProjectedReadout):
    """Reads the grid; the projection to an equal budget comes with the base class."""

    def read(self, features: Features) -> Tensor:
        """A vector for each row."""
        return self.fields(features)[0].amax(dim=(2, 3))
