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
# # 4. GANs, and how to judge what was generated
#
# Two networks play against each other. The **generator** makes an image from 64 random numbers; the **discriminator** looks at an image
# and says how real it seems. Each learns from the mistakes of the other. At the end the discriminator should be right about as often as
# a thrown coin.

# %%
import matplotlib.pyplot as plt
import numpy as np
from scipy.linalg import sqrtm
from sklearn.decomposition import PCA
from sklearn.linear_model import RidgeClassifier

import inkwell

gan = inkwell.load("gan", demo=True)
images, labels = inkwell.read_images()
made = np.concatenate([gan.generate(500, seed=seed) for seed in range(10)])
gan

# %% [markdown]
# ## A walk through the numbers
#
# Near numbers give similar images. Here is a straight walk between two sets of 64 numbers.

# %%
rng = np.random.default_rng(3)
ends = rng.standard_normal((2, 64), "float32")
steps = np.linspace(0, 1, 12, dtype="float32")[:, None]
walk = gan.decode_latent((1 - steps) * ends[0] + steps * ends[1])
figure, axes = plt.subplots(1, 12, figsize=(12, 1.2))
for axis, image in zip(axes, walk, strict=True):
    axis.imshow(image[..., 0], cmap="gray", vmin=0, vmax=1)
    axis.axis("off")

# %% [markdown]
# ## Who is fooled?
#
# The discriminator's score is above one half where it takes an image for real. If both kinds get the same scores, it has learned all it
# can, and so has the generator.

# %%
real_scores, made_scores = gan.discriminate(images[:1000]), gan.discriminate(made[:1000])
plt.figure(figsize=(7, 3))
plt.hist([real_scores, made_scores], bins=30, label=["real", "generated"])
plt.xlabel("score of the discriminator")
plt.legend()
right = (real_scores[:, None] > made_scores[None, :]).mean()
print(f"a real image scores higher than a generated one in {right:.0%} of pairs; guessing is 50 %")

# %% [markdown]
# ## Two numbers instead of an opinion
#
# Looking at samples is necessary and not enough: nobody sees that 3 % too few are sevens. The pipeline measures on the features of a
# network that was trained to read digits, the judge. Here a much simpler stand-in shows the idea: a linear classifier, and PCA.
#
# * **Class histogram**: are all ten digits generated, and as often as they are written?
# * **Fréchet distance**: describe real and generated images by the mean and the spread of their features; how far apart are the two?
#   It is not zero between two sets of *real* images either, so that value, the floor, belongs next to it.
#
# %%
train, train_labels = inkwell.read_images(split="train", count=10000)
reader = RidgeClassifier().fit(train.reshape(len(train), -1), train_labels)
shares = [
    np.bincount(reader.predict(x.reshape(len(x), -1)), minlength=10) / len(x)
    for x in (images, made)
]
plt.figure(figsize=(7, 3))
for offset, share, name in zip((-0.2, 0.2), shares, ("real", "generated"), strict=True):
    plt.bar(np.arange(10) + offset, share, width=0.4, label=name)
plt.xticks(range(10))
plt.xlabel("digit, as the stand-in reads it")
plt.legend()
print(f"total variation distance {np.abs(shares[0] - shares[1]).sum() / 2:.3f}")

# %%
features = PCA(32, random_state=0).fit(train.reshape(len(train), -1))


def frechet_distance(a, b):
    """Between Gaussians fitted to the features of two sets of images (Heusel et al. 2017, eq. 6)."""
    x, y = (features.transform(s.reshape(len(s), -1)) for s in (a, b))
    mixed = sqrtm(np.cov(x.T) @ np.cov(y.T)).real
    spread = np.trace(np.cov(x.T) + np.cov(y.T) - 2 * mixed)
    return float(((x.mean(axis=0) - y.mean(axis=0)) ** 2).sum() + spread)


floor = frechet_distance(images, train[:5000])
print(f"generated against real {frechet_distance(images, made):.3f}")
print(f"real against real      {floor:.3f}  (the floor)")
noisy = np.clip(images + np.random.default_rng(0).normal(0, 0.1, images.shape), 0, 1)
print(f"real with mild noise   {frechet_distance(train[:5000], noisy):.3f}")

# %% [markdown]
# No number detects every fault. A generator that repeats one perfect seven has a fine precision and no recall; one that copies the train
# images beats everything but a test for copies. That is why the pipeline asks a dozen such questions before a model is pushed, and why
# each has its reference value next to it (`docs/evaluation.md`).
#
# **To try next:** replace `made` by the images of notebook 3's diffusion model. Which of the numbers get better?
