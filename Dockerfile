# The images, built from this directory with BuildKit:
#
#   skaffold build -f build.yaml            all, tagged with the commit (see build.yaml)
#   docker build --target cpu -t inkwell-cpu .
#   docker run --rm inkwell-cpu inkwell run --profile smoke --output /tmp/out --set serving_dir=/tmp/served
#
# cpu runs every task of the pipeline but training; gpu adds NVIDIA's CUDA libraries; server is the
# model server alone. Every package is checked by the hash in its lock. All images run as user 1000
# on a read-only root file system and write only to /tmp and /home/inkwell, which may be emptyDir
# volumes. docs/images.md lists the images' sizes.

# Debian 13, because ml-metadata and TFDV need glibc 2.38 and GCC 14's libstdc++. Python 3.11,
# because TFX 1.21 supports no later one.
FROM python:3.11.17-slim-trixie@sha256:45037981b62b34b44602584fccbc4d884d5f7dc92c7ee86bb38a698a79fe1e51 AS base

# The installer, from its entry in the lock. It has its own stage, so that a new version of another
# tool in that lock does not invalidate the cache of the packages below.
FROM base AS uv
WORKDIR /build
COPY requirements-dev.lock ./
RUN sed -n '/^uv==/,/^    # via/p' requirements-dev.lock > uv.lock \
    && python -m pip install --no-cache-dir --no-deps --only-binary=:all: --require-hashes \
        --target /opt/uv --requirement uv.lock

# The packages of the pipeline's images, in /opt/venv. pyfarmhash has no wheel, so this stage
# installs a compiler, in Debian's version; the compiler stays in this stage.
FROM base AS packages
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends g++ \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /build
COPY --from=uv /opt/uv/bin/uv /usr/local/bin/uv
COPY requirements.lock ./
RUN --mount=type=cache,target=/var/cache/uv \
    export UV_CACHE_DIR=/var/cache/uv \
    && uv venv --no-project --python /usr/local/bin/python3.11 /opt/venv \
    && uv pip install --python /opt/venv --link-mode copy --compile-bytecode --no-deps \
        --require-hashes --requirements requirements.lock --build-constraints requirements.lock
# Needed only to compile against TensorFlow and to test pandas. No -f, so that a new layout fails.
WORKDIR /opt/venv/lib/python3.11/site-packages
RUN rm -r tensorflow/include clang pandas/tests
RUN printf '#!/opt/venv/bin/python\nfrom pipeline.cli.main import main\n\nmain()\n' > /opt/venv/bin/inkwell \
    && chmod 755 /opt/venv/bin/inkwell

# The packages of the model server: those of requirements-server.txt, by their entries in the lock.
FROM base AS server-packages
WORKDIR /build
COPY --from=uv /opt/uv/bin/uv /usr/local/bin/uv
COPY requirements-server.txt requirements.lock ./
RUN sed 's|^[a-z].*|/^&==/,/^    # via/p|; t; d' requirements-server.txt > entries.sed \
    && sed -n -f entries.sed requirements.lock > server.lock
RUN --mount=type=cache,target=/var/cache/uv \
    export UV_CACHE_DIR=/var/cache/uv \
    && uv venv --no-project --python /usr/local/bin/python3.11 /opt/venv \
    && uv pip install --python /opt/venv --link-mode copy --compile-bytecode --no-deps \
        --require-hashes --only-binary :all: --requirements server.lock
RUN rm -r /opt/venv/lib/python3.11/site-packages/tensorflow/include

# CUDA and cuDNN, where TensorFlow looks for them: next to itself in site-packages.
FROM base AS cuda
WORKDIR /build
COPY --from=uv /opt/uv/bin/uv /usr/local/bin/uv
COPY requirements-gpu.lock ./
RUN --mount=type=cache,target=/var/cache/uv \
    export UV_CACHE_DIR=/var/cache/uv \
    && uv pip install --python /usr/local/bin/python3.11 --link-mode copy --no-deps --require-hashes \
        --only-binary :all: --target /opt/cuda --requirements requirements-gpu.lock

# The code and MNIST, ordered from the least to the most often changed. Root owns the files and all
# can read them, whatever the checkout's umask; the bytecode does not depend on the files' times.
FROM base AS app
WORKDIR /app
COPY data/mnist data/mnist
COPY core core
COPY serving serving
COPY trainer_modules trainer_modules
COPY components components
COPY pipeline pipeline
RUN chmod -R a+rX . \
    && python -m compileall -q --invalidation-mode unchecked-hash .

FROM base AS user
RUN groupadd --gid 1000 inkwell \
    && useradd --uid 1000 --gid 1000 --create-home --home-dir /home/inkwell inkwell
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONPATH=/app \
    PYTHONUNBUFFERED=1 \
    HOME=/home/inkwell \
    TMPDIR=/tmp
WORKDIR /app
USER 1000:1000

FROM user AS runtime
COPY --from=packages /opt/venv /opt/venv
# tensorflow_transform would switch Keras to its legacy version.
ENV KERAS_BACKEND=tensorflow \
    TF_USE_LEGACY_KERAS=0
CMD ["inkwell", "--help"]

FROM runtime AS cpu
COPY --from=app /app /app
ARG REVISION=unknown
LABEL org.opencontainers.image.title="inkwell-cpu" \
    org.opencontainers.image.description="Inkwell's pipeline: every task but training" \
    org.opencontainers.image.revision="$REVISION"

FROM runtime AS gpu
COPY --from=cuda /opt/cuda /opt/venv/lib/python3.11/site-packages
# The parts of the node's driver that the container gets: CUDA, and nvidia-smi.
ENV NVIDIA_DRIVER_CAPABILITIES=compute,utility
COPY --from=app /app /app
ARG REVISION=unknown
LABEL org.opencontainers.image.title="inkwell-gpu" \
    org.opencontainers.image.description="Inkwell's pipeline: training on an NVIDIA GPU" \
    org.opencontainers.image.revision="$REVISION"

# Takes TensorFlow Serving's flags, as the official image's model server does:
#
#   docker run --rm -p 8501:8501 -v "$PWD/serving_models:/models:ro" inkwell-server \
#     --rest_api_port=8501 --model_name=gan --model_base_path=/models/gan
FROM user AS server
COPY --from=server-packages /opt/venv /opt/venv
COPY --from=app /app/core core
COPY --from=app /app/serving serving
EXPOSE 8500 8501
ENTRYPOINT ["python", "-m", "serving.model_server", "--host=0.0.0.0"]
ARG REVISION=unknown
LABEL org.opencontainers.image.title="inkwell-server" \
    org.opencontainers.image.description="Inkwell's model server, with TensorFlow Serving's flags" \
    org.opencontainers.image.revision="$REVISION"
