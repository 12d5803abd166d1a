#!/usr/bin/env bash
# Makes a local CA, kept when it is there, and a new serving certificate signed by it. For development only.
#
# usage: certs/dev.sh [FOLDER [NAME...]]
set -euo pipefail
folder=${1:-$(dirname "$0")/dev}
shift || true
names=(localhost 127.0.0.1 "$@")

umask 077
mkdir -p "$folder"
cd "$folder"

if [[ ! -s ca.key ]]; then
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -keyout ca.key -out ca.crt \
        -subj "/CN=heapship development CA" \
        -addext "basicConstraints=critical,CA:TRUE" -addext "keyUsage=critical,keyCertSign,cRLSign" 2>/dev/null
fi

subjects=
for name in "${names[@]}"; do
    # An address in a DNS entry is not matched by any client.
    if [[ $name =~ ^[0-9.]+$|: ]]; then kind=IP; else kind=DNS; fi
    subjects+="${subjects:+,}$kind:$name"
done

openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout tls.key.new -out tls.csr -subj "/CN=heapship webhook" 2>/dev/null
openssl x509 -req -in tls.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 30 -out tls.crt.new -extfile <(
    echo "subjectAltName=$subjects"
    echo "basicConstraints=critical,CA:FALSE"
    echo "extendedKeyUsage=serverAuth"
) 2>/dev/null
rm tls.csr
# A reader must never see half a file.
mv tls.key.new tls.key
mv tls.crt.new tls.crt
echo "$PWD: ca.crt, tls.crt, tls.key for ${names[*]}"
