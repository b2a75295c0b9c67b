#!/usr/bin/env bash
# Draws Ray's token and the password of Redis, and puts them into the cluster's Secrets, once; nothing of them is kept or shown here.
set -euo pipefail
namespace=@{namespace}
kubectl get namespace "$namespace" >/dev/null 2>&1 || kubectl create namespace "$namespace"

make() {  # name, then what kubectl is to put in
    name=$1; shift
    if kubectl -n "$namespace" get secret "$name" >/dev/null 2>&1; then
        echo "secret $name: is there already, and stays"
    else
        kubectl -n "$namespace" create secret generic "$name" "$@"
    fi
}

# From files that only this script has: what stands on a command line, others can read.
umask 077
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
openssl rand -hex 32 | tr -d '\n' >"$folder/auth_token"
openssl rand -hex 32 | tr -d '\n' >"$folder/password"
hash=$(sha256sum <"$folder/password" | cut -d' ' -f1)
{
    echo "user default off"
    echo "@{users}" | sed "s/HASH/$hash/"
} >"$folder/users.acl"
make manyhands-ray-token --from-file="$folder/auth_token"
make manyhands-redis --from-file="$folder/password" --from-file="$folder/users.acl"
