# The simple-kv image: the server, a shell and nc, on Debian's slim base.
#
#   docker build -t simple-kv .
#
# Works with the classic builder and with BuildKit. What each stage installs is listed in
# docker/packages-build.txt and docker/packages-run.txt, which the test and start scripts read too.
ARG BASE_IMAGE=debian:bookworm-slim

# ---- compile. Packages come first: a change of the sources does not install them again.
FROM ${BASE_IMAGE} AS build

COPY docker/packages-build.txt /tmp/packages.txt
RUN apt-get update \
    && DEBIAN_FRONTEND=noninteractive xargs -a /tmp/packages.txt \
        apt-get install -y --no-install-recommends \
    && rm -rf /var/lib/apt/lists/* /var/cache/apt/*

WORKDIR /src
COPY CMakeLists.txt ./
COPY include include
COPY src src
RUN cmake -S . -B /build -G Ninja -DCMAKE_BUILD_TYPE=Release -DBUILD_TESTS=OFF \
    && cmake --build /build --target simple-kv \
    && strip /build/simple-kv

# ---- run
FROM ${BASE_IMAGE}

COPY docker/packages-run.txt /tmp/packages.txt
RUN apt-get update \
    && DEBIAN_FRONTEND=noninteractive xargs -a /tmp/packages.txt \
        apt-get install -y --no-install-recommends \
    && rm -rf /var/lib/apt/lists/* /var/cache/apt/* /tmp/packages.txt

# A number as user, so that `runAsNonRoot` of an orchestrator can see that it is not root. A named
# volume mounted at /data takes over its owner.
RUN groupadd --gid 10001 kv \
    && useradd --uid 10001 --gid kv --no-create-home --home-dir /data --shell /usr/sbin/nologin kv \
    && install -d -o kv -g kv -m 0750 /data

USER 10001:10001
WORKDIR /data
VOLUME /data
EXPOSE 8080

# In a container "this machine" is the container itself, so the server's default of 127.0.0.1 would
# make it unreachable. Who may reach it is decided by the network and the published ports.
ENV KV_BIND=0.0.0.0

# Data stays in the volume. For a node in memory only: -e KV_DATA_DIR=
ENV KV_DATA_DIR=/data

# A node that reads its data from the disk is not healthy yet: a lot of it takes its time.
HEALTHCHECK --interval=10s --timeout=5s --retries=3 --start-period=60s \
    CMD ["simple-kv", "--healthcheck"]

# The server is process 1 and needs no init: it starts no processes, and on SIGTERM it sends what it
# owes and exits with 0.
STOPSIGNAL SIGTERM
ENTRYPOINT ["simple-kv"]

COPY --from=build /build/simple-kv /usr/local/bin/simple-kv

# Last, so that another version or revision builds nothing again. VERSION is that of CMakeLists.txt.
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="simple-kv" \
      org.opencontainers.image.description="Replicated key-value store; every node takes reads and writes" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
