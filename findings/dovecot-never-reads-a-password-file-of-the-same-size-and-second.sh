#!/bin/sh
# Dovecot: a password file that is replaced by another one of the same size, written in the same second, is never read.
#
# Expected: A changed file is seen: by its inode, or by the time of its modification in the resolution of the file system.
# Happens:  passwd-file compares the size and the whole seconds of the time only. A second version of the same length within the second in which
#           Dovecot has read the first is never read, until something else changes. A file with deny = yes then lets in whom it names.
# Version:  Dovecot 1:2.3.19.1+dfsg1-2.1+deb12u7 (Debian 12). 2.4.1 (Debian 13) does the same.
# Matters:  Whoever switches logins off by such a file must give each version another length. In a list of addresses, one mailbox that is
#           closed and another of an equally long name that is opened make two files of the same size.
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
passdb {
  driver = passwd-file
  args = username_format=%u $folder/deny
  deny = yes
}
passdb {
  driver = static
  args = password=cera-lacca
}
userdb {
  driver = static
  args = uid=nobody gid=nogroup home=/nonexistent
}
END

# deny NAME SECOND replaces the file, as if it were written in that second.
deny() {
  echo "$1:" >"$folder/deny.new"
  chmod 644 "$folder/deny.new"
  touch -d "@$2" "$folder/deny.new"
  mv "$folder/deny.new" "$folder/deny"
  sleep 1.2 # Dovecot looks at most once a second
}
is_in() { doveadm -c "$folder/dovecot.conf" auth test "$1" cera-lacca >"$folder/out" 2>&1; }

now=$(date +%s)
deny elena "$now"
dovecot -F -c "$folder/dovecot.conf" >"$folder/stdout" 2>&1 &
dovecot=$!
for _ in $(seq 100); do [ ! -S "$folder/run/auth-client" ] || break; sleep 0.1; done
is_in elena && cannot "the file denies nobody: $(cat "$folder/log" "$folder/out")"
is_in bruno || cannot "nobody is let in: $(cat "$folder/log" "$folder/out")"

deny bruno "$now" # another file, with other content, but of the same size and second
is_in bruno || changed "a file of the same size and second is read"
is_in elena && changed "a file of the same size and second is read: nobody else is denied any more"
deny bruno "$((now + 1))"
is_in bruno && cannot "not even a file of another second is read"
echo "still so: Dovecot $version does not read a password file that was replaced by one of the same size and second"
