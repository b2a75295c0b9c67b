#!/usr/bin/env bash
# Draws a password, and makes from it the server's file of users and the file that clients get. On the machine of the server, once:
#   sudo -u redis ./make-users.sh HOST        HOST: the name by which clients reach it
# The file of users has only the password's hash. The address file has the password: hand it out like one, and pass it as @FILE.
set -euo pipefail
umask 077
host=${1:?"usage: make-users.sh HOST"}
users=@{file}
address=@{folder}/address
test ! -e "$users" || { echo "error: $users exists; remove it to draw a new password" >&2; exit 2; }
password=$(openssl rand -hex 32)
hash=$(printf %s "$password" | sha256sum | cut -d' ' -f1)
{
    echo "user default off"
    echo "@{users}" | sed "s/HASH/$hash/"
} >"$users"
printf '%s\n' "@{scheme}://@{user}:$password@$host:@{port}" >"$address"
echo "users: $users    address for clients, with the password: $address"
