"""The environment of this process, the same on a laptop and in a pod."""

import os
import sys
import warnings

from core.files import UMASK
from core.processors import use_processors


def set_environment() -> None:
    """Sets what TensorFlow, Keras and absl read, before anything imports them, and the umask."""
    os.umask(UMASK)  # whatever the shell says, or KFP's launcher, which says 0
    sys.argv = sys.argv[:1]  # TFX passes the rest to absl, which has flags of its own
    # Libraries warn while they are imported; as errors (PYTHONWARNINGS=error) those would end it.
    os.environ.pop("PYTHONWARNINGS", None)
    if any(option.startswith("error") for option in sys.warnoptions):
        warnings.simplefilter("default")
    os.environ["TF_USE_LEGACY_KERAS"] = "0"  # tensorflow_transform would set it to 1
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "1")  # warnings and errors reach the log
    use_processors()
    # Keras' settings and Matplotlib's list of fonts, which takes seconds to make, are kept in the
    # virtual environment or, if that is read-only, as in the images, in the home directory.
    if sys.prefix != sys.base_prefix and os.access(sys.prefix, os.W_OK):
        for variable, name in (("KERAS_HOME", "keras"), ("MPLCONFIGDIR", "matplotlib")):
            os.environ.setdefault(variable, os.path.join(sys.prefix, "cache", name))
