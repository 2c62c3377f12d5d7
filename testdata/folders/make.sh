#!/bin/bash
# make.sh PROGRAM NAME [encrypted]: makes NAME.tar.gz here, with a data folder of that program (data/) and the reports of its commands on it (said/). Of an
# encrypted one the key is there too (key).
# Run it once for each format of the data folder, with the last program that writes that format. The tests read the result.
set -eu
program=$(realpath "$1")
here=$(realpath "$(dirname "$0")")
messages=$here/../messages
work=$(mktemp -d)
daemon=
trap 'test -z "$daemon" || kill $daemon; rm -rf "$work"' EXIT
mkdir "$work/said"
cat >"$work/copialettere.toml" <<END
data = "$work/data"
[received]
listen = ["unix:lmtp.sock", "tcp:127.0.0.1:24249"]
next_hop = "maildir:$work/mail"
[[domain]]
name = "alpha.test"
END
if [ "${3-}" = encrypted ]; then
  (umask 077; "$program" encryption-key >"$work/key")
  printf '[encryption]\nkey_file = "%s"\n' "$work/key" >>"$work/copialettere.toml"
fi

say() { "$program" "$@" -config "$work/copialettere.toml"; }

start() {
  "$program" serve -config "$work/copialettere.toml" 2>"$work/log" &
  daemon=$!
  for _ in $(seq 100); do
    if (: <>/dev/tcp/127.0.0.1/24249) 2>"$work/tried"; then return; fi
    sleep 0.1
  done
  cat "$work/log" "$work/tried"
  return 1
}

stop() { kill $daemon; wait $daemon || :; daemon=; }

# deliver FILE RCPT ORCPT: hands a message to the hook, which must accept it.
deliver() {
  exec 3<>/dev/tcp/127.0.0.1/24249
  {
    printf 'LHLO mx.alpha.test\r\nMAIL FROM:<ester@ext.test>\r\nRCPT TO:<%s> ORCPT=rfc822;%s\r\nDATA\r\n' "$2" "$3"
    sed 's/^\./../; s/\r*$/\r/' "$1"
    printf '.\r\nQUIT\r\n'
  } >&3
  timeout 20 cat <&3 >"$work/replies"
  exec 3>&-
  if ! grep -q '^250 2.0.0' "$work/replies" || grep -q '^[45]' "$work/replies"; then
    cat "$work/replies"
    return 1
  fi
}

month=$(date -u +%Y-%m)
say init
start
say mailbox enable anna@alpha.test
say mailbox enable bruno@alpha.test
say mailbox set anna@alpha.test manual_delete=on write=on quota=2GB
for name in plain latin1 reply pec-envelope attachment no-message-id long-line; do
  deliver "$messages/$name.eml" anna@alpha.test anna@alpha.test
done
for name in plain newsletter no-header; do
  deliver "$messages/$name.eml" bruno@alpha.test bruno@alpha.test
done
deliver "$messages/forward.eml" anna@alpha.test office@alpha.test # through an alias: skipped
say delete anna@alpha.test "INBOX/$month" 2
say move anna@alpha.test "INBOX/$month" 3 "Trash/$month"
say hold anna@alpha.test "INBOX/$month" 4 -reason "case 12/2026"
say mailbox set bruno@alpha.test quota=1kB
deliver "$messages/bounce.eml" bruno@alpha.test bruno@alpha.test # full: a gap
stop

for mailbox in anna bruno; do
  for command in list why gaps; do say $command $mailbox@alpha.test -json >"$work/said/$mailbox.$command"; done
  for command in show log; do say mailbox $command $mailbox@alpha.test -json >"$work/said/$mailbox.$command"; done
done
say verify -json >"$work/said/verify"
rm -f "$work/data/lmtp.sock" "$work/data/admin.sock"
tar -C "$work" --owner=0 --group=0 -czf "$here/$2.tar.gz" data said $(cd "$work" && ls key 2>&- || :)
