"""How TensorFlow shares the processors: two pieces of work at a time, each on half of them.

A convolution on a small batch gains little from a second processor, and waits for the slower one at
its end. Two independent pieces, each with its own processors, never wait for each other: on two
cores the diffusion model trains 1.3 times as fast (docs/performance.md).
"""

import os

AT_A_TIME = 2  # halves of a training batch, or batches of an evaluation
THREADS_OF_ONE = "TF_NUM_INTRAOP_THREADS"  # TensorFlow's variable: threads of one operation


def use_processors() -> None:
    """Sets variables that TensorFlow reads when it is imported, unless the user has set them."""
    # TensorFlow uses oneDNN's convolutions by itself only with AVX512; on a CPU with only AVX2
    # they train these models up to 1.7 times as fast.
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    here = len(os.sched_getaffinity(0))
    os.environ.setdefault(THREADS_OF_ONE, str(max(1, here // AT_A_TIME)))
