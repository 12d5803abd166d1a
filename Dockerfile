# The same image as `make image`: both call scripts/image-root.sh.
#
#   docker build --build-arg REVISION=$(git rev-parse HEAD) --tag ghcr.io/heapship/heapship:0.1.0 .
FROM docker.io/library/rust:1.95-bookworm AS build
RUN apt-get update \
    && apt-get install --yes --no-install-recommends autoconf automake ca-certificates libtool nasm
WORKDIR /source
COPY . .
RUN scripts/image-root.sh /root-of-the-image

FROM scratch
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="heapship" \
    org.opencontainers.image.description="Catches the heap dump of a JVM that dies in Kubernetes and ships it to object storage" \
    org.opencontainers.image.licenses="Apache-2.0" \
    org.opencontainers.image.version="$VERSION" \
    org.opencontainers.image.revision="$REVISION"
COPY --from=build /root-of-the-image /
USER 65532:65532
ENTRYPOINT ["/bin/heapship"]
