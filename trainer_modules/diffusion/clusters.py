"""Clusters of the train images: the network generates given one, which is easier to learn.

A network that is given the rough shape spends a short training on the rest. Clusters of the images
themselves help nearly as much as labels (Bao et al. 2022, arXiv 2212.00362); here K-Means on the
pixels finds them. Clusters count from 1; 0 stands for no cluster, the condition under which the
network denoises.
"""

import keras
import numpy as np
from keras import layers, ops
from threadpoolctl import threadpool_limits

from core.images import IMAGE_SHAPE, PIXELS

_IMAGES = 20_000  # that K-Means sees: two to three seconds of one core
_NOWHERE = 2.0  # a pixel of no image


def find_clusters(images: np.ndarray, clusters: int, seed: int) -> np.ndarray:
    """K-Means on pixels: the centres [K, 784].

    Args:
        images: [N, 28, 28, 1] in [0, 1].
        clusters: K; if there are fewer images, the last centres are where no image is.
        seed: Of the first centres.
    """
    from sklearn.cluster import KMeans

    pixels = np.nan_to_num(images.reshape(-1, PIXELS))  # the first step reports a NaN
    part = np.random.default_rng(seed).permutation(len(pixels))[:_IMAGES]
    kmeans = KMeans(min(clusters, len(part)), n_init=1, max_iter=30, random_state=seed)
    centres = np.full((clusters, PIXELS), _NOWHERE, "float32")
    with threadpool_limits(1):  # several threads add in any order, and equal seeds would differ
        found = kmeans.fit(pixels[part]).cluster_centers_
    centres[: len(found)] = found
    return centres


def cluster_sizes(images: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """The number of images [N, 28, 28, 1] nearest to each of the ``centres`` [K, 784]: [K]."""
    parts = (images[i : i + _IMAGES] for i in range(0, len(images), _IMAGES))
    nearest = [ops.convert_to_numpy(nearest_cluster(part, centres)) for part in parts]
    return np.bincount(np.concatenate(nearest) - 1, minlength=len(centres))


def nearest_cluster(images, centres):
    """The cluster, 1 to K, of each image: [B, 28, 28, 1] in [0, 1] -> int32 [B]."""
    pixels = ops.reshape(images, (-1, PIXELS))
    # |image - centre|^2 without |image|^2, which is the same for every centre.
    products = ops.matmul(pixels, ops.transpose(centres))
    distances = ops.sum(ops.square(centres), axis=1) - 2.0 * products
    return 1 + ops.cast(ops.argmin(distances, axis=1), "int32")


def spread_clusters(order, offset, sizes):
    """Clusters, int32 [B] in 1 to K, in proportion to ``sizes`` and in random order.

    Systematic sampling: B equal steps through the cumulative shares give each cluster its share of
    B, rounded up or down. Independent draws would vary by more than ten times that.

    Args:
        order: [B] random numbers; their order shuffles the clusters.
        offset: A random number in [0, 1), the first step's place.
        sizes: [K] numbers of train images.
    """
    steps = ops.cast(ops.argsort(order), "float32") + offset
    places = steps / ops.cast(ops.shape(order)[0], "float32")
    sizes = ops.convert_to_tensor(sizes)
    ends = ops.cumsum(sizes) / ops.sum(sizes)
    return 1 + ops.cast(ops.searchsorted(ends[:-1], places, side="right"), "int32")


def no_cluster(t):
    """Cluster 0 for every element of ``t`` [B]: int32 [B]."""
    return ops.zeros_like(t, dtype="int32")


@keras.saving.register_keras_serializable("inkwell")
class ClusterCode(layers.Layer):
    """A learned vector of each cluster and its centre: int [B] in 0 to K -> [B, width], images.

    The centres' images [B, 28, 28, 1] are in [0, 1]; that of cluster 0 is black. It also keeps the
    clusters' ``sizes``, which generation needs.
    """

    def __init__(self, clusters: int, width: int, **kwargs):
        super().__init__(**kwargs)
        self.clusters, self.width = clusters, width

    def build(self, *_):
        self.codes = self.add_weight(
            name="codes", shape=(self.clusters + 1, self.width), initializer="uniform"
        )
        self.centres = self.add_weight(
            name="centres", shape=(self.clusters, PIXELS), initializer="zeros", trainable=False
        )
        self.sizes = self.add_weight(
            name="sizes", shape=(self.clusters,), initializer="ones", trainable=False
        )

    def call(self, cluster):
        known = ops.reshape(ops.cast(cluster > 0, self.compute_dtype), (-1, 1))
        centres = known * ops.take(self.centres, ops.maximum(cluster - 1, 0), axis=0)
        return ops.take(self.codes, cluster, axis=0), ops.reshape(centres, (-1, *IMAGE_SHAPE))

    def get_config(self):
        return {**super().get_config(), "clusters": self.clusters, "width": self.width}
