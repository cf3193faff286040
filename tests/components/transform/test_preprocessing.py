"""preprocessing_fn through tensorflow_transform itself, on pictures with known moments."""

import numpy as np
import pytest


@pytest.fixture(scope="module")
def transformed(tmp_path_factory):
    """(source images, labels, transformed rows of the analysed set, of another set)."""
    import apache_beam as beam
    import tensorflow as tf
    import tensorflow_transform as tft
    import tensorflow_transform.beam as tft_beam
    from apache_beam.options.pipeline_options import PipelineOptions
    from tensorflow_transform.tf_metadata import dataset_metadata, schema_utils

    from components.transform.preprocessing import preprocessing_fn

    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (12, 28, 28), dtype=np.uint8)
    labels = np.array([0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 2, 2])
    metadata = dataset_metadata.DatasetMetadata(
        schema_utils.schema_from_feature_spec(
            {
                "image": tf.io.FixedLenFeature([], tf.string),
                "label": tf.io.FixedLenFeature([], tf.int64),
                "mean_intensity": tf.io.FixedLenFeature([], tf.float32),
            }
        )
    )
    rows = [
        {"image": image.tobytes(), "label": label, "mean_intensity": 0.5}
        for image, label in zip(images, labels, strict=True)
    ]
    directory = tmp_path_factory.mktemp("transform")
    options = PipelineOptions(["--runner=FnApiRunner", "--direct_num_workers=1"])
    with (
        beam.Pipeline(options=options) as pipeline,
        tft_beam.Context(temp_dir=str(directory), force_tf_compat_v1=False),
    ):
        data = pipeline | beam.Create(rows)
        transform_fn = (data, metadata) | tft_beam.AnalyzeDataset(preprocessing_fn)
        _ = transform_fn | tft_beam.WriteTransformFn(str(directory / "graph"))
    graph = tft.TFTransformOutput(str(directory / "graph"))

    def apply(images, labels):
        return graph.transform_raw_features(
            {
                "image": tf.constant([image.tobytes() for image in images]),
                "label": tf.constant(labels, tf.int64),
                "mean_intensity": tf.zeros(len(labels)),
            }
        )

    return images, labels, apply


def test_pixels_are_scaled_to_one_and_shaped(transformed):
    images, labels, apply = transformed
    output = apply(images, labels)
    assert sorted(output) == ["image", "label", "num_classes", "pixel_mean", "pixel_std"]
    assert output["image"].shape == (12, 28, 28, 1) and output["image"].dtype == np.float32
    np.testing.assert_allclose(output["image"][..., 0], images / 255, atol=1e-7)
    np.testing.assert_array_equal(output["label"], labels)


def test_extreme_pixels_are_exactly_nought_and_one(transformed):
    _, _, apply = transformed
    output = apply(np.array([np.zeros((28, 28)), np.full((28, 28), 255)], np.uint8), [0, 1])
    assert output["image"][0].numpy().max() == 0.0 and output["image"][1].numpy().min() == 1.0


def test_moments_and_classes_are_of_the_analysed_images_whatever_is_transformed(transformed):
    images, _, apply = transformed
    output = apply(np.zeros((3, 28, 28), np.uint8), [0, 0, 0])
    np.testing.assert_allclose(output["pixel_mean"], [(images / 255).mean()] * 3, rtol=1e-6)
    np.testing.assert_allclose(output["pixel_std"], [(images / 255).std()] * 3, rtol=1e-6)
    assert output["num_classes"].numpy().tolist() == [5, 5, 5]
    assert output["num_classes"].dtype == np.int64


def test_bytes_of_another_size_are_an_error_not_a_picture(transformed):
    import tensorflow as tf

    _, _, apply = transformed
    with pytest.raises(tf.errors.InvalidArgumentError):
        apply(np.zeros((2, 28, 27), np.uint8), [0, 1])
