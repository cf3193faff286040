"""A small CNN classifier; distances are measured on its last hidden layer (128 features).

FID's own authors advise against Inception-v3 on digits, so the domain has its own judge.
"""

import keras
from keras import layers

from core.images import IMAGE_SHAPE
from trainer_modules.common.halves import call_in_halves
from trainer_modules.judge.config import JudgeConfig

FEATURES = 128


def build_model(config: JudgeConfig, num_classes: int) -> keras.Model:
    """Images [B, 28, 28, 1] in [0, 1] -> logits [B, num_classes]; layer ``features`` [B, 128]."""
    narrow, wide = config.channels, 2 * config.channels
    image = keras.Input(IMAGE_SHAPE, name="image")
    x = layers.Conv2D(narrow, 3, padding="same", name="conv28")(image)
    x = layers.MaxPooling2D()(layers.Activation("relu")(x))
    x = layers.Conv2D(wide, 3, padding="same", name="conv14")(x)
    x = layers.MaxPooling2D()(layers.Activation("relu")(x))
    x = layers.Conv2D(wide, 3, padding="same", name="conv7")(x)
    x = layers.Flatten()(layers.Activation("relu")(x))
    x = layers.Dropout(config.dropout, seed=config.seed)(x)
    x = layers.Dense(FEATURES, activation="relu", name="features")(x)
    x = layers.Dropout(config.dropout, seed=config.seed + 1)(x)
    return keras.Model(image, layers.Dense(num_classes, name="logits")(x), name="judge")


class JudgeTrainer(keras.Model):
    """Fits the classifier."""

    def __init__(self, judge: keras.Model):
        super().__init__(name="judge_trainer")
        self.judge = judge

    def call(self, images, training=False):
        """Images [B, 28, 28, 1] in [0, 1] -> logits [B, num_classes]."""
        return call_in_halves(self.judge, images, training)
