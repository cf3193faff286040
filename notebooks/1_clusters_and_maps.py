# ---
# jupyter:
#   jupytext:
#     formats: py:percent,ipynb
#   kernelspec:
#     name: python3
#     display_name: Python 3
#     language: python
# ---

# %% [markdown]
# # 1. Clusters and maps: what can be found without labels
#
# An image of a digit is 784 numbers, one for each pixel. Two questions can be asked of such data without a single label: which images
# belong together (**clustering**), and how can all of them be drawn on one page (**dimension reduction**)?
#
# This notebook asks both, once of the pixels and once of the 32 numbers that Inkwell's autoencoder makes of an image. The models are those
# that are shipped with the project; `inkwell.load("autoencoder")` without `demo=True` takes the ones that you trained.

# %%
import matplotlib.pyplot as plt
import numpy as np
from scipy.optimize import linear_sum_assignment
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.metrics import normalized_mutual_info_score

import inkwell

images, labels = inkwell.read_images(count=3000)  # of the test images: no training has seen them
pixels = images.reshape(len(images), -1)
autoencoder = inkwell.load("autoencoder", demo=True)
codes = autoencoder.encode(images)
print(
    f"{len(images)} images, {pixels.shape[1]} pixels, {codes.shape[1]} numbers each after encoding"
)

# %% [markdown]
# ## K-Means
#
# K-Means puts ten centres so that every image is near one of them. It never sees a label. To say how good it is, each cluster gets the
# label that fits it best, a different one for each (the Hungarian method). **Accuracy** is then the share of images in the right
# cluster. **NMI** (normalised mutual information) says how much the clusters tell about the labels: 0 is nothing, 1 is everything.


# %%
def clusters_of(points):
    """The cluster of each point."""
    return KMeans(10, n_init=10, random_state=0).fit_predict(points)


def accuracy(clusters, truth):
    """The best share of images whose cluster and label agree."""
    table = np.zeros((10, 10), int)
    np.add.at(table, (clusters, truth), 1)
    rows, columns = linear_sum_assignment(-table)
    return table[rows, columns].sum() / len(truth)


found = {"pixels": clusters_of(pixels), "codes": clusters_of(codes)}
for name, clusters in found.items():
    nmi = normalized_mutual_info_score(labels, clusters)
    print(f"{name:7} accuracy {accuracy(clusters, labels):.3f}, NMI {nmi:.3f}")

# %% [markdown]
# The code separates the digits much better than the pixels do, although nobody told the autoencoder what a digit is. Here are the ten
# cluster centres, drawn by the decoder: what the model considers typical.

# %%
centres = np.stack([codes[found["codes"] == c].mean(axis=0) for c in range(10)])
drawn = autoencoder.decode(centres)
figure, axes = plt.subplots(1, 10, figsize=(12, 1.6))
for axis, image in zip(axes, drawn, strict=True):
    axis.imshow(image[..., 0], cmap="gray", vmin=0, vmax=1)
    axis.axis("off")

# %% [markdown]
# ## Two maps
#
# **PCA** finds the two directions along which the images differ most, and draws each image there: a straight shadow of 784 dimensions.
# **t-SNE** gives up on distances and keeps neighbours: images that are near each other stay near. The distance between two islands of a
# t-SNE map means little; that they are islands means a lot. Colours are the labels, which neither map has seen.

# %%
from openTSNE import TSNE

shadow = PCA(2, random_state=0).fit_transform(pixels)
map_of_codes = TSNE(perplexity=30, n_iter=300, random_state=0, n_jobs=2).fit(codes)
figure, axes = plt.subplots(1, 2, figsize=(12, 5.5))
for axis, points, title in zip(
    axes, (shadow, map_of_codes), ("PCA of the pixels", "t-SNE of the codes"), strict=True
):
    axis.scatter(points[:, 0], points[:, 1], c=labels, cmap="tab10", s=4)
    axis.set(title=title, xticks=[], yticks=[])
figure.colorbar(axes[1].collections[0], ax=axes, ticks=range(10), label="digit")

# %% [markdown]
# **To try next:** change the number of clusters to 12. Which digits are split in two, and do the two halves look different?
