#!/bin/sh
# Entry point of the images. Secrets come as files: each PHOTOMEND_* in /run/secrets (Docker's place for them; Kubernetes
# mounts a Secret there) becomes that setting, whatever the environment says. Then this shell becomes the command, so
# that signals reach it and no secret stands in what `docker inspect` or a pod's spec shows.
set -eu

for file in "${SECRETS_DIR:-/run/secrets}"/PHOTOMEND_*; do
    [ -e "$file" ] || continue # nothing matched
    value=$(cat "$file")
    export "${file##*/}=$value"
done
exec "$@"
