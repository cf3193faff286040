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
# # 3. Diffusion: from noise to digits
#
# A diffusion model learns one thing: given an image with noise, say what the image was. Two uses follow. Called once, it **repairs**.
# Called again and again, each time removing a little of the noise that remains, it starts from nothing but noise and **invents**.

# %%
import numpy as np

import inkwell

diffusion = inkwell.load("diffusion", demo=True)
images, _ = inkwell.read_images(count=500)


# %% [markdown]
# ## Forward: an image drowns
#
# The forward process has 1,000 steps. Each shrinks the image a little and adds a little noise, until nothing of it is left. No network is
# needed for this.

# %%
levels = [0, 100, 200, 300, 400, 500, 600, 700, 800, 1000]
drowning = [
    np.concatenate([diffusion.forward(images[i : i + 1], s) for s in levels]) for i in (0, 1)
]
inkwell.show(drowning, ["a 7", "a 2"])
print("steps:", *levels)

# %% [markdown]
# ## Called once: denoising
#
# Noise of a known strength is added and taken away again. **PSNR** measures how near the result is to the clean image, in decibels:
# 10 more is a tenth of the squared error.

# %%
rng = np.random.default_rng(0)
for noise in (0.2, 0.4, 0.8):
    noisy = np.clip(images + rng.normal(0, noise, images.shape), 0, 1).astype("float32")
    clean = diffusion.denoise(noisy, noise_level=noise)
    before, after = (10 * np.log10(1 / np.mean((x - images) ** 2)) for x in (noisy, clean))
    print(f"noise {noise}: PSNR {before:.1f} dB before, {after:.1f} dB after")
inkwell.show([noisy[:10], clean[:10], images[:10]], ["noise 0.8", "denoised", "original"])

# %% [markdown]
# ## Called many times: new digits
#
# The more steps, the smaller each of them, and the better the digits, up to a point. The seed decides the noise that they start from, so
# the same seed gives the same digits again.

# %%
counts = (2, 5, 10, 20, 50)
inkwell.show(
    [diffusion.generate(10, seed=1, steps=n) for n in counts], [f"{n} steps" for n in counts]
)

# %% [markdown]
# None of these digits was ever written. Are they copies of images in the training set? The nearest train image of each shows that they
# are not. (The pipeline measures this for thousands of images, and refuses a model that copies.)

# %%
train, _ = inkwell.read_images(split="train", count=20000)
made = diffusion.generate(10, seed=2, steps=20)
flat = train.reshape(len(train), -1)
nearest = [train[np.argmin(((flat - x.reshape(1, -1)) ** 2).sum(axis=1))] for x in made]
inkwell.show([made, np.stack(nearest)], ["generated", "nearest"])

# %% [markdown]
# **To try next:** add noise of 0.4 but tell the model 0.1, then 0.8. What does it do when it is told wrong?
