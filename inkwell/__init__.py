"""Inkwell from Python: load pushed models.

import inkwell
gan = inkwell.load("gan")
gan.generate(count=64, seed=1)
"""

from inkwell.models import Model, load

__all__ = ["Model", "load"]
