"""Soft clusters of the codes: targets that draw the code of a warped copy to a centre.

The contrastive loss tells every image from every other, so in the end it spreads the codes evenly
over all directions: the neighbours of a code are then of its class, but K-Means finds no gaps. The
last epochs therefore gather the codes around centres, as DEC does (Xie et al. 2016, arXiv
1511.06335) with targets from clean images and fits to warped ones (Guo et al., ACML 2018). The
centres come from the codes' neighbour graph again before each of these epochs. No label is read.
"""

import keras
import numpy as np
from keras import ops

from core.clusters import graph_clusters
from trainer_modules.common.history import LOGGER, History

_SAMPLE = 10_000  # images whose codes are partitioned: three seconds on one core
_ENCODED = 500  # images encoded at once
_SOFTNESS = 0.5  # of a cluster's edge, in spreads


def squared_distances(code, centres):
    """Between all codes [B, D] and centres [K, D]: [B, K]."""
    return (
        ops.sum(ops.square(code), axis=1, keepdims=True)
        - 2.0 * ops.matmul(code, ops.transpose(centres))
        + ops.sum(ops.square(centres), axis=1)
    )


def soft_clusters(squares, spread):
    """Logarithms of each image's shares in the clusters: squared distances [B, K] -> [B, K].

    A Gaussian around each centre instead of DEC's Student t (its eq. 1): in 32 dimensions all
    distances are alike, and the t's long tail would give each cluster nearly the same share.

    Args:
        squares: Of ``squared_distances``.
        spread: Mean squared distance of a code to the centre of its own cluster.
    """
    return ops.log_softmax(-squares / (_SOFTNESS * spread), axis=1)


def sharpened(log_shares, sizes):
    """Targets [B, K] that favour sure images and small clusters: squares over sizes (DEC, eq. 3).

    Args:
        log_shares: Of ``soft_clusters``, [B, K].
        sizes: Mean shares of the clusters over all images, [K].
    """
    return ops.softmax(2.0 * log_shares - ops.log(sizes), axis=1)


def cluster_loss(squares, targets):
    """Cross-entropy of the targets, in nats: squared distances and targets [B, K] -> [B].

    The spread is that of the batch itself, so that only the ratio of distances counts: with a
    constant one the loss fell as all codes grew, and their squared length rose to 120 times.
    """
    spread = ops.mean(ops.sum(targets * squares, axis=1))
    return -ops.sum(targets * soft_clusters(squares, spread), axis=1)


class Centres(keras.callbacks.Callback):
    """Gives the trainer centres before every epoch from ``after`` on.

    They depend on the weights alone, so a resumed training gets the same.
    """

    def __init__(self, images: np.ndarray, after: int, seed: int, history: History):
        """``images`` [N, 28, 28, 1] are those of the train split; a sample of them is encoded."""
        super().__init__()
        self.images = images[:: -(-len(images) // _SAMPLE)]
        self.after = after
        self.seed = seed
        self.history = history

    def on_epoch_begin(self, epoch, logs=None):
        if epoch < self.after:
            return
        parts = (self.images[i : i + _ENCODED] for i in range(0, len(self.images), _ENCODED))
        code = np.concatenate([ops.convert_to_numpy(self.model.encoder(part)) for part in parts])
        directions = code / np.maximum(np.linalg.norm(code, axis=1, keepdims=True), 1e-12)
        labels, found = graph_clusters(directions, self.model.centres.shape[0], self.seed)
        self.model.gather(code, labels)
        self.history.curves.setdefault("cluster_modularity", []).append(found)
        LOGGER.info("%s, epoch %d: modularity %.3f", self.history.model, epoch + 1, found)
