#!/usr/bin/env bash
# For the certificate mode "provided": makes a CA, kept when it is there, a serving certificate signed by it, and the Secret
# that heapship mounts, as secret.yaml. With a PKI of your own you need none of this: only the Secret.
#
# usage: certs/provided.sh [--new-ca | --drop-old-ca] FOLDER [NAMESPACE]
#
#   certs/provided.sh FOLDER                 a new serving certificate; the first time a CA too
#   certs/provided.sh --new-ca FOLDER        a new CA beside the old one; the certificate stays, ca.crt holds both
#   certs/provided.sh --drop-old-ca FOLDER   ca.crt holds the newest CA alone
#
# Apply secret.yaml after each. DAYS (90) is the certificate's life, CA_DAYS (3650) the CA's.
set -euo pipefail
step=renew
case "${1:-}" in
--new-ca | --drop-old-ca) step=${1#--}; shift ;;
-* | "")
    sed -n '5,10p' "$0" >&2
    exit 2
    ;;
esac
folder=$1 namespace=${2:-heapship-system}
days=${DAYS:-90} ca_days=${CA_DAYS:-3650}

umask 077
mkdir -p "$folder"
cd "$folder"

authority() {
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days "$ca_days" -keyout ca.key.new -out signer.crt.new \
        -subj "/CN=heapship CA $(date -u +%Y-%m-%dT%H:%M:%SZ)" \
        -addext "basicConstraints=critical,CA:TRUE" -addext "keyUsage=critical,keyCertSign,cRLSign" 2>/dev/null
    mv ca.key.new ca.key
    mv signer.crt.new signer.crt
}

certificate() {
    local name=heapship.$namespace.svc
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout tls.key.new -out tls.csr -subj "/CN=$name" 2>/dev/null
    openssl x509 -req -in tls.csr -CA signer.crt -CAkey ca.key -CAcreateserial -days "$days" -out tls.crt.new -extfile <(
        echo "subjectAltName=DNS:$name,DNS:$name.cluster.local"
        echo "basicConstraints=critical,CA:FALSE"
        echo "keyUsage=critical,digitalSignature"
        echo "extendedKeyUsage=serverAuth"
    ) 2>/dev/null
    rm tls.csr
    mv tls.key.new tls.key
    mv tls.crt.new tls.crt
}

secret() {
    printf '%s\n' "apiVersion: v1" "kind: Secret" "metadata:" "  name: heapship-tls" "  namespace: $namespace" \
        "type: kubernetes.io/tls" "data:"
    local name
    for name in ca.crt tls.crt tls.key; do printf '  %s: %s\n' "$name" "$(base64 -w 0 "$name")"; done
}

if [[ ! -s ca.key ]]; then
    [[ $step == renew ]] || { echo "there is no CA in $PWD yet: call this without $step" >&2; exit 2; }
    authority
    cp signer.crt ca.crt
fi
case $step in
renew) certificate ;;
new-ca)
    cp signer.crt old.crt
    authority
    # The old one first: it vouches for what is served until the next certificate.
    cat old.crt signer.crt >ca.crt
    rm old.crt
    ;;
drop-old-ca)
    openssl verify -CAfile signer.crt tls.crt >/dev/null 2>&1 ||
        { echo "tls.crt is still signed by the old CA: renew it first, without --drop-old-ca" >&2; exit 1; }
    cp signer.crt ca.crt
    ;;
esac
secret >secret.yaml
echo "$PWD/secret.yaml: $(openssl x509 -in tls.crt -noout -enddate | sed 's/notAfter=/the certificate ends /')"
