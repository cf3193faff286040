"""What Transform writes is what trainers read."""

import numpy as np
import pytest

from core.config import InputError
from core.digits import read_digits


def test_reads_images_labels_and_constants(digits, example_files):
    read = read_digits([example_files])
    np.testing.assert_array_equal(read.images, digits.images)
    np.testing.assert_array_equal(read.labels, digits.labels)
    assert read.num_classes == 10
    assert read.pixel_std == pytest.approx(digits.pixel_std)


def test_no_file_is_one_clear_sentence(tmp_path):
    with pytest.raises(InputError, match="No examples match .*run the Transform node"):
        read_digits([str(tmp_path / "nothing-*")])
