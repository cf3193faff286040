"""What the diffusion model serves: denoise, generate from pure noise, and the forward process.

``seed`` feeds TensorFlow's stateless generators, so equal seeds give equal images.
"""

import keras
from keras import ops

from core.images import IMAGE_SHAPE
from trainer_modules.common.export import (
    MAX_COUNT,
    Signature,
    check_between,
    image_spec,
    in_chunks,
    spec,
    with_png,
)
from trainer_modules.diffusion import sampler, schedule
from trainer_modules.diffusion.clusters import no_cluster, spread_clusters
from trainer_modules.diffusion.guidance import eta_of, sizes_of


def denoise(network: keras.Model, image, noise_level, pixel_mean: float, pixel_std: float):
    """The network's estimate of the clean image, E[x_0 | x_t], in one step.

    Args:
        image: [B, 28, 28, 1] in [0, 1]: a digit plus Gaussian noise, clipped.
        noise_level: [B] standard deviation of that noise in [0, 1] pixel units.

    Returns:
        [B, 28, 28, 1] in [0, 1].
    """
    t = schedule.time_of_noise(noise_level / pixel_std)
    signal = ops.sqrt(ops.reshape(schedule.alpha_bar(t), (-1, 1, 1, 1)))
    x_t = signal * (image - pixel_mean) / pixel_std
    v = network([x_t, t, no_cluster(t)], training=False)
    x_0, _ = schedule.split_velocity(x_t, v, t)
    return ops.clip(x_0 * pixel_std + pixel_mean, 0.0, 1.0)


def chance(seed, count, sizes):
    """All that is random in ``generate``: noise by step, as ``sampler.sample`` takes it; clusters.

    Args:
        seed: Int or int tensor.
        count: Number of images.
        sizes: Of the clusters, as ``guidance.sizes_of`` has it.
    """
    import tensorflow as tf

    def noise(k):
        return tf.random.stateless_normal([count, *IMAGE_SHAPE], tf.stack([seed, k]))

    order = tf.random.stateless_uniform([count + 1], tf.stack([seed, -1]))
    return noise, spread_clusters(order[1:], order[0], sizes)


def signatures(
    generator: keras.Model, denoiser: keras.Model, pixel_mean: float, pixel_std: float
) -> dict[str, Signature]:
    """Named signatures on float32 images in [0, 1] and on PNG files.

    Args:
        generator: Generates; the network trained on the diffusion objective only, with guidance.
        denoiser: Denoises; the network without guidance before fine-tuning, its fine-tuned copy
            after.
        pixel_mean: Mean of the train pixels, as in training.
        pixel_std: Standard deviation of the train pixels.
    """
    import tensorflow as tf

    low, high = (0.0 - pixel_mean) / pixel_std, (1.0 - pixel_mean) / pixel_std
    eta, sizes = eta_of(generator), sizes_of(generator)

    def clean(image, noise_level):
        return {"image": denoise(denoiser, image, noise_level, pixel_mean, pixel_std)}

    def generate(seed, count, steps):
        count = check_between("count", count, 1, MAX_COUNT)
        steps = check_between("steps", steps, 1, schedule.STEPS)

        noise, cluster = chance(seed, count, sizes)

        def velocity(x_t, t, cluster):
            x_t = tf.ensure_shape(x_t, [None, *IMAGE_SHAPE])
            return generator([x_t, t, cluster], training=False)

        def predict_velocity(x_t, t):
            return in_chunks(velocity, x_t, t, cluster)

        x_0 = sampler.sample(predict_velocity, noise, count, steps, low, high, eta)
        image = tf.ensure_shape(x_0 * pixel_std + pixel_mean, [None, *IMAGE_SHAPE])
        return {"image": ops.clip(image, 0.0, 1.0)}

    def forward(image, step, seed):
        eps = tf.random.stateless_normal(tf.shape(image), tf.stack([seed, 0]))
        t = tf.cast(step, tf.float32) / schedule.STEPS
        x_t = schedule.diffuse((image - pixel_mean) / pixel_std, eps, t)
        return {"image": ops.clip(x_t * pixel_std + pixel_mean, 0.0, 1.0)}

    image = {"image": image_spec()}
    seed = {"seed": spec("seed", [], "int32")}
    noisy = {**image, "noise_level": spec("noise_level", [None])}
    count = {"count": spec("count", [], "int32"), "steps": spec("steps", [], "int32")}
    return with_png(
        {
            "serving_default": Signature(clean, noisy),
            "denoise": Signature(clean, noisy),
            "generate": Signature(generate, {**seed, **count}),
            "forward": Signature(forward, {**image, "step": spec("step", [None], "int32"), **seed}),
        },
        returns_image={"generate"},
    )
