"""Mixed precision: convolutions and dense layers multiply in bfloat16, all else is float32.

Contract: ``recast`` changes no weight; weights, inputs, outputs, losses, norms and sums stay
float32, and so does the last layer with weights, as Micikevicius et al. 2018 (arXiv 1710.03740)
advise. No global policy is set: several trainings share a process. Models are exported after
``recast(network, "float32")``, so what is served does not depend on how it was trained.
"""

import keras

FLOAT32 = "float32"


def recast(network: keras.Model, precision: str) -> keras.Model:
    """The network with its weights in that precision; itself if it is so already.

    Args:
        network: A functional model.
        precision: float32 or mixed_bfloat16.
    """
    *inner, _ = [layer.name for layer in network.layers if layer.weights]
    policy_of = dict.fromkeys(inner, precision)
    if all(
        layer.dtype_policy.name == policy_of.get(layer.name, FLOAT32) for layer in network.layers
    ):
        return network

    def clone(layer):
        settings = layer.get_config()
        if isinstance(layer, keras.layers.Layer):  # not a bare operation, such as a sum
            settings["dtype"] = policy_of.get(layer.name, FLOAT32)
        return layer.__class__.from_config(settings)

    copy = keras.models.clone_model(network, clone_function=clone)
    copy.set_weights(network.get_weights())
    return copy
