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
# # 2. Autoencoders: squeeze, draw again, notice what is odd
#
# An autoencoder has two halves. The **encoder** squeezes an image of 784 pixels into 32 numbers, the **code** (or latent); the
# **decoder** draws an image from them. Training compares what comes out with what went in. As 32 numbers cannot hold every picture, the
# network must learn what digits have in common.

# %%
import matplotlib.pyplot as plt
import numpy as np
from sklearn.decomposition import PCA

import inkwell

autoencoder = inkwell.load("autoencoder", demo=True)
images, labels = inkwell.read_images(count=2000)
train, _ = inkwell.read_images(split="train", count=10000)
autoencoder


# %% [markdown]
# ## Reconstruction, next to the best straight-line method
#
# PCA with as many numbers is the best that straight lines can do. The **mean squared error** counts how far each pixel is off.

# %%
pca = PCA(32, random_state=0).fit(train.reshape(len(train), -1))
flat = images.reshape(len(images), -1)
by_pca = np.clip(pca.inverse_transform(pca.transform(flat)), 0, 1).reshape(images.shape)
by_network = autoencoder.reconstruct(images)
inkwell.show([images[:10], by_network[:10], by_pca[:10]], ["original", "autoencoder", "PCA"])
for name, made in {"autoencoder": by_network, "PCA": by_pca}.items():
    print(f"{name:12} mean squared error {np.mean((made - images) ** 2):.5f}")

# %% [markdown]
# ## A walk between two codes
#
# Half-way between two *images* lies a double exposure. Half-way between two *codes* lies another digit, as the decoder draws it.

# %%
first, second = images[labels == 3][0], images[labels == 8][0]
ends = autoencoder.encode(np.stack([first, second]))
steps = np.linspace(0, 1, 10, dtype="float32")[:, None]
walk = autoencoder.decode((1 - steps) * ends[0] + steps * ends[1])
mixed = (1 - steps[..., None, None]) * first + steps[..., None, None] * second
inkwell.show([walk, mixed], ["codes", "pixels"])

# %% [markdown]
# ## Removing noise
#
# It was also trained on noisy images with the clean ones as the answer, so it repairs what it is shown.

# %%
rng = np.random.default_rng(0)
noisy = np.clip(images[:10] + rng.normal(0, 0.4, images[:10].shape), 0, 1).astype("float32")
inkwell.show([noisy, autoencoder.denoise(noisy)], ["noisy", "repaired"])

# %% [markdown]
# ## Anomalies
#
# What the network cannot draw again is unlike everything that it has learned from. Its **anomaly score** is that error. Upside-down
# digits are made of the same strokes, and still score higher. **AUROC** is the chance that a turned image scores higher than a
# straight one: 0.5 is guessing, 1 is always.

# %%
turned = images[:, ::-1, ::-1]
usual, odd = autoencoder.anomaly_score(images), autoencoder.anomaly_score(turned)
plt.figure(figsize=(7, 3))
plt.hist([usual, odd], bins=40, label=["as written", "turned upside down"])
plt.xlabel("anomaly score")
plt.legend()
auroc = (odd[:, None] > usual[None, :]).mean()
print(f"AUROC {auroc:.3f}")

# %% [markdown]
# A turned 0, 1 or 8 is still a digit, so 1 cannot be reached here.
#
# ## Fine-tuning
#
# After the first training, the pipeline freezes the encoder and trains the decoder's last layers a little longer with a small learning
# rate (`inkwell run --set finetune_autoencoder.epochs=2`). The code of an image stays what it was, so clusters and maps stay too; only
# the drawing gets finer. How much that saves is in the report of a run, with an interval.
#
# **To try next:** set one number of a code to 0 and decode it. Do it for several numbers: what does each change?
