# llama-server for NVIDIA GPUs: compiled where CUDA's tools are, copied to where only its libraries are.
# The arguments come from the recipe in app/engine_build.py; modal_app.py hands them over.

FROM nvidia/cuda:12.8.1-devel-ubuntu24.04 AS builder
RUN apt-get update && apt-get install --yes --no-install-recommends ca-certificates cmake curl ninja-build
ENV CMAKE_GENERATOR=Ninja
ARG SOURCE_URL
RUN mkdir /source && curl --fail --location --retry 3 "$SOURCE_URL" | tar --extract --gzip --strip-components=1 --directory=/source
ARG CONFIGURE
RUN $CONFIGURE
ARG COMPILE
RUN $COMPILE

FROM nvidia/cuda:12.8.1-base-ubuntu24.04
RUN apt-get update && apt-get install --yes --no-install-recommends ca-certificates libcublas-12-8 libgomp1 && rm -rf /var/lib/apt/lists/*
COPY --from=builder /build/bin/llama-server /opt/llama/llama-server
COPY --from=builder /source/models/templates/google-gemma-4-31B-it-interleaved.jinja /opt/llama/templates/
