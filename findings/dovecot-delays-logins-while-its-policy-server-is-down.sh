#!/bin/sh
# Dovecot: while nothing listens at the address of its policy server, each login waits for twice the timeout.
#
# Expected: A refused connection is known at once. Dovecot lets people in without the policy server, so a login costs no time.
# Happens:  After the first refusals Dovecot's HTTP client pauses before it connects again, longer each time, and requests wait in its queue meanwhile.
#           A login asks twice, so it is held up for twice auth_policy_server_timeout_msecs (5 seconds by default), then is let in.
# Version:  Dovecot 1:2.3.19.1+dfsg1-2.1+deb12u7 (Debian 12).
# Matters:  A policy server that only adds something to logins must not slow them down when it is restarted or down: set the timeout to a fraction of a
#           second, and have the server answer within it.
#
# Run as root. Its Dovecot has no listener but sockets in a temporary folder. It exits with 0 and one line if this is still so.
set -eu
version=1:2.3.19.1+dfsg1-2.1+deb12u7

changed() { echo "CHANGED: $*" >&2; exit 1; }
cannot() { echo "cannot tell: $*" >&2; exit 2; }

dovecot=''
folder=$(mktemp -d)
finish() {
  [ -z "$dovecot" ] || { kill "$dovecot" && wait "$dovecot" || :; } 2>/dev/null
  rm -rf "$folder"
}
trap finish EXIT
trap 'exit 2' HUP INT TERM

have=$(dpkg-query -W -f '${db:Status-Status} ${Version}' dovecot-core 2>/dev/null | sed -n 's/^installed //p')
if [ -z "$have" ]; then # Debian's package would start a Dovecot of its own
  policy=/usr/sbin/policy-rc.d made='' failed=''
  [ -e $policy ] || { printf '#!/bin/sh\nexit 101\n' >$policy; chmod 755 $policy; made=1; }
  { apt-get -q update && DEBIAN_FRONTEND=noninteractive apt-get -qy install --no-install-recommends dovecot-core=$version; } >"$folder/apt" 2>&1 || failed=1
  [ -z "$made" ] || rm $policy
  [ -z "$failed" ] || { cat "$folder/apt" >&2; cannot "dovecot-core $version cannot be installed"; }
  have=$version
fi
[ "$have" = $version ] || cannot "this is about dovecot-core $version; here is $have"

chmod 755 "$folder"
mkdir "$folder/run"
cat >"$folder/dovecot.conf" <<END
base_dir = $folder/run
state_dir = $folder/run
log_path = $folder/log
protocols =
ssl = no
auth_failure_delay = 0
auth_policy_server_url = http://127.0.0.1:1/
auth_policy_server_timeout_msecs = 1000
auth_policy_hash_nonce = spago
passdb {
  driver = static
  args = password=cera-lacca
}
userdb {
  driver = static
  args = uid=nobody gid=nogroup home=/nonexistent
}
END

is_in() { doveadm -c "$folder/dovecot.conf" auth test "$1" cera-lacca >"$folder/out" 2>&1; }

dovecot -F -c "$folder/dovecot.conf" >"$folder/stdout" 2>&1 &
dovecot=$!
for _ in $(seq 100); do [ ! -S "$folder/run/auth-client" ] || break; sleep 0.1; done
for _ in $(seq 10); do # until it pauses
  is_in anna || cannot "nobody is let in: $(cat "$folder/log" "$folder/out")"
done
grep -q 'Connection refused' "$folder/log" || cannot "something listens on port 1, or the policy server is not asked: $(cat "$folder/log")"
before=$(date +%s%N)
for _ in 1 2 3; do is_in anna || cannot "nobody is let in: $(cat "$folder/log" "$folder/out")"; done
took=$((($(date +%s%N) - before) / 3000000))
[ $took -ge 1500 ] || changed "a login takes $took milliseconds while the policy server is down"
echo "still so: a login to Dovecot ${version#1:} takes $took milliseconds while its policy server is down, with a timeout of 1000"
