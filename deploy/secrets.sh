#!/bin/sh
# Makes every secret of an installation that does not exist yet, one file each, for docker-compose.yml and Kubernetes:
#
#     deploy/secrets.sh          into deploy/secrets, which only you can enter
#
# The files themselves are open to all, since users inside containers read them. REDIS_HOST (redis) goes into Redis' URL.
set -eu

DIR=${1:-$(dirname "$0")/secrets}
umask 022
mkdir -p "$DIR"
chmod 700 "$DIR"
cd "$DIR"

keep() { # NAME, from standard input, unless it is there
    if [ -s "$1" ]; then cat > /dev/null; else cat > "$1.new" && mv "$1.new" "$1"; fi
}
random() { openssl rand -hex 32; }

random | keep PHOTOMEND_SIGNING_SECRET
echo "whsec_$(openssl rand -base64 32)" | keep PHOTOMEND_CALLBACK_SECRET
random | keep PHOTOMEND_S3_SECRET_ACCESS_KEY
random | keep grafana-password
echo "redis://photomend:$(random)@${REDIS_HOST:-redis}:6379/0" | keep PHOTOMEND_REDIS_URL

# What follows from these is written anew each time. Redis gets no password, only its hash.
password=$(sed 's|^redis://photomend:\([^@]*\)@.*$|\1|' PHOTOMEND_REDIS_URL)
hash=$(printf %s "$password" | openssl dgst -sha256 -r | cut -d ' ' -f 1)
cat > redis.acl <<ACL
user default off
user photomend on #$hash ~* &* +@all -@admin -@dangerous +info +config|get
user probe on nopass -@all +ping
ACL
cat > s3.json <<JSON
{"identities": [{"name": "photomend",
  "credentials": [{"accessKey": "photomend", "secretKey": "$(cat PHOTOMEND_S3_SECRET_ACCESS_KEY)"}],
  "actions": ["Admin", "Read", "Write", "List", "Tagging"]}]}
JSON
